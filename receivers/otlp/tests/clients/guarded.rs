//! Encryption, who may send, and browsers.
use crate::certificates::Certificates;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use std::pin::Pin;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{BOTH, TRACES, call, spans, start};

/// A gRPC client that trusts the authority, with or without a certificate of its own.
async fn encrypted(certificates: &Certificates, port: u16, known: bool) -> Result<Channel, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_ca_file(certificates.path("ca.pem")).unwrap();
    connector.set_alpn_protos(b"\x02h2").unwrap();
    if known {
        connector.set_certificate_file(certificates.path("client.pem"), SslFiletype::PEM).unwrap();
        connector.set_private_key_file(certificates.path("client.key"), SslFiletype::PEM).unwrap();
    }
    let connector = connector.build();
    let connecting = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let ssl = connector.configure().unwrap().into_ssl("localhost").unwrap();
            let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
            Pin::new(&mut stream).connect().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Channel::from_static("http://localhost");
    endpoint.connect_with_connector(connecting).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn connections_are_encrypted_and_only_known_clients_may_connect() {
    let certificates = Certificates::make("otlp-receiver");
    let tls = format!(
        "tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        certificates.path("server.pem"),
        certificates.path("server.key"),
        certificates.path("ca.pem")
    );
    let settings = BOTH.replace("{GRPC}'", &format!("{{GRPC}}', {tls}"));
    let settings = settings.replace("{HTTP}'", &format!("{{HTTP}}', {tls}"));
    let receiving = start(&settings).await;
    let acknowledging = receiving.pipelines.acknowledge();
    let known = encrypted(&certificates, receiving.grpc, true).await.unwrap();
    call(known, TRACES, spans(1, 1), |_| {}, None).await.unwrap();
    let answered = match encrypted(&certificates, receiving.grpc, false).await {
        Ok(unknown) => call(unknown, TRACES, spans(1, 1), |_| {}, None).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered, "a client without a certificate was answered");
    let client = |known: bool| {
        let read = |file| std::fs::read(certificates.path(file)).unwrap();
        let client = reqwest::Client::builder().no_proxy();
        let client = client.tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()]);
        let identity = reqwest::Identity::from_pkcs8_pem(&read("client.pem"), &read("client.key")).unwrap();
        if known { client.identity(identity).build().unwrap() } else { client.build().unwrap() }
    };
    let url = format!("https://127.0.0.1:{}/v1/traces", receiving.http);
    let post = |known| {
        client(known).post(&url).header("content-type", "application/x-protobuf").body(spans(1, 1)).send()
    };
    assert_eq!(post(true).await.unwrap().status(), 200);
    assert!(post(false).await.is_err());
    assert!(reqwest::get(receiving.url("/v1/traces")).await.is_err(), "it is not encrypted");
    acknowledging.abort();
}

#[tokio::test]
async fn only_who_knows_the_token_may_send() {
    let bearer = "auth: {bearer: {token: s3cret}}";
    let basic = "auth: {basic: {username: Aladdin, password: open sesame}}";
    let settings = BOTH.replace("{GRPC}'", &format!("{{GRPC}}', {bearer}"));
    let settings = settings.replace("{HTTP}'", &format!("{{HTTP}}', {basic}"));
    let receiving = start(&settings).await;
    let acknowledging = receiving.pipelines.acknowledge();
    for (given, code) in [(None, Code::Unauthenticated), (Some("Bearer wrong"), Code::Unauthenticated)] {
        let change = |request: &mut tonic::Request<Bytes>| {
            if let Some(given) = given {
                request.metadata_mut().insert("authorization", given.parse().unwrap());
            }
        };
        let status = receiving.grpc_with(TRACES, spans(1, 1), change, None).await.unwrap_err();
        assert_eq!(status.code(), code);
        assert!(!status.message().contains("s3cret"));
    }
    let right = |request: &mut tonic::Request<Bytes>| {
        request.metadata_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    };
    receiving.grpc_with(TRACES, spans(1, 1), right, None).await.unwrap();
    let kind = ("content-type", "application/x-protobuf");
    let refused = receiving.respond("/v1/traces", spans(1, 1), &[kind]).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic realm=\"otlp\"");
    let login = ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(receiving.post_with("/v1/traces", spans(1, 1), &[kind, login]).await.0, 200);
    acknowledging.abort();
}

#[tokio::test]
async fn pages_of_allowed_origins_may_send() {
    let cors = "cors: {allowed_origins: ['https://*.shop.example'], allowed_headers: [x-team], max_age: 1h}";
    let receiving = start(&BOTH.replace("{HTTP}'", &format!("{{HTTP}}', {cors}"))).await;
    let acknowledging = receiving.pipelines.acknowledge();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |origin: &'static str| {
        client
            .request(reqwest::Method::OPTIONS, receiving.url("/v1/traces"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-team")
            .send()
    };
    let allowed = ask("https://a.shop.example").await.unwrap();
    assert_eq!(allowed.status(), 200);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://a.shop.example");
    assert_eq!(allowed.headers()["access-control-max-age"], "3600");
    let headers = allowed.headers()["access-control-allow-headers"].to_str().unwrap().to_owned();
    assert!(headers.contains("x-team") && headers.contains("content-type"), "{headers}");
    let other = ask("https://evil.example").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    let kind = ("content-type", "application/x-protobuf");
    let sent =
        receiving.respond("/v1/traces", spans(1, 1), &[kind, ("origin", "https://a.shop.example")]).await;
    assert_eq!(sent.status(), 200);
    assert_eq!(sent.headers()["access-control-allow-origin"], "https://a.shop.example");
    acknowledging.abort();
}
