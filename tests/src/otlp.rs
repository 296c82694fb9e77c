//! OTLP: a server that records items, a client with OpenTelemetry's SDK for Python, and a real Collector.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::server::{Server, cache};

/// The environment that `scripts/setup test` makes.
const ENVIRONMENT: &str = "venv-opentelemetry";

/// A server that reads what it gets by OpenTelemetry's own message types.
#[derive(Debug)]
pub struct OtlpRecorder {
    grpc: String,
    http: String,
    items: PathBuf,
    _server: Server,
}

impl OtlpRecorder {
    /// Starts a recorder on free ports.
    pub fn start() -> Result<OtlpRecorder> {
        let (server, announced) = Server::start_with(ENVIRONMENT, "otlp_recorder.py", &[])?;
        Ok(OtlpRecorder {
            grpc: announced.text("grpc")?,
            http: announced.text("http")?,
            items: announced.text("items")?.into(),
            _server: server,
        })
    }

    /// Where it listens for gRPC.
    #[must_use]
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Where it listens for HTTP.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Each item that came so far, as a line with all that stands above it; sorted.
    pub fn items(&self) -> Result<Vec<String>> {
        Ok(sorted(&std::fs::read_to_string(&self.items)?))
    }
}

/// Sends spans, logs and metrics with the SDK, some of each for each of `count`. `way`: `grpc` or `http`.
/// Waits until the SDK was told that all of them arrived, and gives them as [`OtlpRecorder::items`] does.
pub async fn send_with_sdk(way: &str, address: &str, count: usize) -> Result<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/support/otlp_client.py");
    let mut command = Command::new(cache().join(ENVIRONMENT).join("bin/python"));
    command.args([script, way, address, &count.to_string()]).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.context("cannot run the SDK: run scripts/setup test")?;
    if !output.status.success() {
        bail!("the SDK failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(sorted(&String::from_utf8(output.stdout)?))
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Runs OpenTelemetry's `telemetrygen` with these arguments to its end. `None`, with a reason on standard
/// error, where there is none: `scripts/setup test` builds it where there is Go.
pub async fn telemetrygen(arguments: &[&str]) -> Result<Option<()>> {
    let Some(program) = built_with_go("telemetrygen")? else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        bail!("telemetrygen failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(()))
}

/// A program that `scripts/setup` builds with Go. `None`, with a reason on standard error, where there is
/// none.
fn built_with_go(name: &str) -> Result<Option<PathBuf>> {
    let program = cache().join("tools/otelcol-0.161.0").join(name);
    if program.is_file() {
        return Ok(Some(program));
    }
    let reason = format!("skipped: there is no {}: run scripts/setup test (needs Go)\n", program.display());
    std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes())?;
    Ok(None)
}

/// A real OpenTelemetry Collector. Killed on drop.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Collector {
    /// Starts one with this configuration. `None`, with a reason on standard error, where there is none:
    /// `scripts/setup test` builds it where there is Go.
    pub fn start(config: &str) -> Result<Option<Collector>> {
        let Some(program) = built_with_go("otelcol")? else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("otelcol.yaml");
        std::fs::write(&file, config)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("--config").arg(file);
        let child = command.stdin(Stdio::null()).spawn().context("cannot start the Collector")?;
        Ok(Some(Collector { child, _folder: folder }))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
