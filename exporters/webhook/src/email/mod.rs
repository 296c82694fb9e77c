//! E-mail over SMTP.

mod mailbox;
mod smtp;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use native_tls::TlsConnector;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use weir_component::ExportError;

pub(crate) use mailbox::Mailbox;
use mailbox::header_text;
use smtp::{Conversation, Refusal};

use crate::alarm::Alarm;
use crate::payload::text::{Text, Wording};

/// The steps in which a server judges the mail.
const ABOUT_THE_MAIL: [&str; 4] = ["the sender", "a receiver", "DATA", "the message"];
/// How long a server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    /// From the first byte: `smtps`.
    Implicit,
    /// With STARTTLS, always: `smtp`.
    Starttls,
    /// Not at all: `smtp+plain`.
    Plain,
}

/// Sender, receivers and login.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
    /// User and password.
    pub(crate) login: Option<(String, String)>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mail {{ from: {:?}, to: {:?}, .. }}", self.from, self.to)
    }
}

/// Sends messages through one server.
pub(crate) struct Mailer {
    host: String,
    port: u16,
    encryption: Encryption,
    tls: TlsConnector,
    mail: Mail,
    timeout: Duration,
}

/// Why `url` is not that of a mail server.
pub(crate) fn check_url(url: &Url) -> Result<(), String> {
    encryption(url)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: use `email.username` and `email.password`".to_owned());
    }
    Ok(())
}

fn encryption(url: &Url) -> Result<Encryption, String> {
    match url.scheme() {
        "smtps" => Ok(Encryption::Implicit),
        "smtp" => Ok(Encryption::Starttls),
        "smtp+plain" => Ok(Encryption::Plain),
        _ => Err("must begin with smtps://, smtp:// (STARTTLS) or smtp+plain:// (not encrypted)".to_owned()),
    }
}

impl Mailer {
    /// A mailer for this server. Nothing is connected yet.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) fn new(url: &Url, mail: Mail, tls: TlsConnector, timeout: Duration) -> Result<Mailer, String> {
        let encryption = encryption(url)?;
        let port = match encryption {
            Encryption::Implicit => 465,
            Encryption::Starttls => 587,
            Encryption::Plain => 25,
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok(Mailer { host, port: url.port().unwrap_or(port), encryption, tls, mail, timeout })
    }

    /// Sends one message about these alarms. Mail servers know a repeated one by its id.
    ///
    /// # Errors
    /// The server did not take it.
    pub(crate) async fn deliver(
        &self,
        wording: &Wording,
        alarms: &[Alarm],
        id: &str,
        now_ms: i64,
    ) -> Result<(), ExportError> {
        let content = self.content(&wording.text(alarms), id, now_ms);
        let taken = AtomicBool::new(false);
        match tokio::time::timeout(self.timeout, self.send(&content, &taken)).await {
            Ok(Ok(())) => Ok(()),
            // It waited for the goodbye.
            Err(_) if taken.load(Ordering::Relaxed) => Ok(()),
            Ok(Err(refusal)) => Err(error(&refusal)),
            Err(_) => Err(ExportError::retryable(format!(
                "the mail server did not answer within {} s",
                self.timeout.as_secs_f64()
            ))),
        }
    }

    async fn send(&self, content: &str, taken: &AtomicBool) -> Result<(), Refusal> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let own = stream.local_addr()?.ip();
        match self.encryption {
            Encryption::Plain => {
                let mut server = Conversation::new(stream);
                server.greeting().await?;
                self.talk(&mut server, own, content, taken).await
            }
            Encryption::Starttls => {
                let mut server = Conversation::new(stream);
                server.greeting().await?;
                let can = server.hello(own).await?;
                server.start_tls(&can).await?;
                let mut server = Conversation::new(self.encrypted(server.into_inner()?).await?);
                self.talk(&mut server, own, content, taken).await
            }
            Encryption::Implicit => {
                let mut server = Conversation::new(self.encrypted(stream).await?);
                server.greeting().await?;
                self.talk(&mut server, own, content, taken).await
            }
        }
    }

    async fn encrypted(&self, stream: TcpStream) -> Result<tokio_native_tls::TlsStream<TcpStream>, Refusal> {
        let connector = tokio_native_tls::TlsConnector::from(self.tls.clone());
        connector.connect(&self.host, stream).await.map_err(|error| Refusal::Broken(error.to_string()))
    }

    /// From hello to goodbye. A receiver that is refused does not keep the message from the others.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server: &mut Conversation<S>,
        own: IpAddr,
        content: &str,
        taken: &AtomicBool,
    ) -> Result<(), Refusal> {
        server.hello(own).await?;
        if let Some((user, password)) = &self.mail.login {
            let login = STANDARD.encode(format!("\0{user}\0{password}"));
            server.command("the login", &format!("AUTH PLAIN {login}"), 235).await?;
        }
        let from = format!("MAIL FROM:<{}>", self.mail.from.address());
        server.command("the sender", &from, 250).await?;
        let mut refused = None;
        let mut accepted = 0;
        for to in &self.mail.to {
            let command = format!("RCPT TO:<{}>", to.address());
            match server.command("a receiver", &command, 250).await {
                Ok(_) => accepted += 1,
                Err(refusal @ Refusal::Answer { .. }) => {
                    tracing::warn!(receiver = to.address(), error = %refusal, "a mail server refuses a receiver");
                    refused = Some(refusal);
                }
                Err(broken) => return Err(broken),
            }
        }
        if let Some(refused) = refused.filter(|_| accepted == 0) {
            return Err(refused);
        }
        server.command("DATA", "DATA", 354).await?;
        server.content(content).await?;
        // The message is taken, whatever the goodbye is.
        taken.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(GOODBYE, server.command("QUIT", "QUIT", 221)).await;
        Ok(())
    }

    /// The message: ASCII, in lines that do not begin with a dot.
    fn content(&self, text: &Text, id: &str, now_ms: i64) -> String {
        let to: Vec<String> = self.mail.to.iter().map(Mailbox::header).collect();
        let date = DateTime::from_timestamp_millis(now_ms).unwrap_or_default().to_rfc2822();
        let mut content = format!(
            "Date: {date}\r\nFrom: {}\r\nTo: {}\r\nSubject: {}\r\nMessage-ID: <{id}@{}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            self.mail.from.header(),
            to.join(",\r\n "),
            header_text(&text.title),
            self.mail.from.host(),
        );
        let lines: Vec<String> =
            text.lines.iter().map(|line| format!("{}{}", line.text, line.link)).collect();
        let body = STANDARD.encode(lines.join("\r\n"));
        for line in body.as_bytes().chunks(76) {
            content.push_str(&String::from_utf8_lossy(line));
            content.push_str("\r\n");
        }
        content
    }
}

/// What is refused before the mail is named, and a refused login (530, 534, 535, 538), is not the fault of
/// the alarms. Other codes from 500 on are.
fn error(refusal: &Refusal) -> ExportError {
    let reason = format!("the mail server did not take the message: {refusal}");
    match refusal {
        Refusal::Answer { code, to, .. }
            if *code >= 500 && ABOUT_THE_MAIL.contains(to) && ![530, 534, 535, 538].contains(code) =>
        {
            ExportError::permanent(reason)
        }
        _ => ExportError::retryable(reason),
    }
}
