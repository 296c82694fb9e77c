//! Figures of real TCP connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Script, observe, skipped};

/// The sum of a metric over rows of this role and port: values, or how many times were counted.
fn sum(rows: &[Value], metric: &str, role: &str, port: u64) -> f64 {
    let fit = rows.iter().filter(|row| {
        let attributes = &row["attributes"];
        row["metric"] == metric && attributes["tcp.role"] == role && attributes["server.port"] == port
    });
    fit.map(|row| row["value"].as_f64().or_else(|| row["count"].as_f64()).unwrap()).sum()
}

/// The mean of a metric of times, in seconds.
fn mean(rows: &[Value], metric: &str, role: &str, port: u64) -> f64 {
    let fit = rows.iter().filter(|row| {
        let attributes = &row["attributes"];
        row["metric"] == metric && attributes["tcp.role"] == role && attributes["server.port"] == port
    });
    let (count, sum) = fit.fold((0.0, 0.0), |(count, sum), row| {
        (count + row["count"].as_f64().unwrap(), sum + row["sum"].as_f64().unwrap())
    });
    sum / count
}

/// Runs a piece of Python within these words.
fn python(words: &[&str], code: &str) -> u32 {
    let all: Vec<&str> = [words, &["python3", "-c", code]].concat();
    let mut child = Command::new(all[0]).args(&all[1..]).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_on_loopback_are_counted_and_belong_to_their_processes() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let mut observed = observe("tcp: {interval: 1s}, http: {enabled: false}").await;
    let mut client = Script::start("client.py", &["127.0.0.1", &port]);
    let (mut sent, mut received) = (0, 0);
    for _ in 0..25 {
        let saw = client.ask(&json!(["GET", "/big", 0, {}, true]).to_string());
        sent += saw[2].as_u64().unwrap();
        received += saw[3].as_u64().unwrap();
    }
    let pids = [client.pid(), server.pid()];
    client.end();
    // Nobody listens on this port any more.
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fails =
        format!("import socket\nfor _ in range(3):\n socket.socket().connect_ex(('127.0.0.1', {refused}))");
    let failing = python(&[], &fails);
    let port: u64 = port.parse().unwrap();
    // Others on this machine may fail, too.
    let has_failed =
        |row: &Value| row["metric"] == "tcp.connect_failures" && row["attributes"]["server.port"] == refused;
    observed.wait(1, has_failed).await;
    let began = std::time::Instant::now();
    while sum(&observed.rows(|_| true), "tcp.closed", "server", port) < 25.0 {
        assert!(began.elapsed() < support::LONG, "{:#?}", observed.rows(|_| true));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let rows = observed.stop().await;
    for (role, opened, pid, out, into) in [
        ("client", "tcp.connected", pids[0], sent, received),
        ("server", "tcp.accepted", pids[1], received, sent),
    ] {
        let of = |metric: &str| sum(&rows, metric, role, port);
        assert_eq!((of(opened), of("tcp.closed"), of("tcp.duration")), (25.0, 25.0, 25.0), "{role}");
        assert_eq!(of("tcp.sent"), out as f64, "{role}");
        // The kernel counts the end of the other side as a byte.
        let extra = of("tcp.received") - into as f64;
        assert!((0.0..=25.0).contains(&extra), "{role}: {extra}");
        let own = rows
            .iter()
            .filter(|row| row["attributes"]["server.port"] == port && row["attributes"]["tcp.role"] == role);
        for row in own {
            assert_eq!(row["resource"]["process.pid"], pid, "{row}");
            assert_eq!(row["attributes"]["network.peer.address"], "127.0.0.1");
        }
    }
    assert_eq!(sum(&rows, "tcp.connect_time", "client", port), 25.0);
    assert!(mean(&rows, "tcp.connect_time", "client", port) < 0.01);
    let failed = rows.iter().find(|row| has_failed(row)).unwrap();
    assert_eq!(
        (&failed["value"], &failed["attributes"]["error.type"]),
        (&json!(3.0), &json!("ECONNREFUSED"))
    );
    assert_eq!(failed["resource"]["process.pid"], failing);
    let port: u64 = refused.into();
    assert_eq!(sum(&rows, "tcp.resets_received", "client", port), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_and_loss_between_two_namespaces_move_rtt_and_retransmits() {
    if skipped() {
        return;
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("SKIPPED: the kernel has no TUN devices");
        return;
    }
    let mut measured = Vec::new();
    for (name, delay, lose) in [("weirx", "0", "0"), ("weiry", "15", "0"), ("weirz", "15", "40")] {
        let mut path = Script::start("path.py", &[name, delay, lose]);
        assert_eq!(path.line(), "ready");
        let (a, b) = (format!("{name}a"), format!("{name}b"));
        let mut server = Script::within(&["ip", "netns", "exec", &b], "server.py", &["10.77.0.2"]);
        let port = server.line();
        let mut observed = observe(&format!("tcp: {{interval: 1s}}, filter: {{ports: [{port}]}}")).await;
        let mut client = Script::within(&["ip", "netns", "exec", &a], "client.py", &["10.77.0.2", &port]);
        let mut seconds = 0.0;
        for _ in 0..4 {
            let saw = client.ask(&json!(["GET", "/big", 0, {}, true]).to_string());
            seconds += saw[1].as_f64().unwrap() / 4.0;
        }
        client.end();
        let port: u64 = port.parse().unwrap();
        let spans = observed.wait(4, |row| row["kind"] == "client").await;
        server.end();
        path.end();
        let rows = observed.stop().await;
        // The means of four; the path itself and the scripts share the cores.
        let of_spans = spans.iter().map(|row| row["duration_ns"].as_f64().unwrap() / 4e9).sum::<f64>();
        assert!((of_spans - seconds).abs() <= f64::max(0.004, 0.05 * seconds), "{of_spans} {seconds}");
        let connect = mean(&rows, "tcp.connect_time", "client", port);
        let rtt = mean(&rows, "tcp.rtt", "client", port);
        measured.push((connect, rtt, sum(&rows, "tcp.retransmits", "server", port)));
    }
    let [plain, slow, lossy] = measured[..] else { panic!() };
    assert!(plain.0 < 0.015 && plain.1 < 0.015, "{measured:?}");
    assert!((0.030..0.050).contains(&slow.0) && (0.030..0.060).contains(&slow.1), "{measured:?}");
    assert!(lossy.1 >= 0.030, "{measured:?}");
    assert_eq!((plain.2, slow.2), (0.0, 0.0), "{measured:?}");
    // Every 40th of some 830 packets with data is lost.
    assert!((10.0..100.0).contains(&lossy.2), "{measured:?}");
}
