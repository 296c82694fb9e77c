//! An authority and certificates made with `openssl`, an HTTPS server that they are for, and a proxy. For the
//! tests of exporters.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslVerifyMode};

/// A folder with `ca.pem`, and `server` and `client` as `.pem` and `.key`.
pub struct Certificates(PathBuf);

impl Certificates {
    /// Makes new ones in a folder of this name in the system's folder for temporary files.
    pub fn make(name: &str) -> Certificates {
        let folder = std::env::temp_dir().join(format!("weir-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let openssl = |command: &str| {
            let done =
                Command::new("openssl").args(command.split(' ')).current_dir(&folder).output().unwrap();
            assert!(done.status.success(), "openssl {command}: {}", String::from_utf8_lossy(&done.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=bank-ca"));
        std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        for who in ["server", "client"] {
            openssl(&format!("req {key} -keyout {who}.key -out {who}.csr -subj /CN={who}"));
            openssl(&format!(
                "x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {who}.pem"
            ));
        }
        Certificates(folder)
    }

    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }
}

/// A server's view of each request: its head, and the name in the client's certificate.
pub type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// An HTTPS server that asks for a client's certificate if `strict`, and answers each request with what
/// `answer` gives for its body. Gives its port.
pub fn https_server(
    certificates: &Certificates,
    strict: bool,
    answer: fn(&str) -> &'static str,
) -> (u16, Seen) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate_chain_file(certificates.folder().join("server.pem")).unwrap();
    acceptor.set_private_key_file(certificates.folder().join("server.key"), SslFiletype::PEM).unwrap();
    if strict {
        acceptor.set_ca_file(certificates.folder().join("ca.pem")).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    let acceptor = Arc::new(acceptor.build());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let book = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (acceptor, book) = (acceptor.clone(), book.clone());
            std::thread::spawn(move || {
                // A client that does not trust the server ends the connection: that is what is tested.
                let Ok(mut stream) = acceptor.accept(stream) else { return };
                let name = stream.ssl().peer_certificate().map(|certificate| {
                    let mut names = certificate.subject_name().entries();
                    names.next().unwrap().data().to_string().unwrap()
                });
                while let Some((head, body)) = request(&mut stream) {
                    let answer = answer(&body);
                    book.lock().unwrap().push((head, name.clone()));
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, seen)
}

/// The head and body of the next request; `None` at the end.
fn request(stream: &mut impl Read) -> Option<(String, String)> {
    let head = head(stream)?;
    let lower = head.to_lowercase();
    let mut body = Vec::new();
    if let Some((_, length)) = lower.split_once("content-length: ") {
        body.resize(length.lines().next()?.trim().parse().ok()?, 0);
        stream.read_exact(&mut body).ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            body.push(byte[0]);
        }
    }
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A proxy that makes tunnels for who logs in as `weir` with `s3cret`. Gives its port, and the heads of the
/// requests that it saw.
pub fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let book = seen.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let book = book.clone();
            std::thread::spawn(move || {
                let Some(head) = head(&mut client) else { return };
                book.lock().unwrap().push(head.clone());
                // `weir:s3cret`.
                if !head.to_lowercase().contains("proxy-authorization: basic d2vpcjpzm2nyzxq=") {
                    let _ = client.write_all(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
                    );
                    return;
                }
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
                let mut target = TcpStream::connect(target).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut back, mut forth) = (target.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
                let _ = std::io::copy(&mut client, &mut target);
            });
        }
    });
    (port, seen)
}
