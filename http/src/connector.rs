//! How connections to the server are made: directly, or through a proxy.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::Connection;

/// How long a connection is idle before the system asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Makes connections that send at once. By default the last bytes of a request wait until the server
/// has confirmed those before, which it does after 40 ms.
#[derive(Clone, Debug)]
pub enum Connector {
    /// To the server itself.
    Direct(HttpConnector),
    /// Through a tunnel that the proxy makes.
    Through(Tunnel<HttpConnector>),
}

impl Connector {
    /// As configured.
    #[must_use]
    pub fn new(connection: &Connection) -> Connector {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.enforce_http(false);
        // The address has been checked.
        let proxy = connection.proxy.as_ref().and_then(|proxy| Some((proxy.url.parse::<Uri>().ok()?, proxy)));
        let Some((address, proxy)) = proxy else { return Connector::Direct(connector) };
        let tunnel = Tunnel::new(address, connector);
        let login = proxy.authorization().and_then(|login| HeaderValue::from_str(login.expose()).ok());
        Connector::Through(match login {
            Some(mut login) => {
                login.set_sensitive(true);
                tunnel.with_auth(login)
            }
            None => tunnel,
        })
    }
}

type Failed = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, Failed>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Failed;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match self {
            Connector::Direct(connector) => connector.poll_ready(context).map_err(Into::into),
            Connector::Through(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Connecting {
        match self {
            Connector::Direct(connector) => {
                let connecting = connector.call(to);
                Box::pin(async move { connecting.await.map_err(Into::into) })
            }
            Connector::Through(tunnel) => {
                let connecting = tunnel.call(to);
                Box::pin(async move { connecting.await.map_err(Into::into) })
            }
        }
    }
}
