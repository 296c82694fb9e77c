//! Encryption: HTTPS and gRPC over TLS, and clients that are known by a certificate.
use std::io::Write;
use std::pin::Pin;
use std::process::{Command, Stdio};

use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::certificates::Certificates;
use crate::support::{LONG, call_on, frames, segment, start_with};

/// A connection that trusts the authority, with or without a certificate of its own.
async fn encrypted(
    certificates: &Certificates,
    port: u16,
    known: bool,
) -> Result<SslStream<TcpStream>, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_ca_file(certificates.path("ca.pem")).unwrap();
    connector.set_alpn_protos(b"\x02h2").unwrap();
    if known {
        connector.set_certificate_file(certificates.path("client.pem"), SslFiletype::PEM).unwrap();
        connector.set_private_key_file(certificates.path("client.key"), SslFiletype::PEM).unwrap();
    }
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream).connect().await.map_err(|error| error.to_string())?;
    Ok(stream)
}

#[tokio::test]
async fn connections_are_encrypted_and_only_known_clients_may_connect() {
    let certificates = Certificates::make("skywalking-receiver");
    let path = |file| certificates.path(file);
    let tls = format!(
        ", tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let running = start_with(&tls, "").await;
    let method = "/skywalking.v3.TraceSegmentReportService/collect";
    let stream = encrypted(&certificates, running.grpc, true).await.unwrap();
    let (answer, got) = running.delivered(call_on(stream, method, &[], frames(&[segment("a")]))).await;
    assert_eq!((answer.0, got.len()), (0, 1));
    // With TLS 1.3 the server refuses a client after the handshake: nothing comes of what it sends.
    if let Ok(mut stream) = encrypted(&certificates, running.grpc, false).await {
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let answer = tokio::time::timeout(LONG, stream.read(&mut [0; 9])).await.unwrap();
        assert!(matches!(answer, Ok(0) | Err(_)), "a client without a certificate was let in");
    }

    let client = |known: bool| {
        let read = |file| std::fs::read(certificates.path(file)).unwrap();
        let client = reqwest::Client::builder().no_proxy();
        let client = client.tls_certs_only([reqwest::Certificate::from_pem(&read("ca.pem")).unwrap()]);
        let identity = reqwest::Identity::from_pkcs8_pem(&read("client.pem"), &read("client.key")).unwrap();
        if known { client.identity(identity).build().unwrap() } else { client.build().unwrap() }
    };
    let url = format!("https://127.0.0.1:{}/v3/segments", running.http);
    let post = |known| client(known).post(&url).body(r#"[{"traceSegmentId":"a"}]"#).send();
    let (answer, got) = running.delivered(post(true)).await;
    assert_eq!((answer.unwrap().status().as_u16(), got.len()), (200, 1));
    assert!(post(false).await.is_err());
    let plain = format!("http://127.0.0.1:{}/v3/segments", running.http);
    assert!(reqwest::get(plain).await.is_err(), "it is not encrypted");
    running.finish().await;
}

/// What `openssl s_client` says about a connection on which it has asked for something.
async fn s_client(certificates: &Certificates, port: u16, more: [&str; 3]) -> String {
    let path = |file| certificates.path(file);
    let mut client = Command::new("openssl");
    client
        .args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{port}"), "-servername", "localhost"])
        .args(["-CAfile", &path("ca.pem"), "-cert", &path("client.pem"), "-key", &path("client.key")])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let talking = tokio::task::spawn_blocking(move || {
        let mut client = client.spawn().unwrap();
        let request = b"GET /v3/none HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.stdin.take().unwrap().write_all(request).unwrap();
        client.wait_with_output().unwrap()
    });
    let said = tokio::time::timeout(LONG, talking).await.unwrap().unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

#[tokio::test]
async fn clients_that_are_known_may_resume_their_session() {
    let certificates = Certificates::make("skywalking-resumption");
    let path = |file| certificates.path(file);
    let tls = format!(
        ", tls: {{cert_file: '{}', key_file: '{}', client_ca_file: '{}'}}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let running = start_with(&tls, "").await;
    for version in ["-tls1_2", "-tls1_3"] {
        let session = path("session.pem");
        let first = s_client(&certificates, running.http, [version, "-sess_out", &session]).await;
        assert!(first.contains("New, TLS") && first.contains("HTTP/1.1 404"), "{version}: {first}");
        let second = s_client(&certificates, running.http, [version, "-sess_in", &session]).await;
        assert!(second.contains("Reused, TLS") && second.contains("HTTP/1.1 404"), "{version}: {second}");
        std::fs::remove_file(session).unwrap();
    }
    running.finish().await;
}
