//! The built `weir` program as a child process.

use crate::wait::wait_until;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

type Lines = Arc<Mutex<Vec<String>>>;

/// How a run of the program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr: the log.
    pub stderr: String,
}

/// A running `weir run`, in a temporary folder of its own. Killed on drop, and by the kernel if the thread
/// that started it ends first: start it from the test itself, not from a spawned task.
#[derive(Debug)]
pub struct Weir {
    child: Child,
    folder: Arc<tempfile::TempDir>,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Weir {
    /// Starts `weir run` with this configuration text, plus further arguments and environment variables.
    pub fn start(config: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(Arc::new(tempfile::tempdir()?), config, arguments, environment)
    }

    /// As [`Weir::start`], in the folder of an earlier run: for what a restart finds there.
    pub fn start_in(
        folder: Arc<tempfile::TempDir>,
        config: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, config)?;
        let mut child = command(folder.path(), environment)?
            .arg("run")
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .spawn()
            .context("cannot start weir through setpriv")?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(collect(pipe, &stdout));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, &stderr));
        }
        Ok(Self { child, folder, stdout, stderr, readers })
    }

    /// Runs a command of the program to its end, such as `["validate", "--config", path]`.
    pub fn run_command(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Outcome> {
        let output = command(Path::new("."), environment)?.args(arguments).output()?;
        Ok(Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its working folder, with `weir.yaml` and whatever it wrote by relative paths.
    #[must_use]
    pub fn folder(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }

    /// The log lines so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lines(&self.stderr)
    }

    /// The lines on stdout so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        lines(&self.stdout)
    }

    /// Waits for a log line that contains `text`, and returns it: the first one, however long ago it was.
    /// Fails at once if the program ends without one.
    pub async fn wait_for_log(&mut self, text: &str, timeout: Duration) -> Result<String> {
        self.wait_for_log_after(0, text, timeout).await
    }

    /// As [`Weir::wait_for_log`], for a line behind the first `lines`.
    pub async fn wait_for_log_after(
        &mut self,
        lines: usize,
        text: &str,
        timeout: Duration,
    ) -> Result<String> {
        let what = format!("a log line with {text:?}");
        let found = wait_until(&what, timeout, || {
            // Before the log is read: once the program has ended, the log is complete.
            let ended = self.ended();
            let seen = self.log().into_iter().skip(lines).find(|line| line.contains(text));
            let what = &what;
            async move {
                match (seen, ended?) {
                    (Some(line), _) => Ok(Some(line)),
                    (None, Some(status)) => bail!("weir ended ({status}) without {what}"),
                    (None, None) => Ok(None),
                }
            }
        })
        .await;
        found.with_context(|| format!("the log:\n{}", self.log().join("\n")))
    }

    /// Waits until the program ends by itself.
    pub async fn wait(mut self, timeout: Duration) -> Result<Outcome> {
        let waited = wait_until("weir to end", timeout, || {
            let ended = self.ended();
            async move { ended }
        });
        let status = waited.await.with_context(|| format!("the log:\n{}", self.log().join("\n")))?;
        Ok(self.outcome(status))
    }

    /// Sends SIGTERM and waits for the drain to end.
    pub async fn terminate(self, timeout: Duration) -> Result<Outcome> {
        self.signal("TERM")?;
        self.wait(timeout).await
    }

    /// Sends SIGKILL, as a crash would end it, and waits until it is gone.
    pub fn kill(mut self) -> Result<Outcome> {
        self.child.kill()?;
        let status = self.child.wait()?;
        Ok(self.outcome(status))
    }

    /// Sends a signal by name: `TERM`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        // The shell's own kill: it needs no unsafe code here and no package there.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status()?;
        if sent.success() { Ok(()) } else { bail!("cannot send {name} to weir: it has ended") }
    }

    /// CPU time used so far, user and system, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        // After the name in parentheses: field 12 is user time, 13 system time, in hundredths.
        let stat = self.proc("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / 100.0)
    }

    /// The largest resident size so far.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = line.split_whitespace().next().context("no VmHWM")?.parse()?;
        Ok(kib * 1024)
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    /// The exit status once it has ended, its output read to the end.
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.join_readers();
        }
        Ok(status)
    }

    fn outcome(&mut self, status: ExitStatus) -> Outcome {
        self.join_readers();
        Outcome { code: status.code(), stdout: self.stdout().join("\n"), stderr: self.log().join("\n") }
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader cannot panic: it only reads and pushes.
            let _ = reader.join();
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, to be killed by the kernel when the calling thread ends, with its output piped.
fn command(folder: &Path, environment: &[(&str, &str)]) -> Result<Command> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(program()?)
        .current_dir(folder)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// `$WEIR_BIN`, or `weir` in the target folder that this test binary is in.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return Ok(path.into());
    }
    let here = std::env::current_exe()?;
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let beside =
        here.ancestors().skip(1).take(2).map(|folder| folder.join("weir")).find(|path| path.is_file());
    beside.with_context(|| format!("no weir near {}: run cargo build -p weir", here.display()))
}

fn collect(pipe: impl Read + Send + 'static, into: &Lines) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            into.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            line.clear();
        }
    })
}

fn lines(of: &Lines) -> Vec<String> {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
