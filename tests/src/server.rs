//! One Python server of `tests/support/` as a child process.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a server to flush and remove its folder; after that it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);

/// A running server. Its stdin is held open: it ends when that closes, on drop or with this process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Starts `tests/support/<script>` and waits until it announces itself; returns what it announced.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Result<(Self, Announced)> {
        Self::start_with("venv", script, arguments)
    }

    /// As [`Server::start`], with the Python of this environment.
    pub(crate) fn start_with(
        environment: &str,
        script: &str,
        arguments: &[&str],
    ) -> Result<(Self, Announced)> {
        let python = cache().join(environment).join("bin/python");
        if !python.exists() {
            bail!("no {}: run scripts/setup test", python.display());
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("support").join(script);
        let mut child = Command::new(&python)
            .arg(&path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the child has no stdout")?;
        let server = Self { child, stdin };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let facts = serde_json::from_str(&line).with_context(|| {
            format!("{script} did not start (its own message is above); it said {line:?}")
        })?;
        Ok((server, Announced(facts)))
    }

    /// Ends the server in good order and waits for that.
    pub(crate) fn stop(&mut self) -> Result<()> {
        drop(self.stdin.take());
        let deadline = Instant::now() + END_WITHIN;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("a server did not end within {END_WITHIN:?} and was killed");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to tell it to: the test is over, and the process is gone either way.
        let _ = self.stop();
    }
}

/// Runs `tests/support/<script>` to its end with this input; returns what it wrote.
pub(crate) fn run(script: &str, input: String) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("support").join(script);
    let mut child = Command::new(cache().join("venv/bin/python"))
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}: run scripts/setup test", path.display()))?;
    let mut stdin = child.stdin.take().context("the child has no stdin")?;
    // From another thread: the child may fill its output before it has read all of its input.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{script} failed (its own message is above)");
    }
    writer.join().map_err(|_| anyhow::anyhow!("the writer of {script} panicked"))??;
    Ok(String::from_utf8(output.stdout)?)
}

/// The JSON object with which a server says that it is ready.
#[derive(Debug)]
pub(crate) struct Announced(Value);

impl Announced {
    /// A text in it, such as an address.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        let text = self.0.get(name).and_then(Value::as_str);
        Ok(text.with_context(|| format!("the server announced no {name}: {}", self.0))?.to_owned())
    }
}

/// The folder that `scripts/setup` fills.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/weir");
    std::env::var_os("WEIR_CACHE").map_or_else(home, PathBuf::from)
}

/// Runs a script of `tests/support` to its end and returns what it wrote. `input` is its standard input.
///
/// # Errors
/// It cannot be run, or failed.
pub fn run_script(script: &str, input: String) -> Result<String> {
    run(script, input)
}
