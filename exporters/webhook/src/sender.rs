//! Sends alarms to the target, and understands its answers.

use std::collections::BTreeMap;

use reqwest::{Client, Proxy, Response, redirect};
use weir_component::{Context, ExportError};

use crate::alarm::Alarm;
use crate::config::Target;
use crate::email::Mailer;
use crate::pace::Pace;
use crate::payload::{Form, Request};
use crate::{answer, request_id, signature};

/// The client of one target.
pub(crate) struct Sender {
    client: Client,
    /// Of the kind that does not speak HTTP.
    mailer: Option<Mailer>,
    target: Target,
    pace: Pace,
    context: Context,
}

/// How much of a refusal's body goes into the log.
const SHOWN_BYTES: usize = 500;
/// How much of an answer is read.
const READ_BYTES: usize = 64 << 10;

impl Sender {
    pub(crate) fn new(target: Target, context: Context) -> Result<Sender, String> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(target.timeout.get())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(target.connection.tls.clone())
            // Only the proxy of the configuration: variables mean nothing to the other exporters either.
            .no_proxy();
        if let Some(proxy) = &target.connection.proxy {
            let mut all = Proxy::all(&proxy.url).map_err(|error| error.to_string())?;
            if !proxy.username.is_empty() {
                all = all.basic_auth(&proxy.username, proxy.password.expose());
            }
            client = client.proxy(all);
        }
        let client = client.build().map_err(|error| error.to_string())?;
        let mailer = match &target.payload.form {
            Form::Email { mail } => {
                let (url, tls) = (&target.payload.url, target.connection.tls.clone());
                Some(Mailer::new(url, mail.clone(), tls, target.timeout.get())?)
            }
            _ => None,
        };
        let pace = Pace::per_minute(target.max_per_minute);
        Ok(Sender { client, mailer, target, pace, context })
    }

    /// Waits for the turn of a request.
    pub(crate) async fn turn(&self) {
        self.pace.turn().await;
    }

    /// Sends these alarms, all in the [turn](Self::turn) that was waited for. `number` makes the ids of the
    /// requests those of one message; without it they are those of the alarms.
    ///
    /// # Errors
    /// What the target did not take. Of several requests some may have been taken.
    pub(crate) async fn deliver(
        &self,
        alarms: &[Alarm],
        group: &BTreeMap<String, String>,
        number: Option<u64>,
    ) -> Result<(), ExportError> {
        let payload = &self.target.payload;
        let alarms = &payload.wanted(alarms.to_vec());
        if let Some(mailer) = self.mailer.as_ref().filter(|_| !alarms.is_empty()) {
            let id = request_id::id(alarms.iter());
            let id = number.map_or_else(|| id.clone(), |number| format!("{id}-{number}"));
            let now_ms = self.context.clock.now_ms();
            return mailer.deliver(&payload.wording, alarms, &id, now_ms).await;
        }
        let requests = payload.requests(alarms, group, self.context.clock.now_ms())?;
        for mut request in requests {
            if let Some(number) = number {
                request.id = format!("{}-{number}", request.id);
            }
            self.send(request).await?;
        }
        Ok(())
    }

    async fn send(&self, request: Request) -> Result<(), ExportError> {
        let now_ms = self.context.clock.now_ms();
        let Request { url, mut headers, body, id } = request;
        let seconds = now_ms.div_euclid(1000);
        let signed =
            if self.target.keys.is_empty() {
                None
            } else {
                let signed = signature::standard(&self.target.keys, &id, seconds, &body);
                Some(signed.map_err(|error| {
                    ExportError::permanent(format!("the request cannot be signed: {error}"))
                })?)
            };
        headers.extend(self.target.headers.clone());
        let mut request = self
            .client
            .request(self.target.method.clone(), url)
            .headers(headers)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .body(body);
        if let Some(signed) = signed {
            request = request.header("webhook-signature", signed);
        }
        match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                let text = body_start(response).await;
                let shown = text.floor_char_boundary(SHOWN_BYTES);
                answer::outcome(status, &headers, &text[..shown], now_ms)?;
                answer::robot::outcome(self.target.kind, &text)
            }
            Err(error) => {
                Err(ExportError::retryable(format!("the webhook cannot be reached: {}", error_text(error))))
            }
        }
    }
}

/// The beginning of the body, whatever it is.
async fn body_start(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(READ_BYTES);
    // Between the parts of JSON such characters mean nothing, and in its texts there are none.
    String::from_utf8_lossy(&bytes).replace(char::is_control, " ")
}

/// An error and its causes, without the URL: it may hold a token.
fn error_text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
