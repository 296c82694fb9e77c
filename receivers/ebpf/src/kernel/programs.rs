//! Loading and attaching the programs. Each hook is tried by itself: one that the kernel does not have, or
//! the rights do not allow, costs what it is for and nothing else.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use super::event::TCP_BYTES;
use super::hooks::{Feature, HOOKS, Hook, HookKind, Tried};

/// The object that `build.rs` made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir.o"));

/// The settings of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Of the ring of events; a power of two.
    pub(crate) ring_bytes: u32,
    pub(crate) max_connections: u32,
    /// Bytes copied of the beginning of a message.
    pub(crate) capture: u32,
    /// Only connections with one of these; empty is all.
    pub(crate) ports: Vec<u16>,
    /// Whether requests are looked at.
    pub(crate) http: bool,
    /// A process that is never looked at: this one.
    pub(crate) own_tgid: u32,
}

/// The counters of the kernel, in the order of `bpf/events.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) data_lost: u64,
    pub(crate) tcp_lost: u64,
    pub(crate) process_lost: u64,
    pub(crate) connections_full: u64,
    pub(crate) unreadable: u64,
}

/// The programs in the kernel. They are gone when this is dropped.
pub(crate) struct Programs {
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    processes: HashMap<MapData, u32, u32>,
}

/// The ring of events.
pub(crate) type Ring = RingBuf<MapData>;

/// Loads and attaches. The table says what runs; without the ring nothing does.
pub(crate) fn load(limits: &Limits) -> (Vec<Tried>, Option<(Programs, Ring)>) {
    match try_load(limits) {
        Ok((tried, programs)) => (tried, Some(programs)),
        Err(reason) => (HOOKS.iter().map(|hook| (*hook, Err(reason.clone()))).collect(), None),
    }
}

fn try_load(limits: &Limits) -> Result<(Vec<Tried>, (Programs, Ring)), String> {
    let btf = Btf::from_sys_fs().map_err(|error| {
        format!("the kernel has no types (BTF, /sys/kernel/btf/vmlinux): {}", chain(&error))
    })?;
    let only_ports = u32::from(!limits.ports.is_empty());
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&btf))
        .override_global("own_tgid", &limits.own_tgid, true)
        .override_global("capture", &limits.capture, true)
        .override_global("only_ports", &only_ports, true)
        .map_max_entries("events", limits.ring_bytes)
        .map_max_entries("connections", limits.max_connections);
    let mut ebpf = loader.load(OBJECT).map_err(|error| rights(&chain(&error)))?;
    let mut map = |name: &str| ebpf.take_map(name).ok_or_else(|| format!("there is no map `{name}`"));
    let wrong = |error: aya::maps::MapError| chain(&error);
    let ring = RingBuf::try_from(map("events")?).map_err(wrong)?;
    let counters = PerCpuArray::try_from(map("counters")?).map_err(wrong)?;
    let processes = HashMap::try_from(map("processes")?).map_err(wrong)?;
    let mut ports: HashMap<MapData, u16, u8> = HashMap::try_from(map("ports")?).map_err(wrong)?;
    for port in &limits.ports {
        ports.insert(port, 1, 0).map_err(wrong)?;
    }
    let mut programs = Programs { ebpf, counters, processes };
    let tried = HOOKS.iter().map(|hook| (*hook, programs.attach(hook, limits, &btf))).collect();
    Ok((tried, (programs, ring)))
}

impl Programs {
    fn attach(&mut self, hook: &Hook, limits: &Limits, btf: &Btf) -> Result<(), String> {
        if hook.feature == Feature::Http && !limits.http {
            return Err("switched off".to_owned());
        }
        let program = self.ebpf.program_mut(hook.program);
        let program = program.ok_or_else(|| format!("there is no program `{}`", hook.program))?;
        let attached = match hook.kind {
            HookKind::Tracepoint => <&mut BtfTracePoint>::try_from(program).and_then(|program| {
                program.load(hook.place, btf)?;
                program.attach().map(drop)
            }),
            HookKind::Iterator => {
                <&mut Iter>::try_from(program).and_then(|program| program.load(hook.place, btf))
            }
        };
        attached.map_err(|error| reason(&error))
    }

    /// What an iterator writes.
    fn iterate(&mut self, program: &str) -> Result<Vec<u8>, String> {
        let found =
            self.ebpf.program_mut(program).ok_or_else(|| format!("there is no program `{program}`"))?;
        let iterator = <&mut Iter>::try_from(found).map_err(|error| reason(&error))?;
        let link = iterator.attach().and_then(|link| iterator.take_link(link));
        let mut file = link.map_err(|error| reason(&error))?.into_file().map_err(|error| chain(&error))?;
        let mut written = Vec::new();
        file.read_to_end(&mut written).map_err(|error| error.to_string())?;
        Ok(written)
    }

    /// Every open connection and every socket that listens, as events end to end.
    pub(crate) fn sockets(&mut self) -> Result<Vec<u8>, String> {
        self.iterate("weir_sockets")
    }

    /// How much the machine's clock is ahead of the kernel's, in nanoseconds.
    pub(crate) fn clock_ahead(&mut self) -> Result<i64, String> {
        let mut best: Option<(i64, i64)> = None;
        for _ in 0..5 {
            let before = wall();
            let written = self.iterate("weir_clock")?;
            let after = wall();
            let first = written.first_chunk::<8>().ok_or("the clock of the kernel says nothing")?;
            let kernel = i64::try_from(u64::from_ne_bytes(*first)).unwrap_or(i64::MAX);
            let (width, middle) = (after - before, before + (after - before) / 2);
            if width >= 0 && best.is_none_or(|(narrowest, _)| width < narrowest) {
                best = Some((width, middle - kernel));
            }
        }
        best.map(|(_, ahead)| ahead).ok_or_else(|| "the machine's clock was put back".to_owned())
    }

    /// The counters since the start.
    pub(crate) fn counted(&self) -> Counted {
        let sum = |at: u32| self.counters.get(&at, 0).map_or(0, |values| values.iter().sum());
        Counted {
            data_lost: sum(0),
            tcp_lost: sum(1),
            process_lost: sum(2),
            connections_full: sum(3),
            unreadable: sum(4),
        }
    }

    /// A process is not looked at any more.
    pub(crate) fn deny(&mut self, tgid: u32) {
        const DENIED: u32 = 2;
        // When the map is full, its events come and are left out here.
        let _ = self.processes.insert(tgid, DENIED, 0);
    }
}

/// The bytes of one entry of [`Programs::sockets`].
pub(crate) const SOCKET_BYTES: usize = TCP_BYTES;

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::Btf(error) => format!("this kernel has no such place: {}", chain(error)),
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            // Behind the reason are figures.
            let is_figure = |line: &&str| {
                ["processed", "stack depth", "verification time"].iter().any(|start| line.starts_with(start))
            };
            let mut lines =
                log.lines().rev().map(str::trim).filter(|line| !line.is_empty() && !is_figure(line));
            let last = lines.next();
            rights(&format!(
                "the kernel refuses the program: {io_error}: {}",
                last.unwrap_or("no reason given")
            ))
        }
        other => rights(&chain(other)),
    }
}

/// Names the rights that are missing when the kernel says so.
fn rights(text: &str) -> String {
    if text.contains("EPERM") || text.contains("Operation not permitted") || text.contains("EACCES") {
        return format!("{text} (needs CAP_BPF and CAP_PERFMON, or root)");
    }
    text.to_owned()
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
