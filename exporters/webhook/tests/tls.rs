//! Private authorities, client certificates and proxies, against a real HTTPS server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../http/tests/support/exporter.rs"]
mod support;

use support::Tried;
use weir_exporter_webhook::FACTORY;
use weir_pdata::Signal;

const WEBHOOK: Tried = Tried {
    factory: FACTORY,
    address: ("url", "/hook"),
    signal: Signal::Alarms,
    row: &[("fingerprint", "f"), ("state", "firing")],
    answer: |_| "",
    delivers: |_| true,
};

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_not_before() {
    WEBHOOK.trusts_a_private_authority_that_is_named().await;
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    WEBHOOK.shows_its_certificate().await;
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    WEBHOOK.goes_through_the_proxy().await;
}
