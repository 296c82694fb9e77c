//! Private authorities, client certificates and proxies, against a real HTTPS server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../http/tests/support/exporter.rs"]
mod support;

use support::Tried;
use weir_exporter_clickhouse::FACTORY;
use weir_pdata::Signal;

/// Every table has one column, and remembers inserts.
fn answer(body: &str) -> &'static str {
    match body {
        _ if body.contains("DESCRIBE") => "{\"name\":\"service\",\"type\":\"String\"}\n",
        _ if body.contains("version()") => "{\"version\":\"26.9.1.1\",\"settings\":[]}\n",
        _ => "",
    }
}

const CLICKHOUSE: Tried = Tried {
    factory: FACTORY,
    address: ("endpoint", ""),
    signal: Signal::Traces,
    row: &[("service", "pay")],
    answer,
    delivers: |head| head.contains("INSERT"),
};

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_not_before() {
    CLICKHOUSE.trusts_a_private_authority_that_is_named().await;
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    CLICKHOUSE.shows_its_certificate().await;
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    CLICKHOUSE.goes_through_the_proxy().await;
}
