//! The contract that the Collector asks of its receivers: whatever the destination answers, an item whose
//! client was told success is delivered once, or is a dead letter where the destination refused it for good.
//! Clients send again what was not taken, as their protocols say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_tests::{Weir, free_port};

const PATIENCE: Duration = Duration::from_secs(90);
const REQUESTS: usize = 60;
const CLIENTS: usize = 6;

/// What the destination answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Ok,
    Transient,
    Permanent,
    Mixed,
}

/// Which receiver the clients send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Otlp,
    SkyWalking,
}

/// Items that the destination refuses for good in [`Behind::Mixed`].
fn is_bad(number: usize, span: usize) -> bool {
    span == 1 && number.is_multiple_of(5)
}

/// A destination: the bodies that it took.
struct Destination {
    behind: Behind,
    /// Decides about transient errors; splitmix64.
    random: Mutex<u64>,
    taken: Mutex<Vec<String>>,
}

impl Destination {
    async fn start(behind: Behind, seed: u64) -> (Arc<Destination>, String) {
        let destination = Arc::new(Destination { behind, random: Mutex::new(seed), taken: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&destination));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (destination, address)
    }

    fn random(&self) -> u64 {
        let mut state = self.random.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

async fn answer(State(destination): State<Arc<Destination>>, body: String) -> StatusCode {
    let is_transient = matches!(destination.behind, Behind::Transient | Behind::Mixed);
    let random = destination.random();
    if is_transient && random % 5 < 2 {
        return [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]
            [usize::from(random % 2 == 0)];
    }
    let named = |(number, span)| body.contains(&format!("item-{number}-{span}-"));
    let mut bad =
        (0..REQUESTS).flat_map(|number| [(number, 0), (number, 1)]).filter(|item| is_bad(item.0, item.1));
    let is_refused = match destination.behind {
        Behind::Ok | Behind::Transient => false,
        Behind::Permanent => true,
        Behind::Mixed => bad.any(named),
    };
    if is_refused {
        return StatusCode::BAD_REQUEST;
    }
    destination.taken.lock().unwrap().push(body);
    StatusCode::OK
}

/// A request with two spans that have names of their own.
fn request(front: Front, number: usize) -> (&'static str, Value) {
    let name = |span: usize| format!("item-{number}-{span}-");
    match front {
        Front::Otlp => {
            let span = |at: usize| json!({"traceId": format!("{:032x}", number + 1), "spanId": format!("{:016x}", at + 1), "name": name(at)});
            ("/v1/traces", json!({"resourceSpans": [{"scopeSpans": [{"spans": [span(0), span(1)]}]}]}))
        }
        Front::SkyWalking => {
            let span = |at: usize| {
                json!({"spanId": at, "parentSpanId": i64::try_from(at).unwrap() - 1, "operationName": name(at),
                    "startTime": 1_700_000_000_000_u64, "endTime": 1_700_000_000_001_u64, "spanType": "Entry"})
            };
            let segment = json!({"traceId": format!("t{number}"), "traceSegmentId": format!("s{number}"),
                "service": "contract", "spans": [span(0), span(1)]});
            ("/v3/segments", json!([segment]))
        }
    }
}

/// Sends a request until it is taken. A client of the protocol gives up at any other answer.
async fn send(client: &reqwest::Client, port: u16, front: Front, number: usize) {
    let (path, body) = request(front, number);
    loop {
        let request = client.post(format!("http://127.0.0.1:{port}{path}"));
        let answer =
            request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        match answer.status().as_u16() {
            200 => return,
            429 | 502..=504 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("request {number}: {other}: {}", answer.text().await.unwrap()),
        }
    }
}

/// How often each item is named in these texts.
fn items<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for text in texts {
        for part in text.split("item-").skip(1) {
            let mut numbers = part.split('-');
            let (number, span) = (numbers.next().unwrap(), numbers.next().unwrap());
            *found.entry(format!("{number}-{span}")).or_default() += 1;
        }
    }
    found
}

async fn holds(front: Front, behind: Behind) {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = u64::try_from(since_1970.as_nanos()).unwrap();
    let (destination, address) = Destination::start(behind, seed).await;
    let (port, other) = (free_port().unwrap(), free_port().unwrap());
    let receiver = match front {
        Front::Otlp => format!(
            "otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}, grpc: {{endpoint: '127.0.0.1:{other}'}}}}, lanes: 2}}"
        ),
        Front::SkyWalking => format!(
            "skywalking: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}, grpc: {{endpoint: '127.0.0.1:{other}'}}}}, lanes: 2}}"
        ),
    };
    let kind = receiver.split(':').next().unwrap().to_owned();
    let config = format!(
        "receivers: {{{receiver}}}
exporters:
  otlp/behind:
    endpoint: {address}
    protocol: http/json
    compression: none
    batch: {{timeout: 20ms}}
    retry: {{initial_interval: 5ms, max_interval: 20ms}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines: {{main: {{receivers: [{kind}], exporters: [otlp/behind]}}}}
"
    );
    let mut weir = Weir::start(&config, &[], &[]).unwrap();
    weir.wait_for_log("listening", PATIENCE).await.unwrap();
    let listening = async { while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, listening).await.unwrap();
    let client = reqwest::Client::new();
    let all = (0..CLIENTS).map(|first| {
        let client = client.clone();
        tokio::spawn(async move {
            for number in (first..REQUESTS).step_by(CLIENTS) {
                send(&client, port, front, number).await;
            }
        })
    });
    for sender in all.collect::<Vec<_>>() {
        tokio::time::timeout(PATIENCE, sender).await.expect("the requests were not answered").unwrap();
    }
    // From here on every item has been told to be safe, so that a crash may not lose it.
    let folder = weir.folder();
    weir.kill().unwrap();
    let delivered = items(destination.taken.lock().unwrap().iter().map(String::as_str));
    let letters = std::fs::read_dir(folder.path().join("dead-letter")).into_iter().flatten();
    let letters: Vec<String> =
        letters.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let refused = items(letters.iter().map(String::as_str));
    for number in 0..REQUESTS {
        for span in 0..2 {
            let item = format!("{number}-{span}");
            let times = |of: &BTreeMap<String, usize>| of.get(&item).copied().unwrap_or(0);
            let counts = (times(&delivered), times(&refused));
            let is_right = match behind {
                Behind::Ok | Behind::Transient => counts == (1, 0),
                Behind::Permanent => counts == (0, 1),
                Behind::Mixed => counts == if is_bad(number, span) { (0, 1) } else { (1, 0) },
            };
            assert!(
                is_right,
                "{front:?}, {behind:?}, seed {seed}: {item} was delivered and refused {counts:?} times"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn otlp_loses_nothing_whatever_the_destination_answers() {
    for behind in [Behind::Ok, Behind::Transient, Behind::Permanent, Behind::Mixed] {
        holds(Front::Otlp, behind).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skywalking_loses_nothing_whatever_the_destination_answers() {
    for behind in [Behind::Ok, Behind::Transient, Behind::Permanent, Behind::Mixed] {
        holds(Front::SkyWalking, behind).await;
    }
}
