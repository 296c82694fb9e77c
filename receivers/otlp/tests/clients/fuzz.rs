//! Any bytes at every endpoint: each is answered, with a status that the README names.
use weir_pdata::{Format, otlp};

use crate::support::{BOTH, logs, metrics, spans, start};

#[test]
fn fuzz_otlp_endpoints() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let receiving = runtime.block_on(start(BOTH));
    let acknowledging = {
        let _inside = runtime.enter();
        receiving.pipelines.acknowledge()
    };
    let requests =
        [(Format::OtlpTraces, spans(2, 5)), (Format::OtlpLogs, logs()), (Format::OtlpMetrics, metrics())];
    // The first byte says where it goes, and how.
    let mut seeds = Vec::new();
    for (number, (format, request)) in (0..).zip(requests) {
        let mut json = Vec::new();
        otlp::to_json(format, &request, &mut json).unwrap();
        let packed = zstd::encode_all(&*request, 3).unwrap();
        seeds.extend([(number, request), (number | 4, json), (number | 8, packed)].map(
            |(first, mut rest)| {
                rest.insert(0, first);
                rest
            },
        ));
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    weir_fuzz::fuzz("otlp_endpoints", &seeds, &["{\"a\":", "[[[[", "null"], |bytes| {
        let (first, rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
        let path = ["/v1/traces", "/v1/logs", "/v1/metrics", "/v1/other"][usize::from(first & 3)];
        let kind = if first & 4 == 0 { "application/x-protobuf" } else { "application/json" };
        let encoding = ["identity", "zstd", "gzip", "br"][usize::from(first >> 3 & 3)];
        let posting = client.post(receiving.url(path)).header("content-type", kind);
        let posting = posting.header("content-encoding", encoding).body(rest.to_vec());
        let status = runtime.block_on(async { posting.send().await.unwrap().status().as_u16() });
        assert!([200, 400, 404, 413, 415].contains(&status), "{path} {kind} {encoding}: {status}");
    });
    assert_eq!(receiving.metric("weir_receiver_waiting_bytes{receiver=\"otlp\"}"), 0);
    acknowledging.abort();
    runtime.block_on(receiving.end());
}
