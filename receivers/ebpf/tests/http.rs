//! Requests over real sockets, compared with what the client itself measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Script, number, observe, skipped};

/// Nanoseconds between the two times of a row.
fn duration(row: &Value) -> f64 {
    row["duration_ns"].as_f64().unwrap() / 1e9
}

fn is(kind: &'static str, port: u64) -> impl Fn(&Value) -> bool {
    move |row| row["kind"] == kind && row["attributes"]["server.port"] == port
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_both_sides_agree_with_what_the_client_measures() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let mut observed = observe(&format!("filter: {{ports: [{port}]}}, tcp: {{enabled: false}}")).await;
    let mut client = Script::start("client.py", &["127.0.0.1", &port]);
    let mut asked = Vec::new();
    for round in 0..20 {
        for (method, path, length) in [
            ("GET", "/ok".to_owned(), 0),
            ("GET", format!("/orders/{round}?card=4111"), 0),
            ("GET", "/slow".to_owned(), 0),
            ("GET", "/fail".to_owned(), 0),
            ("GET", "/chunked".to_owned(), 0),
            ("GET", "/big".to_owned(), 0),
            ("POST", "/orders".to_owned(), 100 + 5_000 * round),
        ] {
            let request = json!([method, path, length, {}, round % 5 == 0 && path == "/ok"]);
            let saw = client.ask(&request.to_string());
            asked.push((method, path, saw));
        }
    }
    let port: u64 = port.parse().unwrap();
    let clients = observed.wait(asked.len(), is("client", port)).await;
    let servers = observed.wait(asked.len(), is("server", port)).await;
    assert_eq!((clients.len(), servers.len()), (asked.len(), asked.len()));
    let mut close = 0;
    for ((method, path, saw), (client, server)) in asked.iter().zip(clients.iter().zip(&servers)) {
        let [status, seconds, sent, received] = [0, 1, 2, 3].map(|at| saw[at].as_f64().unwrap());
        let template = match path.split('?').next().unwrap() {
            path if path.starts_with("/orders/") => "/orders/{id}",
            path => path,
        };
        for row in [client, server] {
            assert_eq!(row["operation"], format!("{method} {template}"));
            assert_eq!(number(row, "http.response.status_code"), status as u64);
            assert_eq!(number(row, "http.request.size"), sent as u64, "{row}");
            assert_eq!(number(row, "http.response.size"), received as u64, "{row}");
            assert_eq!(row["attributes"].get("weir.partial"), None);
            assert!(!row.to_string().contains("4111"), "no query is stored");
        }
        let failed = if status >= 500.0 { "error" } else { "ok" };
        assert_eq!((&client["status"], &server["status"]), (&json!(failed), &json!(failed)));
        let difference = (duration(client) - seconds).abs();
        close += usize::from(difference <= f64::max(0.001, seconds * 0.05));
        assert!(duration(server) <= duration(client) + 0.001, "{client} {server}");
        if path == "/slow" {
            assert!(duration(server) >= 0.0199, "{server}");
        }
    }
    assert!(close * 100 >= asked.len() * 95, "{close} of {} latencies agree", asked.len());
    let pids = [server.pid(), client.pid()].map(|pid| json!(pid));
    assert_eq!([&servers[0], &clients[0]].map(|row| row["resource"]["process.pid"].clone()), pids);
    assert_eq!(clients[0]["peer"], format!("127.0.0.1:{port}"));
    assert_eq!((observed.metric("weir_ebpf_lost"), observed.metric("weir_ebpf_unpaired")), (0, 0));
    client.end();
    server.end();
    observed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_traces_are_read_and_only_allowed_ones_are_stored() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let settings = format!(
        "filter: {{ports: [{port}]}}, tcp: {{enabled: false}}, http: {{allow_headers: [X-Tenant, Cookie], full_paths: true}}"
    );
    let mut observed = observe(&settings).await;
    let mut client = Script::start("client.py", &["127.0.0.1", &port]);
    // Written down, not computed: trace `t.1`, segment `s.2`, service `shop`, instance `shop-1`.
    let sw8 = "1-dC4x-cy4y-3-c2hvcA==-c2hvcC0x-L3BheQ==-MTI3LjAuMC4xOjgw";
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for headers in [
        json!({"sw8": sw8, "X-Tenant": "blue", "Cookie": "session=1", "Authorization": "Bearer x"}),
        json!({"traceparent": traceparent}),
        json!({"b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"}),
        json!({}),
    ] {
        client.ask(&json!(["GET", "/a/7?secret=1", 0, headers, false]).to_string());
    }
    let port = port.parse().unwrap();
    for kind in ["server", "client"] {
        let rows = observed.wait(4, is(kind, port)).await;
        let ids: Vec<_> = rows.iter().map(|row| (&row["trace_id"], &row["parent_span_id"])).collect();
        let (null, text) = (Value::Null, |text: &str| json!(text));
        let expected = [
            (&text("t.1"), &text("s.2.3")),
            (&text("0af7651916cd43dd8448eb211c80319c"), &text("b7ad6b7169203331")),
            (&text("80f198ee56343ba864fe8b2a57d3eff7"), &text("e457b5a2e4d86bd1")),
            (&null, &null),
        ];
        assert_eq!(ids, expected, "{kind}");
        let attributes = &rows[0]["attributes"];
        assert_eq!(attributes["http.request.header.x-tenant"], "blue");
        assert_eq!(attributes["http.request.header.cookie"], "[redacted]");
        assert_eq!(
            (&attributes["caller.service"], &attributes["url.path"]),
            (&json!("shop"), &json!("/a/7"))
        );
        assert!(!rows[0].to_string().contains("Bearer") && !rows[0].to_string().contains("secret"));
    }
    // The client's header names its service.
    let clients = observed.rows(is("client", port));
    assert_eq!((&clients[0]["service"], &clients[0]["service_instance"]), (&json!("shop"), &json!("shop-1")));
    let servers = observed.rows(is("server", port));
    assert!(servers[0]["service"].as_str().unwrap().starts_with("unknown_service:python"), "{}", servers[0]);
    observed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_open_before_gives_rows() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let mut client = Script::start("client.py", &["127.0.0.1", &port]);
    let request = json!(["GET", "/ok", 0, {}, false]).to_string();
    client.ask(&request);
    let mut observed = observe(&format!("filter: {{ports: [{port}]}}, tcp: {{interval: 1s}}")).await;
    for _ in 0..10 {
        client.ask(&request);
    }
    let port: u64 = port.parse().unwrap();
    assert_eq!(observed.wait(10, is("server", port)).await.len(), 10);
    assert_eq!(observed.wait(10, is("client", port)).await.len(), 10);
    // Their role is known from who listens.
    let open = observed.wait(2, |row| row["metric"] == "tcp.open").await;
    let mut roles: Vec<_> =
        open.iter().take(2).map(|row| row["attributes"]["tcp.role"].as_str().unwrap()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["client", "server"]);
    observed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_filters_leave_out_gives_no_rows() {
    if skipped() {
        return;
    }
    let mut server = Script::start("server.py", &[]);
    let port = server.line();
    let settings = format!(
        "tcp: {{interval: 1s}}, filter: {{ports: [{port}], processes: {{exclude: [\"curl*\"]}}, paths: {{exclude: [\"/o*\"]}}}}"
    );
    let mut observed = observe(&settings).await;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    for path in ["/ok", "/fail", "/ok", "/slow"] {
        let ran = std::process::Command::new("curl").args(["-s", &url(path)]).output().unwrap();
        assert!(ran.status.success() || path == "/fail");
    }
    let port: u64 = port.parse().unwrap();
    let servers = observed.wait(2, is("server", port)).await;
    let operations: Vec<&Value> = servers.iter().map(|row| &row["operation"]).collect();
    assert_eq!(operations, ["GET /fail", "GET /slow"]);
    let all = observed.stop().await;
    let is_curl = |row: &&Value| row["resource"]["process.executable.name"] == "curl";
    assert_eq!(all.iter().find(is_curl), None);
    assert!(all.iter().any(|row| row["metric"] == "tcp.accepted"), "{all:#?}");
}
