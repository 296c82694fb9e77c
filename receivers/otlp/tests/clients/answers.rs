//! What clients are told, and when.
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::Code;
use weir_component::LaneMessage;
use weir_pdata::{Format, Payload, Signal};

use crate::support::{BOTH, Finds, LOGS, METRICS, PATIENCE, TRACES, logs, metrics, records, spans, start};

#[tokio::test]
async fn each_signal_comes_as_it_was_sent_and_is_answered_once_it_is_delivered() {
    let receiving = start(BOTH).await;
    let kinds = [
        (TRACES, "/v1/traces", spans(3, 10), Format::OtlpTraces, Signal::Traces),
        (LOGS, "/v1/logs", logs(), Format::OtlpLogs, Signal::Logs),
        (METRICS, "/v1/metrics", metrics(), Format::OtlpMetrics, Signal::Metrics),
    ];
    for (method, path, message, format, signal) in kinds {
        for is_grpc in [true, false] {
            let sending = async {
                if is_grpc {
                    assert_eq!(receiving.grpc(method, message.clone()).await.unwrap(), Bytes::new());
                } else {
                    assert_eq!(receiving.post(path, message.clone()).await, (200, Bytes::new()));
                }
            };
            let mut sending = std::pin::pin!(sending);
            let batch = tokio::select! {
                () = &mut sending => panic!("it was answered before it was delivered"),
                batch = receiving.pipelines.next() => batch,
            };
            let Payload::Encoded(encoded) = &batch.payload else { panic!("it is decoded") };
            assert_eq!((encoded.format, batch.signal), (format, signal));
            assert_eq!(records(&batch), std::slice::from_ref(&message));
            drop(batch);
            tokio::time::timeout(PATIENCE, sending).await.unwrap();
        }
    }
    assert_eq!(receiving.metric("weir_receiver_records_total{receiver=\"otlp\"}"), 6);
    let ok = "weir_receiver_requests_total{receiver=\"otlp\",transport=\"grpc\",outcome=\"ok\"}";
    assert_eq!(receiving.metric(ok), 3);
    receiving.end().await;
}

