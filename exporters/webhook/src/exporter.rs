//! The exporter: one request an export.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Proxy, Response, redirect};
use weir_component::{Context, ExportError, Exporter};
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::config::{Config, Target};
use crate::{answer, payload};

/// Sends alarms to one address.
pub(crate) struct Webhook {
    client: Client,
    target: Target,
    /// Alarms in one request, at most.
    max_rows: usize,
    context: Context,
}

/// How much of a refusal's body goes into the log.
const SHOWN_BYTES: usize = 500;

impl Webhook {
    pub(crate) fn new(target: Target, config: &Config, context: Context) -> Result<Webhook, reqwest::Error> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
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
        Ok(Webhook { client, target, max_rows: config.helper().batch.max_rows, context })
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
        let mut alarms = Vec::with_capacity(batches.len());
        for batch in batches {
            match batch.as_columns() {
                Some(columns) => alarms.push(columns),
                None => return Err(ExportError::permanent("the batch is not decoded")),
            }
        }
        let rows: usize = alarms.iter().map(|columns| columns.num_rows()).sum();
        if rows == 0 {
            return Ok(());
        }
        if rows > self.max_rows {
            // The helper halves them, in order, until they fit. Nothing of them has been sent yet.
            return Err(ExportError::too_large(format!("{rows} alarms are more than batch.max_rows")));
        }
        let now_ms = self.context.clock.now_ms();
        let request = self
            .client
            .request(self.target.method.clone(), self.target.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .headers(self.target.headers.clone())
            .header("webhook-id", payload::id(&alarms))
            .header("webhook-timestamp", now_ms.div_euclid(1000))
            .body(payload::body(&alarms));
        match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                let text = if status.is_success() { String::new() } else { body_start(response).await };
                answer::outcome(status, &headers, &text, now_ms)
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
    while bytes.len() < SHOWN_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(SHOWN_BYTES);
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
