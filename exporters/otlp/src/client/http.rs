//! OTLP/HTTP.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Proxy, Response, redirect};
use weir_component::ExportError;
use weir_pdata::Signal;
use weir_proto::otlp::Partial;

use super::chain::chain;
use crate::answer;
use crate::config::{Compression, Protocol, Target};
use crate::request;

/// How much of an answer is read.
const SHOWN: usize = 64 << 10;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// A client with its connections.
pub(crate) struct HttpClient {
    client: Client,
    address: String,
    headers: HeaderMap,
    is_json: bool,
    compression: Compression,
}

impl HttpClient {
    pub(super) fn new(target: &Target) -> Result<HttpClient, String> {
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(target.connection.tls.clone())
            // Only the proxy of the configuration: variables mean nothing to the other exporters either.
            .no_proxy();
        if let Some(proxy) = &target.connection.proxy {
            let mut all = Proxy::all(&proxy.url).map_err(|error| chain(&error))?;
            if !proxy.username.is_empty() {
                all = all.basic_auth(&proxy.username, proxy.password.expose());
            }
            client = client.proxy(all);
        }
        Ok(HttpClient {
            client: client.build().map_err(|error| chain(&error))?,
            address: target.address.clone(),
            headers: target.headers.clone(),
            is_json: target.protocol == Protocol::HttpJson,
            compression: target.compression,
        })
    }

    pub(super) async fn send(
        &self,
        signal: Signal,
        request: Bytes,
        now_ms: i64,
    ) -> Result<Partial, ExportError> {
        let (kind, body) = if self.is_json {
            let json = request::to_json(signal, &request).map_err(ExportError::permanent)?;
            ("application/json", Bytes::from(json))
        } else {
            ("application/x-protobuf", request)
        };
        let mut posting = self.client.post(format!("{}/v1/{}", self.address, signal.name()));
        posting = posting.headers(self.headers.clone()).header(CONTENT_TYPE, kind);
        let packed = match self.compression {
            Compression::None => Ok(body),
            Compression::Gzip => {
                posting = posting.header(CONTENT_ENCODING, "gzip");
                gzip(&body)
            }
            Compression::Zstd => {
                posting = posting.header(CONTENT_ENCODING, "zstd");
                zstd::encode_all(&*body, ZSTD_LEVEL).map(Bytes::from)
            }
        };
        let packed =
            packed.map_err(|error| ExportError::retryable(format!("cannot be compressed: {error}")))?;
        let response = posting.body(packed).send().await.map_err(|error| {
            let why = chain(&error.without_url());
            ExportError::retryable(format!("the server cannot be reached: {why}"))
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let is_json =
            headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let body = start_of(response).await;
        if status.is_success() {
            return Ok(if is_json { Partial::read_json(&body) } else { Partial::read(&body) });
        }
        Err(answer::of_response(status, &headers, &String::from_utf8_lossy(&body), now_ms))
    }
}

fn gzip(body: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

/// The beginning of the body, whatever it is.
async fn start_of(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(SHOWN);
    bytes
}