#[tokio::test]
async fn what_was_not_delivered_may_be_sent_again() {
    let receiving = start(BOTH).await;
    let failing = async {
        for _ in 0..2 {
            receiving.pipelines.next().await.ack.fail();
        }
    };
    let sending = async {
        let status = receiving.grpc(TRACES, spans(1, 1)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(receiving.post("/v1/traces", spans(1, 1)).await.0, 503);
    };
    tokio::join!(failing, sending);
}

#[tokio::test]
async fn an_answer_on_receipt_does_not_wait_for_the_delivery() {
    let receiving = start(&BOTH.replace("lanes: 1", "lanes: 1, answer: received")).await;
    receiving.grpc(TRACES, spans(1, 1)).await.unwrap();
    assert_eq!(receiving.post("/v1/traces", spans(1, 1)).await.0, 200);
    receiving.pipelines.find(&spans(2, 1), Finds::Bad);
    assert_eq!(receiving.post("/v1/traces", spans(2, 1)).await.0, 400);
    let batches = receiving.pipelines.take();
    assert_eq!(batches.len(), 3);
    assert!(!batches[0].ack.is_read_again(), "nobody is told any more");
}

#[tokio::test]
async fn a_bad_request_is_refused_and_its_neighbours_are_not() {
    let receiving = start(BOTH).await;
    receiving.pipelines.find(&spans(2, 1), Finds::Bad);
    receiving.pipelines.find(&spans(3, 1), Finds::BadItems(2));
    receiving.pipelines.shut();
    // The lane is busy with the first, and the others wait for it together.
    let first = receiving.grpc(TRACES, spans(1, 1));
    let opening = async {
        let waiting = "weir_receiver_waiting_bytes{receiver=\"otlp\"}";
        while receiving.metric(waiting) < 4 * 1024 {
            tokio::task::yield_now().await;
        }
        receiving.pipelines.open();
        let mut batches = receiving.pipelines.several(1).await;
        while batches.iter().map(|batch| records(batch).len()).sum::<usize>() < 4 {
            batches.extend(receiving.pipelines.several(1).await);
        }
        batches
    };
    let (first, good, bad, partly, batches) = tokio::join!(
        first,
        receiving.grpc(TRACES, spans(4, 1)),
        receiving.grpc(TRACES, spans(2, 1)),
        receiving.post("/v1/traces", spans(3, 1)),
        async {
            let batches = opening.await;
            let counts: Vec<usize> = batches.iter().map(|batch| records(batch).len()).collect();
            drop(batches);
            counts
        },
    );
    assert!(batches.len() < 4, "small requests are put together: {batches:?}");
    assert!(first.is_ok() && good.is_ok());
    let bad = bad.unwrap_err();
    assert_eq!((bad.code(), bad.message()), (Code::InvalidArgument, "a span is broken"));
    assert_eq!(partly.0, 200);
    let partial = ExportTraceServiceResponse::decode(partly.1).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, &*partial.error_message), (2, "a time is out of range"));
    assert_eq!(receiving.metric("weir_receiver_rejected_records_total{receiver=\"otlp\"}"), 1);
    let items = |outcome: &str, transport: &str| {
        let labels = format!("{{receiver=\"otlp\",transport=\"{transport}\"}}");
        receiving.metric(&format!("otelcol_receiver_{outcome}_spans{labels}"))
    };
    assert_eq!((items("accepted", "grpc"), items("refused", "grpc")), (5, 2));
    assert_eq!((items("accepted", "http"), items("refused", "http")), (1, 2));
    let letters = std::fs::read_to_string(receiving.folder.path().join("otlp.jsonl")).unwrap();
    assert!(letters.contains("a span is broken"), "{letters}");
}

