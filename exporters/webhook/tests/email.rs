//! E-mail to a small SMTP server that records what it is told.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "others need the rest")]
#[path = "../../../http/tests/support/mod.rs"]
mod tls;

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use weir_component::testkit::{context, json_batch};
use weir_component::{ExportError, Exporter, Settings};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_webhook::FACTORY;
use weir_pdata::{Ack, EventBatch, Signal};

/// A server that answers `MAIL` as told. Gives its address and the lines that it was told.
async fn server(answer_to_mail: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    server_that_answers("MAIL", answer_to_mail).await
}

/// A server that answers one command as told, and the others as usual. An empty text is no answer.
async fn server_that_answers(
    command: &'static str,
    answer: &'static str,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let book = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let book = Arc::clone(&book);
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
                let mut in_data = false;
                while let Ok(Some(line)) = lines.next_line().await {
                    book.lock().unwrap().push(line.clone());
                    let answer = match (in_data, line.split([' ', ':']).next().unwrap()) {
                        (true, _) if line == "." => {
                            in_data = false;
                            "250 2.0.0 queued"
                        }
                        (true, _) => continue,
                        (_, word) if word == command && answer.is_empty() => continue,
                        (_, word) if word == command => answer,
                        (_, "EHLO") => "250-mail.example.com\r\n250-AUTH PLAIN\r\n250 8BITMIME",
                        (_, "AUTH") => "235 2.7.0 welcome",
                        (_, "DATA") => {
                            in_data = true;
                            "354 go on"
                        }
                        (_, "QUIT") => "221 bye",
                        _ => "250 ok",
                    };
                    write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, told)
}

fn exporter(address: &str) -> Box<dyn Exporter> {
    exporter_at(&format!("smtp+plain://{address}"))
}

fn exporter_at(url: &str) -> Box<dyn Exporter> {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  webhook:\n    kind: email\n    url: {url}\n    \
         email: {{from: \"Weir <weir@example.com>\", to: [duty@example.com, 值班 <chief@example.com>], username: weir, password: s3cret}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [webhook]}}}}}}\n"
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = context("webhook", Path::new("/nonexistent"));
    let built = (FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context);
    built.map_err(|errors| errors.to_string()).unwrap().exporter
}

fn batch() -> EventBatch {
    let alarm = json!({
        "time": 1_700_000_000_000_i64, "rule": "slow", "severity": "high", "state": "firing",
        "service": "pay", "labels": {"service": "pay"}, "message": "pay is slow", "fingerprint": "f1",
        "measure": "max_duration_ns", "value": 2.5e9, "threshold": 2e9, "starts_at": 1_700_000_000_000_i64
    });
    json_batch(Signal::Alarms, &[alarm], Ack::none())
}

async fn send(address: &str) -> Result<(), ExportError> {
    exporter(address).export(&[batch()]).await
}

#[tokio::test]
async fn an_e_mail_has_sender_receivers_subject_and_text() {
    let (address, told) = server("250 ok").await;
    send(&address).await.unwrap();
    let told = told.lock().unwrap().clone();
    // Base64 of `\0weir\0s3cret`.
    for line in [
        "AUTH PLAIN AHdlaXIAczNjcmV0",
        "MAIL FROM:<weir@example.com>",
        "RCPT TO:<duty@example.com>",
        "RCPT TO:<chief@example.com>",
        "From: Weir <weir@example.com>",
        // Python's `email.header.Header('值班', 'utf-8')`.
        " =?utf-8?B?5YC854+t?= <chief@example.com>",
        "Subject: [high] slow: pay",
        "Auto-Submitted: auto-generated",
        "Content-Type: text/plain; charset=utf-8",
        "QUIT",
    ] {
        assert!(told.iter().any(|had| had == line), "{line}: {told:#?}");
    }
    let id = told.iter().find(|line| line.starts_with("Message-ID: <msg_")).unwrap();
    assert!(id.ends_with("@example.com>"), "{id}");
    let body: String =
        told.iter().skip_while(|line| !line.is_empty()).take_while(|line| *line != ".").cloned().collect();
    let body = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
    let text = "pay is slow\r\nmax_duration_ns is 2.5 s, the limit is 2 s\r\nsince 2023-11-14 22:13:20 UTC";
    assert_eq!(String::from_utf8(body).unwrap(), text);
}

#[tokio::test]
async fn a_server_that_is_busy_is_tried_again_and_one_that_refuses_is_believed() {
    let (busy, _) = server("451 4.3.0 try again later").await;
    assert!(matches!(send(&busy).await, Err(ExportError::Retryable { .. })));
    let (login, _) = server("530 5.7.0 authentication required").await;
    assert!(matches!(send(&login).await, Err(ExportError::Retryable { .. })));
    let (refuses, _) = server("550 5.7.1 no such sender").await;
    let error = send(&refuses).await.unwrap_err();
    assert!(matches!(error, ExportError::Permanent { .. }));
    assert!(error.to_string().contains("550") && error.to_string().contains("no such sender"), "{error}");
    assert!(matches!(send("127.0.0.1:1").await, Err(ExportError::Retryable { .. })));
}

/// The mail is queued when it says so, whatever comes then.
#[tokio::test]
async fn a_server_that_does_not_say_goodbye_has_the_mail_all_the_same() {
    let (address, told) = server_that_answers("QUIT", "").await;
    let began = std::time::Instant::now();
    send(&address).await.unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(told.lock().unwrap().contains(&"QUIT".to_owned()));
}

/// What is refused before the mail is named has nothing to do with the mail.
#[tokio::test]
async fn a_server_that_refuses_us_is_tried_again() {
    for (command, answer) in [("EHLO", "550 5.7.1 your address is on a list"), ("AUTH", "504 5.5.4 no")] {
        let (address, _) = server_that_answers(command, answer).await;
        let error = send(&address).await.unwrap_err();
        assert!(matches!(error, ExportError::Retryable { .. }), "{command}: {error}");
    }
}

/// A server that offers no STARTTLS is not told anything.
#[tokio::test]
async fn nothing_is_sent_without_the_encryption_that_was_asked_for() {
    let (address, told) = server("250 ok").await;
    let exporter = exporter_at(&format!("smtp://{address}"));
    let error = exporter.export(&[batch()]).await.unwrap_err();
    assert!(error.to_string().contains("offers no STARTTLS"), "{error}");
    assert_eq!(told.lock().unwrap().len(), 1, "only hello");
}

/// With the certificate of a private authority, from the first byte.
#[tokio::test]
async fn a_server_with_a_certificate_of_a_private_authority_is_trusted_when_it_is_named() {
    let certificates = tls::Certificates::make("email");
    let mut acceptor =
        openssl::ssl::SslAcceptor::mozilla_intermediate_v5(openssl::ssl::SslMethod::tls_server()).unwrap();
    acceptor.set_certificate_chain_file(certificates.folder().join("server.pem")).unwrap();
    let key = certificates.folder().join("server.key");
    acceptor.set_private_key_file(key, openssl::ssl::SslFiletype::PEM).unwrap();
    let acceptor = acceptor.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("smtps://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(mut stream) = acceptor.accept(stream) else { continue };
            // A greeting that refuses: what matters is that it is read.
            let _ = std::io::Write::write_all(&mut stream, b"554 5.3.2 not today\r\n");
        }
    });
    let error = exporter_at(&address).export(&[batch()]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let trusting = exporter_at(&format!("{address}\n    tls: {{ca_file: {}}}", certificates.path("ca.pem")));
    let error = trusting.export(&[batch()]).await.unwrap_err();
    assert!(error.to_string().contains("554 5.3.2 not today"), "{error}");
}
