//! The real SkyWalking Java agent 9.4.0 over gRPC, on a small shop, with a plug-in of ours: every span comes
//! out once with its fields, and the agent does not complain. It does not trace while it knows that it has no
//! connection, and what it makes before that may be lost in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::{Weir, free_port, wait_until};

#[path = "../../http/tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests of exporters use the rest")]
mod certificates;

use certificates::Certificates;

const TIMEOUT: Duration = Duration::from_secs(90);
/// Orders while Weir is not there, and while it is.
const EARLY: usize = 2;
const ORDERS: usize = 20;
/// The folder that `scripts/setup test` makes.
fn agent() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weir");
    let cache = std::env::var_os("WEIR_CACHE").map_or_else(home, PathBuf::from);
    let agent = cache.join("java-agent-9.4.0");
    assert!(agent.is_dir(), "there is no {}: run scripts/setup test", agent.display());
    agent.canonicalize().unwrap()
}

/// The shop, with the agent in it.
struct Shop {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Shop {
    /// `more`: keys of the agent beside those that every test has.
    fn start(backend: u16, folder: &Path, more: &[(&str, String)]) -> Shop {
        let agent = agent();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "java", "-Xmx256m", "-XX:+UseSerialGC"]);
        command.arg(format!("-javaagent:{}", agent.join("skywalking-agent.jar").display()));
        for (key, value) in [
            ("agent.service_name", "java::shop"),
            ("agent.instance_name", "shop-1"),
            ("agent.authentication", "s3cret"),
            ("collector.backend_service", &format!("127.0.0.1:{backend}")),
            ("collector.grpc_channel_check_interval", "1"),
            ("collector.heartbeat_period", "1"),
            ("logging.level", "DEBUG"),
            ("logging.dir", &folder.display().to_string()),
            ("logging.file_name", "agent.log"),
        ] {
            command.arg(format!("-Dskywalking.{key}={value}"));
        }
        for (key, value) in more {
            command.arg(format!("-Dskywalking.{key}={value}"));
        }
        command.arg("-cp").arg(agent.join("shop")).arg("Shop");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("java cannot be started");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The agent greets, too.
        let port = lines.find_map(|line| line.unwrap().trim().parse().ok()).expect("the shop ended");
        // Nobody would empty its pipe otherwise.
        std::thread::spawn(move || lines.for_each(drop));
        Shop { child, port, log: folder.join("agent.log") }
    }

    async fn order(&self, number: usize) {
        let url = format!("http://127.0.0.1:{}/order/{number}", self.port);
        assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    }

    /// The lines of its log, from this one on.
    fn said(&self, first: usize) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().skip(first).map(str::to_owned).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A gateway that takes what agents with the token send; `keys`: more of `protocols.grpc`.
fn gateway(grpc: u16, http: u16, keys: &str, file: &Path) -> Weir {
    let config = format!(
        "receivers:
  skywalking:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'{keys}}}
      http: {{endpoint: '127.0.0.1:{http}'}}
    authentication: s3cret
exporters:
  file: {{path: '{}'}}
service:
  telemetry: {{metrics: {{address: ''}}}}
  pipelines:
    main: {{receivers: [skywalking], exporters: [file]}}
",
        file.display()
    );
    Weir::start(&config, &[], &[]).unwrap()
}

