//! The two ways to the server.

mod chain;
mod grpc;
mod http;

use bytes::Bytes;
use weir_component::ExportError;
use weir_pdata::Signal;
use weir_proto::otlp::Partial;

use crate::config::{Protocol, Target};

/// Sends requests.
pub(crate) enum Client {
    Grpc(Box<grpc::GrpcClient>),
    Http(http::HttpClient),
}

impl Client {
    /// A client that connects when it is used.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(crate) fn new(target: &Target) -> Result<Client, String> {
        Ok(match target.protocol {
            Protocol::Grpc => Client::Grpc(Box::new(grpc::GrpcClient::new(target)?)),
            Protocol::HttpProtobuf | Protocol::HttpJson => Client::Http(http::HttpClient::new(target)?),
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Why the server did not take it.
    pub(crate) async fn send(
        &self,
        signal: Signal,
        request: Bytes,
        now_ms: i64,
    ) -> Result<Partial, ExportError> {
        match self {
            Client::Grpc(client) => client.send(signal, request).await,
            Client::Http(client) => client.send(signal, request, now_ms).await,
        }
    }
}
