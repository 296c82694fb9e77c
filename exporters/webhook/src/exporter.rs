//! The exporter: alarms of an export go in one request, or in as few as the target takes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{Client, Proxy, Response, redirect};
use weir_component::{Context, ExportError, Exporter};
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::alarm::Alarm;
use crate::config::{Config, Target};
use crate::pace::Pace;
use crate::payload::Request;
use crate::{answer, signature};

/// Sends alarms to one address.
pub(crate) struct Webhook {
    client: Client,
    target: Target,
    /// Alarms in one request, at most.
    max_rows: usize,
    pace: Pace,
    context: Context,
}

/// How much of a refusal's body goes into the log.
const SHOWN_BYTES: usize = 500;
/// How much of an answer is read.
const READ_BYTES: usize = 64 << 10;

impl Webhook {
    pub(crate) fn new(target: Target, config: &Config, context: Context) -> Result<Webhook, reqwest::Error> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(target.timeout.get())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(target.connection.tls.clone())
            // Only the proxy of the configuration: variables mean nothing to the other exporters either.
            .no_proxy();
        if let Some(proxy) = &target.connection.proxy {
            let mut all = Proxy::all(&proxy.url)?;
            if !proxy.username.is_empty() {
                all = all.basic_auth(&proxy.username, proxy.password.expose());
            }
            client = client.proxy(all);
        }
        let client = client.build()?;
        let (max_rows, pace) = (config.helper().batch.max_rows, Pace::per_minute(target.max_per_minute));
        Ok(Webhook { client, target, max_rows, pace, context })
    }

    async fn send(&self, request: Request) -> Result<(), ExportError> {
        self.pace.turn().await;
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

#[async_trait]
impl Exporter for Webhook {
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Alarms])
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    /// By `webhook-id`. So the alarms of a window go in the same requests whenever they are sent.
    fn is_idempotent(&self) -> bool {
        true
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let mut columns = Vec::with_capacity(batches.len());
        for batch in batches {
            match batch.as_columns() {
                Some(batch) => columns.push(batch),
                None => return Err(ExportError::permanent("the batch is not decoded")),
            }
        }
        let rows: usize = columns.iter().map(|columns| columns.num_rows()).sum();
        if rows > self.max_rows {
            // The helper halves them, in order, until they fit. Nothing of them has been sent yet.
            return Err(ExportError::too_large(format!("{rows} alarms are more than batch.max_rows")));
        }
        let alarms = Alarm::read(columns);
        let now_ms = self.context.clock.now_ms();
        for request in self.target.payload.requests(&alarms, &BTreeMap::new(), now_ms)? {
            self.send(request).await?;
        }
        Ok(())
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
