//! What the programs tell, read from bytes. `bpf/events.h` has the layouts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::direction::Direction;

/// A connection's socket in the kernel, and when it was first seen: addresses of sockets are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    pub(crate) socket: u64,
    pub(crate) started: u64,
}

/// Both ends of a connection, as this side sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The inode of the network namespace.
    pub(crate) netns: u32,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Unknown,
    Client,
    Server,
}

/// A piece of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) direction: Direction,
    pub(crate) is_http2: bool,
    /// Where it begins in the stream; the numbers of TCP.
    pub(crate) position: u32,
    /// Its size. Less of it may have been copied.
    pub(crate) total: u32,
    /// Nanoseconds of the kernel's clock.
    pub(crate) time: u64,
    pub(crate) tgid: u32,
    pub(crate) ends: Ends,
    pub(crate) bytes: &'a [u8],
}

/// How a connection fares, or ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    pub(crate) id: ConnectionId,
    pub(crate) role: Role,
    /// The state before it was closed.
    pub(crate) before: u8,
    pub(crate) fresh: bool,
    pub(crate) tgid: u32,
    pub(crate) cgroup: u64,
    pub(crate) time: u64,
    /// 0: never, or before the start.
    pub(crate) established: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) retransmits: u32,
    pub(crate) srtt_us: u32,
    pub(crate) error: i32,
    pub(crate) resets_received: u16,
    pub(crate) resets_sent: u16,
    pub(crate) ends: Ends,
}

/// A process that did something for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) tgid: u32,
    pub(crate) cgroup: u64,
    pub(crate) comm: String,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    Data(Data<'a>),
    Closed(Tcp),
    Established(Tcp),
    /// Of the list of open connections.
    Open(Tcp),
    /// Of the same list: a socket that listens.
    Listens(Tcp),
    Process(Process),
    Exit {
        tgid: u32,
        time: u64,
    },
}

/// The bytes of a [`Tcp`].
pub(crate) const TCP_BYTES: usize = 120;
/// The bytes before those of a piece.
const DATA_HEADER: usize = 88;

/// Reads one event. `None`: it is none, which is a mistake in Weir.
pub(crate) fn read(bytes: &[u8]) -> Option<Event<'_>> {
    match bytes.first()? {
        1 => Some(Event::Data(data(bytes)?)),
        2 => Some(Event::Closed(tcp(bytes)?)),
        3 => Some(Event::Established(tcp(bytes)?)),
        4 => Some(Event::Open(tcp(bytes)?)),
        5 => Some(Event::Listens(tcp(bytes)?)),
        6 => {
            let comm = bytes.get(24..40)?;
            let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
            let comm = String::from_utf8_lossy(&comm[..end]).into_owned();
            Some(Event::Process(Process { tgid: u32_at(bytes, 4)?, cgroup: u64_at(bytes, 16)?, comm }))
        }
        7 => Some(Event::Exit { tgid: u32_at(bytes, 4)?, time: u64_at(bytes, 8)? }),
        _ => None,
    }
}

fn data(bytes: &[u8]) -> Option<Data<'_>> {
    let captured = usize::try_from(u32_at(bytes, 4)?).ok()?;
    Some(Data {
        id: ConnectionId { socket: u64_at(bytes, 24)?, started: u64_at(bytes, 32)? },
        is_http2: *bytes.get(2)? == 2,
        direction: if *bytes.get(1)? == 0 { Direction::In } else { Direction::Out },
        position: u32_at(bytes, 12)?,
        total: u32_at(bytes, 8)?,
        time: u64_at(bytes, 16)?,
        tgid: u32_at(bytes, 40)?,
        ends: ends(bytes.get(48..88)?)?,
        bytes: bytes.get(DATA_HEADER..DATA_HEADER + captured)?,
    })
}

fn tcp(bytes: &[u8]) -> Option<Tcp> {
    let bytes = bytes.get(..TCP_BYTES)?;
    Some(Tcp {
        id: ConnectionId { socket: u64_at(bytes, 16)?, started: u64_at(bytes, 24)? },
        role: match bytes.get(1)? {
            1 => Role::Client,
            2 => Role::Server,
            _ => Role::Unknown,
        },
        before: *bytes.get(2)?,
        fresh: bytes.get(3)? & 1 != 0,
        tgid: u32_at(bytes, 4)?,
        time: u64_at(bytes, 8)?,
        established: u64_at(bytes, 32)?,
        cgroup: u64_at(bytes, 40)?,
        sent: u64_at(bytes, 48)?,
        received: u64_at(bytes, 56)?,
        retransmits: u32_at(bytes, 64)?,
        srtt_us: u32_at(bytes, 68)?,
        error: u32_at(bytes, 72)?.cast_signed(),
        resets_received: u16_at(bytes, 76)?,
        resets_sent: u16_at(bytes, 78)?,
        ends: ends(bytes.get(80..120)?)?,
    })
}

fn ends(bytes: &[u8]) -> Option<Ends> {
    let address = |at: usize| {
        let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
        Some(match Ipv6Addr::from(octets).to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(address),
        })
    };
    Some(Ends {
        local: SocketAddr::new(address(0)?, u16_at(bytes, 32)?),
        remote: SocketAddr::new(address(16)?, u16_at(bytes, 34)?),
        netns: u32_at(bytes, 36)?,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
