//! A conversation with a mail server (RFC 5321): one message, then the end.

use std::net::IpAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// The longest line of an answer, in bytes; RFC 5321 has 512.
const LINE: u64 = 4096;
/// Lines of one answer, at most.
const LINES: usize = 100;

/// Why the server did not take the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It answered with another code than was hoped for.
    #[error("to {to} it answered {code} {text}")]
    Answer {
        /// The command.
        to: &'static str,
        /// From 400 on.
        code: u16,
        /// What it says.
        text: String,
    },
    /// The connection failed, or the server does not speak SMTP as it should.
    #[error("{0}")]
    Broken(String),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::Broken(error.to_string())
    }
}

/// A connection on which commands are answered.
pub(crate) struct Conversation<S: AsyncRead + AsyncWrite + Unpin>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// On a new connection.
    pub(crate) fn new(stream: S) -> Conversation<S> {
        Conversation(BufReader::new(stream))
    }

    /// The connection, for TLS. What came before its time would be taken for encrypted: that is an attack.
    pub(crate) fn into_inner(self) -> Result<S, Refusal> {
        if self.0.buffer().is_empty() {
            Ok(self.0.into_inner())
        } else {
            Err(Refusal::Broken("the mail server said more before the encryption than it may".to_owned()))
        }
    }

    /// The server speaks first.
    pub(crate) async fn greeting(&mut self) -> Result<(), Refusal> {
        self.answer("the connection", 220).await.map(drop)
    }

    /// Says hello from this address; gives what the server can do, in capitals.
    pub(crate) async fn hello(&mut self, own: IpAddr) -> Result<Vec<String>, Refusal> {
        let own = match own {
            IpAddr::V4(own) => format!("EHLO [{own}]"),
            IpAddr::V6(own) => format!("EHLO [IPv6:{own}]"),
        };
        self.command("EHLO", &own, 250).await
    }

    /// Asks for encryption.
    pub(crate) async fn start_tls(&mut self, can: &[String]) -> Result<(), Refusal> {
        if !can.iter().any(|word| word == "STARTTLS") {
            return Err(Refusal::Broken("the mail server offers no STARTTLS".to_owned()));
        }
        self.command("STARTTLS", "STARTTLS", 220).await.map(drop)
    }

    /// Sends one command; gives the lines of the answer if it has this code.
    pub(crate) async fn command(
        &mut self,
        name: &'static str,
        command: &str,
        code: u16,
    ) -> Result<Vec<String>, Refusal> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).await?;
        self.0.get_mut().flush().await?;
        self.answer(name, code).await
    }

    /// Sends the content of a message, whose lines end with CR LF and do not begin with a dot.
    pub(crate) async fn content(&mut self, content: &str) -> Result<(), Refusal> {
        self.0.get_mut().write_all(content.as_bytes()).await?;
        self.command("the message", ".", 250).await.map(drop)
    }

    async fn answer(&mut self, to: &'static str, expected: u16) -> Result<Vec<String>, Refusal> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let mut line = Vec::new();
            (&mut self.0).take(LINE).read_until(b'\n', &mut line).await?;
            let line = String::from_utf8_lossy(&line).trim_end().replace(char::is_control, " ");
            let (code, rest) = line.split_at(line.floor_char_boundary(3));
            let Ok(code) = code.parse::<u16>() else {
                let what = if line.is_empty() { "it closed the connection".to_owned() } else { line };
                return Err(Refusal::Broken(format!("to {to}: {what}")));
            };
            let (is_last, text) = (!rest.starts_with('-'), rest.get(1..).unwrap_or_default());
            lines.push(text.to_ascii_uppercase());
            if is_last {
                if code / 100 == expected / 100 {
                    return Ok(lines);
                }
                return Err(Refusal::Answer { to, code, text: text.to_owned() });
            }
        }
        Err(Refusal::Broken(format!("to {to} it answered more than {LINES} lines")))
    }
}
