//! Alarms to a small HTTP server, through the helper in front of the exporter.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use support::{Seen, Target, alarms, status};
use weir_component::testkit::check_exporter_contract;
use weir_pdata::Signal;

#[tokio::test]
async fn the_contract_of_exporters_is_kept() {
    let target = Target::start().await;
    check_exporter_contract(target.exporter("").exporter, vec![alarms(&["a", "b"]), alarms(&["c"])]).await;
    let sent: usize = target.seen().iter().map(|seen| seen.fingerprints().len()).sum();
    assert_eq!(sent, 3);
}

#[tokio::test]
async fn a_request_has_this_body_and_these_headers() {
    let target = Target::start().await;
    target.deliver("headers: {authorization: Bearer s3cret, X-Team: sre}", vec![alarms(&["f1"])]).await;
    let seen = &target.seen()[0];
    assert_eq!(seen.path, "/hook?token=t0p");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("authorization"), "Bearer s3cret");
    assert_eq!(seen.header("x-team"), "sre");
    assert_eq!(seen.header("webhook-timestamp"), "0", "the clock of the test stands at 0");
    insta::assert_snapshot!(
        format!("{}\n{}", seen.header("webhook-id"), String::from_utf8_lossy(&seen.body)),
        @r#"
    msg_fdac3915ad63ff81f5f9c73d5fb6900b
    {"alarms":[{"signal":"alarms","time":1749088712000,"rule":"slow","severity":"high","state":"firing","service":"pay","operation":"/pay","labels":{"zone":"eu"},"measure":"max_duration_ns","value":2500000000.0,"message":"pay is \"slow\"\nsince 7 s – 超时","fingerprint":"f1"}]}
    "#
    );
}

#[tokio::test]
async fn a_failed_request_is_repeated_with_the_same_id_and_body() {
    let target = Target::start().await;
    for code in [500, 302, 408, 425, 429] {
        target.then(status(code));
    }
    let dead = target.deliver("", vec![alarms(&["a"])]).await;
    let seen = target.seen();
    assert_eq!((seen.len(), dead.as_str()), (6, ""));
    assert!(seen.iter().all(|seen| seen.body == target.seen()[0].body));
    assert!(seen.iter().all(|seen| seen.header("webhook-id") == target.seen()[0].header("webhook-id")));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (target, elsewhere) = (Target::start().await, Target::start().await);
    let location = elsewhere.url.clone();
    target.then(move |_| (StatusCode::PERMANENT_REDIRECT, [("location", location.clone())]).into_response());
    target.deliver("", vec![alarms(&["a"])]).await;
    assert_eq!((target.seen().len(), elsewhere.seen().len()), (2, 0));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let target = Target::start().await;
    target.then(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response());
    target.deliver("", vec![alarms(&["a"])]).await;
    let seen = target.seen();
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
}

#[tokio::test]
async fn a_rejected_alarm_is_dead_lettered_and_the_others_are_delivered() {
    let target = Target::start().await;
    for _ in 0..20 {
        target.then(|seen| {
            let bad = seen.fingerprints().iter().any(|fingerprint| fingerprint == "bad");
            if bad {
                (StatusCode::BAD_REQUEST, "no such team").into_response()
            } else {
                StatusCode::OK.into_response()
            }
        });
    }
    let dead = target.deliver("", vec![alarms(&["a", "b", "bad", "c"])]).await;
    let letter: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!(letter["reason"], json!("the webhook answered 400 Bad Request: no such team"));
    let row: Value = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
    assert_eq!(row["fingerprint"], json!("bad"));
    let accepted: Vec<_> = target
        .seen()
        .iter()
        .map(Seen::fingerprints)
        .filter(|all| !all.contains(&"bad".to_owned()))
        .flatten()
        .collect();
    assert_eq!(accepted, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_request_holds_at_most_max_rows_alarms_in_order() {
    let target = Target::start().await;
    let dead = target
        .deliver("batch: {max_rows: 2}", vec![alarms(&["a", "b", "c", "d", "e"]), alarms(&["f"])])
        .await;
    let seen: Vec<_> = target.seen().iter().map(Seen::fingerprints).collect();
    assert!(seen.iter().all(|alarms| alarms.len() <= 2), "{seen:?}");
    assert_eq!(seen.concat(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(dead, "");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_tried_again_and_its_address_not_told() {
    let target = Target {
        url: "http://127.0.0.1:1/hook?token=t0p".into(),
        seen: Arc::default(),
        answers: Arc::default(),
    };
    let error = target.exporter("").exporter.export(&[alarms(&["a"])]).await.unwrap_err();
    assert!(matches!(error, weir_component::ExportError::Retryable { .. }));
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!error.to_string().contains("t0p"), "{error}");
}

#[tokio::test]
async fn other_signals_do_not_reach_it() {
    let target = Target::start().await;
    let signals = target.exporter("").exporter.signals();
    assert!(Signal::ALL.into_iter().all(|signal| signals.contains(signal) == (signal == Signal::Alarms)));
}
