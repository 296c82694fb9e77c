//! Requests of both protocols, on their way to the [`lanes`](crate::lanes).

mod desk;
mod grpc;
mod http;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use weir_server::{Protocol, ResponseBody, Service};

pub(crate) use desk::Desk;

impl Service for Desk {
    async fn answer(self: Arc<Self>, _: usize, request: Request<Incoming>) -> Response<ResponseBody> {
        match self.protocol {
            Protocol::Grpc => grpc::answer(&self, request).await,
            Protocol::Http => http::answer(&self, request).await,
        }
    }
}
