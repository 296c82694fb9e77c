//! Private authorities, client certificates and proxies, against a real HTTPS server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../http/tests/support/exporter.rs"]
mod support;

use support::Tried;
use weir_exporter_otlp::FACTORY;
use weir_pdata::Signal;

const OTLP: Tried = Tried {
    factory: FACTORY,
    // The key behind it: the server of these tests speaks HTTP/1.
    address: ("protocol: http/protobuf, endpoint", ""),
    signal: Signal::Traces,
    row: &[("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("service", "pay")],
    answer: |_| "",
    delivers: |head| head.starts_with("POST /v1/traces "),
};

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_not_before() {
    OTLP.trusts_a_private_authority_that_is_named().await;
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    OTLP.shows_its_certificate().await;
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    OTLP.goes_through_the_proxy().await;
}
