//! A server that keeps what it gets and answers as it is told: gRPC and HTTP on one port.

use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the next request is answered.
pub enum Answer {
    Status(Status),
    Http(u16, Option<&'static str>),
    Message(Vec<u8>),
}

/// A request, unpacked.
#[derive(Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

type Refusing = fn(&[u8]) -> Option<Status>;

#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    taken: Vec<Vec<u8>>,
    answers: std::collections::VecDeque<Answer>,
    refuse: Option<Refusing>,
}

pub struct Server {
    pub port: u16,
    book: Arc<Mutex<Book>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let book = Arc::new(Mutex::new(Book::default()));
        let kept = book.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let book = kept.clone();
                let service = hyper::service::service_fn(move |request| answer(book.clone(), request));
                connections.spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server { port, book, accepting }
    }

    /// Answers the next requests so, and then with success.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.book.lock().unwrap().answers.extend(answers);
    }

    /// Refuses requests for which the function gives a status.
    pub fn refuse_if(&self, refuse: Refusing) {
        self.book.lock().unwrap().refuse = Some(refuse);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.book.lock().unwrap().seen.clone()
    }

    /// The bodies that were answered with success.
    pub fn taken(&self) -> Vec<Vec<u8>> {
        self.book.lock().unwrap().taken.clone()
    }
}

async fn answer(book: Arc<Mutex<Book>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_grpc = head.headers[CONTENT_TYPE].as_bytes().starts_with(b"application/grpc");
    let name = if is_grpc { "grpc-encoding" } else { "content-encoding" };
    let encoding = head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let packed = if is_grpc { body.slice(5..) } else { body.clone() };
    let is_packed = if is_grpc { body[0] == 1 } else { encoding.is_some() };
    let mut plain = Vec::new();
    match encoding.as_deref().filter(|_| is_packed) {
        Some("gzip") => drop(flate2::read::GzDecoder::new(&*packed).read_to_end(&mut plain).unwrap()),
        Some("zstd") => plain = zstd::decode_all(&*packed).unwrap(),
        _ => plain = packed.to_vec(),
    }
    let mut book = book.lock().unwrap();
    book.seen.push(Seen { path: head.uri.path().to_owned(), headers: head.headers, body: plain.clone() });
    let refused = book.refuse.and_then(|refuse| refuse(&plain)).map(Answer::Status);
    Ok(match book.answers.pop_front().or(refused) {
        Some(Answer::Status(status)) => status.into_http(),
        Some(Answer::Http(status, after)) => {
            let mut response = Response::new(Body::default());
            *response.status_mut() = status.try_into().unwrap();
            if let Some(after) = after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(after));
            }
            response
        }
        Some(Answer::Message(message)) => {
            book.taken.push(plain);
            success(is_grpc, &message)
        }
        None => {
            book.taken.push(plain);
            success(is_grpc, b"")
        }
    })
}

fn success(is_grpc: bool, message: &[u8]) -> Response<Body> {
    let mut frame = BytesMut::new();
    let mut trailers = HeaderMap::new();
    if is_grpc {
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
    }
    frame.put_slice(message);
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let kind = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
