//! Private authorities, client certificates and proxies, against a real HTTPS server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../http/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use support::{Certificates, https_server, proxy};
use weir_component::testkit::context;
use weir_component::{Exporter, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, EventBatch, Origin, Signal};

fn exporter(url: &str, more: &str) -> Result<Box<dyn Exporter>, String> {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  webhook: {{url: \"{url}\"{more}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = context("webhook", &std::env::temp_dir());
    let built = (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context);
    built.map(|built| built.exporter).map_err(|errors| errors.to_string())
}

async fn send(exporter: &dyn Exporter) -> Result<(), String> {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let columns =
        RecordBatch::try_from_iter([("fingerprint", text("f")), ("state", text("firing"))]).unwrap();
    let alarm = EventBatch::columns(Signal::Alarms, columns, Origin::default(), Ack::none());
    exporter.export(&[alarm]).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_not_before() {
    let certificates = Certificates::make("webhook-ca");
    let (port, seen) = https_server(&certificates, false, |_| "");
    let url = format!("https://localhost:{port}/hook");
    let ca = certificates.path("ca.pem");
    let refused = send(&*exporter(&url, "").unwrap()).await.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
    assert!(seen.lock().unwrap().is_empty());
    send(&*exporter(&url, &format!(", tls: {{ca_file: {ca}}}")).unwrap()).await.unwrap();
    send(&*exporter(&url, ", tls: {insecure_skip_verify: true}").unwrap()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let certificates = Certificates::make("webhook-client");
    let (port, seen) = https_server(&certificates, true, |_| "");
    let url = format!("https://localhost:{port}/hook");
    let [ca, pem, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
    assert!(send(&*exporter(&url, &format!(", tls: {{ca_file: {ca}}}")).unwrap()).await.is_err());
    let tls = format!(", tls: {{ca_file: {ca}, cert_file: {pem}, key_file: {key}}}");
    send(&*exporter(&url, &tls).unwrap()).await.unwrap();
    let names: Vec<_> = seen.lock().unwrap().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, [Some("client".to_owned())]);
    let swapped = exporter(&url, &format!(", tls: {{cert_file: {pem}, key_file: {ca}}}")).err().unwrap();
    assert!(swapped.contains("no unencrypted key in PKCS #8"), "{swapped}");
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    let certificates = Certificates::make("webhook-proxy");
    let (port, seen) = https_server(&certificates, false, |_| "");
    let (proxy_port, tunnels) = proxy();
    let (url, ca) = (format!("https://localhost:{port}/hook"), certificates.path("ca.pem"));
    let proxy = |login: &str| {
        format!(", tls: {{ca_file: {ca}}}, proxy: {{url: \"http://127.0.0.1:{proxy_port}\"{login}}}")
    };
    assert!(send(&*exporter(&url, &proxy("")).unwrap()).await.is_err(), "the proxy wants a login");
    send(&*exporter(&url, &proxy(", username: weir, password: s3cret")).unwrap()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
    let tunnels = tunnels.lock().unwrap();
    assert!(
        tunnels.iter().all(|head| head.starts_with(&format!("CONNECT localhost:{port} "))),
        "{tunnels:?}"
    );
}
