//! Every exporter over HTTP with `tls` and `proxy`, against a real HTTPS server.

#[path = "mod.rs"]
mod https;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use https::{Certificates, Seen, https_server, proxy};
use weir_component::factory::ExporterFactory;
use weir_component::testkit::context;
use weir_component::{Exporter, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Ack, EventBatch, Origin, Signal};

/// An exporter to be tried.
pub struct Tried {
    pub factory: ExporterFactory,
    /// The key of its address, and the path of that.
    pub address: (&'static str, &'static str),
    /// A row that it delivers in one request.
    pub signal: Signal,
    pub row: &'static [(&'static str, &'static str)],
    /// The server's answer to a request with this body.
    pub answer: fn(&str) -> &'static str,
    /// Whether the row was in the request with this head.
    pub delivers: fn(&str) -> bool,
}

impl Tried {
    fn exporter(&self, port: u16, more: &str) -> Result<Box<dyn Exporter>, String> {
        let (kind, (key, path)) = (self.factory.info.kind, self.address);
        let text = format!(
            "receivers: {{r: }}\nexporters:\n  {kind}: {{{key}: \"https://localhost:{port}{path}\"{more}}}\n\
             service: {{pipelines: {{main: {{receivers: [r], exporters: [{kind}]}}}}}}\n"
        );
        let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
        let topology = Topology::read(&document).unwrap();
        let context = context(kind, &std::env::temp_dir());
        let built = (self.factory.create)(Settings::new(&document, &topology.exporters[0]), context);
        built.map(|built| built.exporter).map_err(|errors| errors.to_string())
    }

    async fn send(&self, port: u16, more: &str) -> Result<(), String> {
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let row = self.row.iter().map(|(name, value)| (*name, text(value)));
        let columns = RecordBatch::try_from_iter(row).unwrap();
        let batch = EventBatch::columns(self.signal, columns, Origin::default(), Ack::none());
        let exporter = self.exporter(port, more)?;
        exporter.export(&[batch]).await.map_err(|error| error.to_string())
    }

    fn delivered(&self, seen: &Seen) -> usize {
        seen.lock().unwrap().iter().filter(|(head, _)| (self.delivers)(head)).count()
    }

    fn certificates(&self, what: &str) -> Certificates {
        Certificates::make(&format!("{}-{what}", self.factory.info.kind))
    }

    /// A private authority is trusted when it is named, and not before.
    pub async fn trusts_a_private_authority_that_is_named(&self) {
        let certificates = self.certificates("ca");
        let (port, seen) = https_server(&certificates, false, self.answer);
        let ca = certificates.path("ca.pem");
        let refused = self.send(port, "").await.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
        assert!(seen.lock().unwrap().is_empty());
        self.send(port, &format!(", tls: {{ca_file: {ca}}}")).await.unwrap();
        self.send(port, ", tls: {insecure_skip_verify: true}").await.unwrap();
        assert_eq!(self.delivered(&seen), 2);
    }

    /// A server that asks for a client's certificate gets it.
    pub async fn shows_its_certificate(&self) {
        let certificates = self.certificates("client");
        let (port, seen) = https_server(&certificates, true, self.answer);
        let [ca, pem, key] = ["ca.pem", "client.pem", "client.key"].map(|file| certificates.path(file));
        assert!(self.send(port, &format!(", tls: {{ca_file: {ca}}}")).await.is_err());
        let tls = format!(", tls: {{ca_file: {ca}, cert_file: {pem}, key_file: {key}}}");
        self.send(port, &tls).await.unwrap();
        assert_eq!(self.delivered(&seen), 1);
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|(_, name)| name.as_deref() == Some("client")), "{seen:?}");
        let swapped =
            self.exporter(port, &format!(", tls: {{cert_file: {pem}, key_file: {ca}}}")).err().unwrap();
        assert!(swapped.contains("no unencrypted key in PKCS #8"), "{swapped}");
    }

    /// All requests go through the proxy, with its login.
    pub async fn goes_through_the_proxy(&self) {
        let certificates = self.certificates("proxy");
        let (port, seen) = https_server(&certificates, false, self.answer);
        let (proxy_port, tunnels) = proxy();
        let ca = certificates.path("ca.pem");
        let through = |login: &str| {
            format!(", tls: {{ca_file: {ca}}}, proxy: {{url: \"http://127.0.0.1:{proxy_port}\"{login}}}")
        };
        assert!(self.send(port, &through("")).await.is_err(), "the proxy wants a login");
        self.send(port, &through(", username: weir, password: s3cret")).await.unwrap();
        assert_eq!(self.delivered(&seen), 1);
        let tunnels = tunnels.lock().unwrap();
        let begin = format!("CONNECT localhost:{port} ");
        assert!(tunnels.iter().all(|head| head.starts_with(&begin)), "{tunnels:?}");
    }
}
