//! A client and a sink of OTLP over HTTP, for measurements: as fast as it goes, the same request again and
//! again.
//!
//! * `otlp_load sink`: prints the port that it listens on, and answers each request with success. It ends
//!   with its standard input, and prints then how many requests and bytes it got.
//! * `otlp_load send <address> <traces|logs> <requests> <items> <connections>`: sends so many requests of so
//!   many items, each when the one before it on its connection was answered. Prints the bytes of a request.
//!   An answer other than success is an error.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use weir_pdata::json::JsonLines;
use weir_pdata::{Projection, Signal, otlp};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sink"] => sink().await,
        ["send", address, signal, requests, items, connections] => {
            let signal = Signal::from_name(signal).context("traces or logs")?;
            let (requests, items): (u64, usize) = (requests.parse()?, items.parse()?);
            send(address, signal, requests, items, connections.parse()?).await
        }
        _ => bail!(
            "usage: otlp_load sink | otlp_load send <address> <signal> <requests> <items> <connections>"
        ),
    }
}

/// A request of so many items, of 10 services. Spans have 8 attributes, logs 6.
fn request(signal: Signal, items: usize) -> Result<Vec<u8>> {
    let time = |n: usize| 1_795_132_800_000_i64 + n as i64;
    let row = |n: usize| {
        let service = format!("service-{}", n / 100 % 10);
        let resource =
            json!({"service.name": service, "host.name": "host-1", "deployment.environment": "bench"});
        match signal {
            Signal::Logs => json!({
                "signal": "logs", "time": time(n), "severity_number": 9, "severity_text": "INFO",
                "service": service, "trace_id": format!("{n:032x}"), "span_id": format!("{n:016x}"),
                "body": format!("GET /api/orders/{n} answered with 200 in {} ms, and nothing else happened here", n % 97),
                "attributes": {
                    "http.request.method": "GET", "http.response.status_code": 200, "url.path": format!("/api/orders/{n}"),
                    "thread.name": format!("worker-{}", n % 16), "code.function": "handle", "order.id": n,
                },
                "resource": resource,
            }),
            _ => json!({
                "signal": "traces", "time": time(n), "end_time": time(n + 20), "duration_ns": 20_000_000, "service": service,
                "trace_id": format!("{:032x}", n / 8 + 1), "span_id": format!("{:016x}", n + 1),
                "parent_span_id": if n.is_multiple_of(8) { String::new() } else { format!("{n:016x}") },
                "operation": format!("GET /api/orders/{}", n % 20), "kind": "server", "status": "ok",
                "attributes": {
                    "http.request.method": "GET", "http.response.status_code": 200, "url.path": format!("/api/orders/{n}"),
                    "server.address": "shop.example", "server.port": 443, "network.protocol.version": "1.1",
                    "user_agent.original": "bench/1.0 (measurements of a pipeline)", "order.id": n,
                },
                "resource": resource,
            }),
        }
    };
    let lines: Vec<Vec<u8>> = (0..items).map(|n| row(n).to_string().into_bytes()).collect();
    let read = JsonLines::read(lines.iter().map(Vec::as_slice), &Projection::everything());
    ensure!(read.rejected.is_empty(), "{:?}", read.rejected.first());
    let mut request = Vec::new();
    for (signal, columns) in &read.batches {
        otlp::encode(*signal, columns, &mut request)?;
    }
    Ok(request)
}

async fn send(address: &str, signal: Signal, requests: u64, items: usize, connections: u64) -> Result<()> {
    let body = request(signal, items)?;
    let head = format!(
        "POST /v1/{signal} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let message: Arc<[u8]> = [head.as_bytes(), &body].concat().into();
    let left = Arc::new(AtomicU64::new(requests));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (address, message, left) = (address.to_owned(), Arc::clone(&message), Arc::clone(&left));
        senders.spawn(async move {
            let mut connection = BufReader::new(TcpStream::connect(address).await?);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                connection.get_mut().write_all(&message).await?;
                let head = read_message(&mut connection).await?.context("the connection was closed")?.0;
                ensure!(head.starts_with("HTTP/1.1 200"), "answered with {head}");
            }
            Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    writeln!(std::io::stdout(), "{{\"bytes\": {}}}", body.len())?;
    Ok(())
}

async fn sink() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{{\"port\": {}}}", listener.local_addr()?.port())?;
    std::io::stdout().flush()?;
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let counted = Arc::clone(&counts);
    let accepting = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let counts = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut connection = BufReader::with_capacity(1 << 18, connection);
                while let Ok(Some((_, bytes))) = read_message(&mut connection).await {
                    counts.0.fetch_add(1, Ordering::Relaxed);
                    counts.1.fetch_add(bytes, Ordering::Relaxed);
                    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
                    if connection.get_mut().write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    accepting.abort();
    let (requests, bytes) = (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
    writeln!(std::io::stdout(), "{{\"requests\": {requests}, \"bytes\": {bytes}}}")?;
    Ok(())
}

/// Reads a message of HTTP/1.1 with a `content-length`: its first line, and the bytes of its body, which are
/// left out. `None`: the connection ends before it.
async fn read_message(connection: &mut BufReader<TcpStream>) -> Result<Option<(String, u64)>> {
    let (mut first, mut length) = (None, 0_u64);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            ensure!(!name.eq_ignore_ascii_case("transfer-encoding"), "a body without a length");
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        first.get_or_insert_with(|| line.to_owned());
    }
    let mut body = connection.take(length);
    let read = tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await?;
    ensure!(read == length, "the body ends early");
    Ok(Some((first.unwrap_or_default(), length)))
}
