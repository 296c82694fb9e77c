//! Traffic that is hard to read, many connections, short processes: no false rows, nothing silently missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Script, observe, skipped};

#[tokio::test(flavor = "multi_thread")]
async fn odd_traffic_gives_the_rows_that_it_has_and_no_others() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let mut odd = Script::start("odd.py", &[&port]);
    let own: Vec<u64> = serde_json::from_str(&odd.line()).unwrap();
    let [noise, upgrade] = own[..] else { panic!() };
    let ports = format!("{port}, {noise}, {upgrade}");
    let mut observed = observe(&format!("filter: {{ports: [{ports}]}}, tcp: {{enabled: false}}")).await;
    assert_eq!(odd.ask("pipelined 80"), 80);
    assert_eq!(odd.ask("huge 60000"), 200);
    assert_eq!(odd.ask("huge 100000"), 431);
    assert_eq!(odd.ask("half"), 0);
    assert_eq!(odd.ask("slow"), 200);
    assert_eq!(odd.ask("noise 80"), 80);
    assert_eq!(odd.ask("upgrade"), 101);
    let port: u64 = port.parse().unwrap();
    let on = |port: u64, kind: &'static str| {
        move |row: &Value| row["attributes"]["server.port"] == port && row["kind"] == kind
    };
    observed.wait(83, on(port, "server")).await;
    observed.wait(83, on(port, "client")).await;
    observed.wait(2, move |row| row["attributes"]["server.port"] == upgrade).await;
    let (lost, unpaired) = (observed.metric("weir_ebpf_lost"), observed.metric("weir_ebpf_unpaired"));
    let all = observed.stop().await;
    let of = |port: u64, kind: &'static str| all.iter().filter(|row| on(port, kind)(row)).collect::<Vec<_>>();
    for kind in ["server", "client"] {
        let rows = of(port, kind);
        let mut operations: Vec<&str> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
        let pipelined = operations.iter().filter(|operation| operation.starts_with("GET /next")).count();
        operations.retain(|operation| !operation.starts_with("GET /next"));
        operations.sort_unstable();
        assert_eq!(pipelined, 80, "{kind}");
        // Of half a request the first line was seen, or nothing that could be a row.
        operations.retain(|operation| *operation != "GET /half");
        assert_eq!(operations, ["GET /bytewise", "GET /huge", "GET /huge"], "{kind}");
        let huge = rows.iter().filter(|row| row["operation"] == "GET /huge");
        let mut statuses: Vec<_> =
            huge.clone().map(|row| row["attributes"]["http.response.status_code"].as_u64()).collect();
        // The server resets the connection after its answer, which the client may read after the reset only.
        statuses.sort_unstable();
        let is_read_late = kind == "client" && statuses == [None, Some(200)];
        assert!(is_read_late || statuses == [Some(200), Some(431)], "{kind}: {statuses:?}");
        assert!(huge.clone().all(|row| row["attributes"]["weir.partial"] == true), "the heads are too large");
        assert_eq!(of(upgrade, kind).len(), 1, "nothing after the upgrade");
        assert_eq!(of(noise, kind), Vec::<&Value>::new());
    }
    assert_eq!((lost, unpaired), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn short_processes_and_many_connections_belong_to_whom_they_should() {
    if skipped() {
        return;
    }
    const PROCESSES: usize = 1_000;
    const CONNECTIONS: usize = 10;
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let settings = format!(
        "filter: {{ports: [{port}]}}, tcp: {{interval: 1s}}, http: {{full_paths: true}}, max_processes: 200"
    );
    let mut observed = observe(&settings).await;
    let (processes, connections) = (PROCESSES.to_string(), CONNECTIONS.to_string());
    let mut many = Script::start("many.py", &[&port, &processes, &connections]);
    let done = tokio::task::spawn_blocking(move || many.line()).await.unwrap();
    assert_eq!(done, "done");
    let port: u64 = port.parse().unwrap();
    let is = |kind: &'static str| {
        move |row: &Value| row["attributes"]["server.port"] == port && row["kind"] == kind
    };
    let clients = observed.wait(PROCESSES * CONNECTIONS, is("client")).await;
    observed.wait(PROCESSES * CONNECTIONS, is("server")).await;
    for row in &clients {
        let pid = row["attributes"]["url.path"].as_str().unwrap().strip_prefix("/p/").unwrap();
        assert_eq!(row["resource"]["process.pid"], json!(pid.parse::<u64>().unwrap()), "{row}");
        let name = row["resource"]["process.executable.name"].as_str().unwrap();
        assert!(name.starts_with("python"), "{row}");
    }
    let began = std::time::Instant::now();
    while observed.metric("weir_ebpf_connections") > 0 {
        assert!(began.elapsed() < support::LONG);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(observed.metric("weir_ebpf_processes") <= 200);
    assert_eq!((observed.metric("weir_ebpf_lost"), observed.metric("weir_ebpf_unseen")), (0, 0));
    let rows = observed.stop().await;
    let connected = rows.iter().filter(|row| row["metric"] == "tcp.connected");
    let connected = connected.map(|row| row["value"].as_f64().unwrap()).sum::<f64>();
    assert_eq!(connected, (PROCESSES * CONNECTIONS) as f64);
}