#[tokio::test]
async fn a_lane_that_is_full_refuses_and_says_when_to_come_again() {
    let receiving = start(BOTH).await;
    receiving.pipelines.shut();
    let first = receiving.grpc(TRACES, spans(1, 1));
    let second = async {
        let taken = "weir_receiver_records_total{receiver=\"otlp\"}";
        while receiving.metric(taken) < 1 {
            tokio::task::yield_now().await;
        }
        let refused = receiving.grpc(TRACES, spans(2, 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = String::from_utf8_lossy(refused.details()).into_owned();
        assert!(details.contains("google.rpc.RetryInfo"), "{details}");
        let headers = [("content-type", "application/x-protobuf")];
        let refused = receiving.respond("/v1/traces", spans(2, 1), &headers).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "1");
        let status = refused.bytes().await.unwrap();
        assert!(String::from_utf8_lossy(&status).contains("google.rpc.RetryInfo"));
        receiving.pipelines.open();
        drop(receiving.pipelines.next().await);
    };
    let (first, ()) = tokio::join!(first, second);
    first.unwrap();
    // What was refused did not come all the same.
    let third = receiving.grpc(TRACES, spans(3, 1));
    let (third, batch) = tokio::join!(third, async { records(&receiving.pipelines.next().await) });
    third.unwrap();
    assert_eq!(batch, [spans(3, 1)]);
}

#[tokio::test]
async fn the_room_for_requests_is_bounded() {
    let settings = BOTH.replace("lanes: 1", "lanes: 1, queue: {max_bytes: 1MiB}");
    let settings = settings
        .replace("{GRPC}'", "{GRPC}', max_recv_msg_size_mib: 1")
        .replace("{HTTP}'", "{HTTP}', max_request_body_size: 1MiB");
    let receiving = start(&settings).await;
    receiving.pipelines.shut();
    let sent = |at: usize| receiving.grpc(TRACES, spans(1, 600_000 + at));
    let (one, two) = tokio::join!(sent(0), async {
        let taken = "weir_receiver_records_total{receiver=\"otlp\"}";
        while receiving.metric(taken) < 1 {
            tokio::task::yield_now().await;
        }
        let refused = sent(1).await;
        receiving.pipelines.open();
        drop(receiving.pipelines.next().await);
        refused
    });
    one.unwrap();
    assert_eq!(two.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(receiving.metric("weir_receiver_waiting_bytes{receiver=\"otlp\"}"), 0);
}

#[tokio::test]
async fn compressed_requests_wait_for_room_as_others_do() {
    let settings =
        BOTH.replace("lanes: 1, max_wait: 300ms", "lanes: 1, max_wait: 20s, queue: {max_bytes: 1MiB}");
    let settings = settings
        .replace("{GRPC}'", "{GRPC}', max_recv_msg_size_mib: 1")
        .replace("{HTTP}'", "{HTTP}', max_request_body_size: 1MiB");
    let receiving = start(&settings).await;
    receiving.pipelines.shut();
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    let packed = |at: usize| zstd::encode_all(&*spans(1, 600_000 + at), 3).unwrap();
    let post = async |at: usize| receiving.post_with("/v1/traces", packed(at), &headers).await.0;
    let first = receiving.grpc(TRACES, spans(1, 600_000));
    let opened = async {
        let taken = "weir_receiver_records_total{receiver=\"otlp\"}";
        while receiving.metric(taken) < 1 {
            tokio::task::yield_now().await;
        }
        let opening = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            receiving.pipelines.open();
        };
        let (one, two, three, ()) = tokio::join!(post(1), post(2), post(3), opening);
        [one, two, three]
    };
    let acknowledging = receiving.pipelines.acknowledge();
    let (first, later) = tokio::join!(first, opened);
    first.unwrap();
    assert_eq!(later, [200; 3]);
    assert_eq!(receiving.metric("weir_receiver_waiting_bytes{receiver=\"otlp\"}"), 0);
    acknowledging.abort();
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_back() {
    let receiving = start(&BOTH.replace("max_wait: 300ms", "max_wait: 30s")).await;
    receiving.pipelines.shut();
    let first = tokio::time::timeout(Duration::from_millis(300), receiving.grpc(TRACES, spans(1, 1)));
    assert!(first.await.is_err(), "the lane has it and waits");
    let second = tokio::time::timeout(Duration::from_millis(300), receiving.post("/v1/traces", spans(2, 1)));
    assert!(second.await.is_err());
    let gone = "weir_receiver_unanswered_requests_total{receiver=\"otlp\",transport=\"http\"}";
    while receiving.metric(gone) < 1 {
        tokio::task::yield_now().await;
    }
    receiving.pipelines.open();
    let third = receiving.grpc(TRACES, spans(3, 1));
    let (third, batches) = tokio::join!(third, async {
        let batches = receiving.pipelines.several(2).await;
        batches.iter().flat_map(records).collect::<Vec<_>>()
    });
    third.unwrap();
    assert_eq!(batches, [spans(1, 1), spans(3, 1)]);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_not_the_delivery() {
    let receiving = start(BOTH).await;
    let deadline = |request: &mut tonic::Request<Bytes>| {
        request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    };
    let status = receiving.grpc_with(TRACES, spans(1, 1), deadline, None).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert_eq!(records(&receiving.pipelines.next().await), [spans(1, 1)]);
    let slow = start(&BOTH.replace("lanes: 1", "lanes: 1, answer_timeout: 200ms")).await;
    let (status, body) = slow.post("/v1/traces", spans(1, 1)).await;
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&body).contains("may come twice"));
}

#[tokio::test]
async fn a_request_that_is_complete_is_answered_though_the_program_ends() {
    let receiving = start(BOTH).await;
    let (stop, pipelines) = (receiving.stop.clone(), receiving.pipelines.clone());
    let sending = async { (receiving.grpc(TRACES, spans(1, 1)).await, receiving) };
    let ending = async {
        let batch = pipelines.next().await;
        stop.cancel();
        // It is not answered, and the lane not drained, before the batch is delivered.
        let drained = |lanes: &[Vec<LaneMessage>]| {
            lanes.iter().flatten().any(|message| matches!(message, LaneMessage::Drain))
        };
        let early = tokio::time::timeout(Duration::from_millis(300), pipelines.until(drained)).await;
        assert!(early.is_err(), "the lane ended before its requests were answered");
        drop(batch);
        pipelines.until(drained).await;
    };
    let ((answered, receiving), ()) = tokio::join!(sending, ending);
    answered.unwrap();
    tokio::time::timeout(PATIENCE, receiving.running).await.unwrap().unwrap().unwrap();
    let refused = tokio::net::TcpStream::connect(("127.0.0.1", receiving.grpc)).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn lanes_say_that_they_are_idle() {
    let receiving = start(&BOTH.replace("lanes: 1", "lanes: 3")).await;
    receiving
        .pipelines
        .until(|lanes| {
            lanes.len() == 3
                && lanes.iter().all(|lane| {
                    lane.iter()
                        .any(|message| matches!(message, LaneMessage::Idle(idle) if idle.as_secs() >= 2))
                })
        })
        .await;
    receiving.end().await;
}

#[tokio::test]
async fn a_large_request_is_a_batch_of_its_own_and_requests_go_round_the_lanes() {
    let receiving = start(&BOTH.replace("lanes: 1", "lanes: 2")).await;
    let acknowledging = receiving.pipelines.acknowledge();
    receiving.grpc(TRACES, spans(1, 1)).await.unwrap();
    receiving.grpc(TRACES, spans(1, 1 << 20)).await.unwrap();
    acknowledging.abort();
    let (one, two) = (receiving.grpc(TRACES, spans(1, 1)), receiving.grpc(TRACES, spans(2, 1)));
    let both = async {
        receiving
            .pipelines
            .until(|lanes| {
                lanes.iter().all(|lane| lane.iter().any(|message| matches!(message, LaneMessage::Batch(_))))
            })
            .await;
        drop(receiving.pipelines.take());
    };
    let (one, two, ()) = tokio::join!(one, two, both);
    assert!(one.is_ok() && two.is_ok());
}

#[tokio::test]
async fn a_request_without_items_is_answered_at_once() {
    let receiving = start(BOTH).await;
    receiving.grpc(TRACES, Vec::new()).await.unwrap();
    assert_eq!(receiving.post("/v1/logs", Vec::new()).await.0, 200);
    assert_eq!(receiving.pipelines.take().len(), 0);
}

#[tokio::test]
async fn a_request_in_json_is_the_same_as_one_in_protobuf() {
    let receiving = start(BOTH).await;
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a","kind":2,
         "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","unknown":[{}]}]}]}]}"#;
    let kind = [("content-type", "application/json; charset=utf-8")];
    let sending = receiving.respond("/v1/traces", json.as_bytes().to_vec(), &kind);
    let (response, batch) = tokio::join!(sending, async { records(&receiving.pipelines.next().await) });
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), r#"{"partialSuccess":{}}"#);
    let request = ExportTraceServiceRequest::decode(&*batch[0]).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((&*span.name, span.kind, span.start_time_unix_nano), ("a", 2, 1_544_712_660_000_000_000));
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    let deep = "[".repeat(100_000);
    for bad in [
        "",
        "{",
        "[]",
        "{\"resourceSpans\":1}",
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"xy\"}]}]}]}",
        &deep,
    ] {
        let (status, body) = receiving.post_with("/v1/traces", bad.as_bytes().to_vec(), &kind).await;
        assert_eq!(status, 400, "{bad:.60}");
        assert!(String::from_utf8_lossy(&body).contains("\"code\":3"));
    }
}
