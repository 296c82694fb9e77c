//! The receiver on the real kernel, and programs for it to look at.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::testkit::{self, RecordingLanes};
use weir_component::{Context, ReceiverError, ReceiverHost, Settings, Status};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Demand, Payload, SharedProjection};

pub const LONG: Duration = Duration::from_secs(30);

/// A running receiver.
pub struct Observed {
    lanes: RecordingLanes,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ReceiverError>>,
    pub context: Context,
    _directory: TempDir,
    rows: Vec<Value>,
}

/// Why this machine cannot run the test, printed. CI fails when it is anything but rights or the kernel.
pub fn skipped() -> bool {
    let table = match weir_receiver_ebpf::check() {
        Ok(table) => table,
        Err(reason) => panic!("clang is a part of the set-up: {reason}"),
    };
    let missing: Vec<&str> = table.lines().skip(1).filter(|line| !line.contains(" ok")).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {}", missing.join("\n"));
        // Anything else is a mistake of ours.
        let is_lacking =
            |line: &&str| ["CAP_BPF", "no such place", "(BTF"].iter().any(|reason| line.contains(reason));
        assert!(missing.iter().all(is_lacking), "{missing:#?}");
    }
    !missing.is_empty()
}

/// Starts a receiver with these settings and waits until it observes.
pub async fn observe(settings: &str) -> Observed {
    let text = format!(
        "receivers:\n  ebpf: {{{settings}}}\nexporters: {{nop: {{}}}}\n\
         service: {{pipelines: {{main: {{receivers: [ebpf], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let context = testkit::context("ebpf", directory.path());
    let settings = Settings::new(&document, &topology.receivers[0]);
    let receiver = (weir_receiver_ebpf::FACTORY.create)(settings, context.clone()).unwrap();
    let lanes = RecordingLanes::default();
    let host = ReceiverHost {
        context: context.clone(),
        projection: SharedProjection::new(Demand::everything()),
        lanes: Arc::new(lanes.clone()),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(receiver.run(host, stop.clone()));
    let observed = Observed { lanes, stop, task, context, _directory: directory, rows: Vec::new() };
    let began = Instant::now();
    while observed.context.health.read().status != Status::Ok {
        assert!(began.elapsed() < LONG, "{:?}", observed.context.health.read());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The thread lists the open connections first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    observed
}

impl Observed {
    /// All rows so far that fit, in the order of their arrival.
    pub fn rows(&mut self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        for batch in self.lanes.take_batches() {
            let Payload::Columns(columns) = &batch.payload else { panic!("columns") };
            let mut lines = Vec::new();
            weir_pdata::json::write_rows(columns, batch.signal, &mut lines);
            let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            self.rows.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        self.rows.iter().filter(|row| fits(row)).cloned().collect()
    }

    /// Waits until so many rows fit.
    pub async fn wait(&mut self, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let rows = self.rows(&fits);
            if rows.len() >= count {
                return rows;
            }
            assert!(began.elapsed() < LONG, "{} of {count} rows: {:#?}", rows.len(), self.rows.last());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The value of a metric of the receiver.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.context.telemetry.encode();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// Stops it. What is left is told.
    pub async fn stop(mut self) -> Vec<Value> {
        self.stop.cancel();
        tokio::time::timeout(LONG, &mut self.task).await.unwrap().unwrap().unwrap();
        self.lanes.check_contract();
        self.rows(|_| true)
    }
}

/// A script of `tests/scripts`, or a piece of Python, that runs.
pub struct Script {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Script {
    /// Starts `tests/scripts/NAME`, within these words (`ip netns exec …`).
    pub fn within(words: &[&str], name: &str, arguments: &[&str]) -> Script {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
        let path = path.display().to_string();
        let all: Vec<&str> = [words, &["python3", &path], arguments].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Script { input: child.stdin.take(), child, output }
    }

    /// Starts a script.
    pub fn start(name: &str, arguments: &[&str]) -> Script {
        Script::within(&[], name, arguments)
    }

    /// Its next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Gives it a line and reads one.
    pub fn ask(&mut self, line: &str) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let answer = self.line();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?} to {line}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its input and waits for its end.
    pub fn end(mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of an attribute.
pub fn number(row: &Value, key: &str) -> u64 {
    row["attributes"][key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"))
}
