//! OTLP/gRPC.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use hyper::http::uri::PathAndQuery;
use hyper_tls::HttpsConnector;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use weir_component::ExportError;
use weir_http::{Connection, Connector};
use weir_pdata::Signal;
use weir_proto::otlp::Partial;

use super::chain::chain;
use crate::answer;
use crate::config::{Compression, Target};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// After this long without a sign of the server it is asked for one, and has that long to give it.
const PING: Duration = Duration::from_secs(60);
const PONG: Duration = Duration::from_secs(20);

/// One connection, made again when it breaks.
pub(crate) struct GrpcClient {
    endpoint: Endpoint,
    connection: Connection,
    compression: Compression,
    headers: MetadataMap,
    /// Made in the runtime that it works in.
    grpc: OnceLock<Grpc<Channel>>,
}

impl GrpcClient {
    pub(super) fn new(target: &Target) -> Result<GrpcClient, String> {
        let endpoint = Endpoint::from_shared(target.address.clone())
            .and_then(|endpoint| endpoint.user_agent(concat!("weir/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| chain(&error))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        Ok(GrpcClient {
            endpoint,
            connection: target.connection.clone(),
            compression: target.compression,
            headers: MetadataMap::from_headers(target.headers.clone()),
            grpc: OnceLock::new(),
        })
    }

    fn connect(&self) -> Grpc<Channel> {
        let tls = self.connection.tls.clone().into();
        let connector = HttpsConnector::from((Connector::new(&self.connection), tls));
        // A server in Go answers as it was asked: compressed.
        let grpc = Grpc::new(self.endpoint.connect_with_connector_lazy(connector))
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        match self.compression {
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => grpc.send_compressed(CompressionEncoding::Zstd),
            Compression::None => grpc,
        }
    }

    pub(super) async fn send(&self, signal: Signal, request: Bytes) -> Result<Partial, ExportError> {
        let path = PathAndQuery::from_static(match signal {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            _ => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        });
        // Clones share the connection.
        let mut grpc = self.grpc.get_or_init(|| self.connect()).clone();
        grpc.ready().await.map_err(|error| unreachable(&chain(&error)))?;
        let mut request = Request::new(request);
        *request.metadata_mut() = self.headers.clone();
        match grpc.unary(request, path, Bare).await {
            Ok(response) => Ok(Partial::read(response.get_ref())),
            // Not an answer: the connection failed.
            Err(status) if status.source().is_some() => Err(unreachable(&chain(&status))),
            Err(status) => Err(answer::of_status(&status)),
        }
    }
}

fn unreachable(why: &str) -> ExportError {
    ExportError::retryable(format!("the server cannot be reached: {why}"))
}

/// Messages as bytes.
#[derive(Clone, Copy)]
struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Bare;
    type Decoder = Bare;

    fn encoder(&mut self) -> Bare {
        Bare
    }

    fn decoder(&mut self) -> Bare {
        Bare
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.len());
        to.put(message);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