/// The agent's channel is up: something has come.
async fn connected(file: &Path) {
    let look = async || Ok((!rows(file).is_empty()).then_some(()));
    wait_until("the agent to connect", TIMEOUT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_span_of_a_java_agent_comes_out_once_from_when_its_channel_is_up() {
    let (grpc, http, folder) = (free_port().unwrap(), free_port().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("rows.jsonl");
    let shop = Shop::start(grpc, folder.path(), &[]);
    for number in 0..EARLY {
        shop.order(number).await;
    }
    let weir = gateway(grpc, http, "", &file);
    connected(&file).await;
    let connected_at = shop.said(0).len();
    for number in EARLY..EARLY + ORDERS {
        shop.order(number).await;
    }
    let spans = || rows(&file).into_iter().filter(|row| row["signal"] == "traces").collect::<Vec<_>>();
    let of = |span: &Value| {
        span["operation"].as_str().unwrap().rsplit('/').next().unwrap().parse::<usize>().unwrap()
    };
    let late = || spans().iter().filter(|span| of(span) >= EARLY).count();
    let all = async || Ok((late() >= 3 * ORDERS).then_some(()));
    wait_until("every span", TIMEOUT, all).await.unwrap();
    let complaints: Vec<_> =
        shop.said(connected_at).into_iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(complaints, Vec::<String>::new());
    let port = shop.port;
    drop(shop);
    assert_eq!(weir.terminate(TIMEOUT).await.unwrap().code, Some(0));

    assert_eq!(late(), 3 * ORDERS);
    let spans = spans();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), spans.len(), "each once, also those that the agent kept from before");
    assert!(spans.len() <= 3 * (EARLY + ORDERS));
    for number in EARLY..EARLY + ORDERS {
        let find = |operation: &str, kind: &str| {
            let mut found = spans
                .iter()
                .filter(|span| span["operation"] == format!("/{operation}/{number}") && span["kind"] == kind);
            let first = found.next().unwrap_or_else(|| panic!("no {kind} span of /{operation}/{number}"));
            assert!(found.next().is_none(), "two {kind} spans of /{operation}/{number}");
            first
        };
        let (order, exit, stock) =
            (find("order", "server"), find("stock", "client"), find("stock", "server"));
        for span in [order, exit, stock] {
            assert_eq!(
                (&span["service"], &span["service_instance"]),
                (&json!("java::shop"), &json!("shop-1"))
            );
            assert_eq!((&span["layer"], &span["status"]), (&json!("http"), &json!("ok")));
            assert_eq!(span["trace_id"], order["trace_id"]);
        }
        assert_eq!(
            (&order["component"], &order["attributes"]["http.method"]),
            (&json!("Tomcat"), &json!("GET"))
        );
        assert_eq!(
            (&exit["component"], &exit["peer"]),
            (&json!("HttpClient"), &json!(format!("127.0.0.1:{port}")))
        );
        assert_eq!(exit["parent_span_id"], order["span_id"]);
        let link = &stock["links"][0];
        assert_eq!(
            (&link["span_id"], &link["ref_type"]),
            (&exit["span_id"], &json!("cross_process")),
            "{link}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_java_agent_sends_over_tls_with_a_certificate_of_its_own() {
    let (grpc, http, folder) = (free_port().unwrap(), free_port().unwrap(), tempfile::tempdir().unwrap());
    let certificates = Certificates::make("java-agent");
    let path = |file| certificates.path(file);
    let keys = format!(
        ", tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let file = folder.path().join("rows.jsonl");
    let weir = gateway(grpc, http, &keys, &file);
    // The agent looks for its files from its own folder, whatever they begin with.
    let up = "/..".repeat(agent().components().count() - 1);
    let from_agent = |file| format!("{up}{}", certificates.path(file));
    let keys = [
        ("agent.force_tls", "true".to_owned()),
        ("agent.ssl_trusted_ca_path", from_agent("ca.pem")),
        ("agent.ssl_cert_chain_path", from_agent("client.pem")),
        ("agent.ssl_key_path", from_agent("client.key")),
    ];
    let shop = Shop::start(grpc, folder.path(), &keys);
    connected(&file).await;
    for number in 0..5 {
        shop.order(number).await;
    }
    let spans = || rows(&file).into_iter().filter(|row| row["signal"] == "traces").count();
    let all = async || Ok((spans() >= 15).then_some(()));
    wait_until("every span", TIMEOUT, all).await.unwrap();
    drop(shop);
    assert_eq!(weir.terminate(TIMEOUT).await.unwrap().code, Some(0));
    assert_eq!(spans(), 15);
}
