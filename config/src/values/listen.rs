//! Addresses that a server listens on.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Checks that this is an address a server can listen on: `host:port`, `1.2.3.4:port` or `[::1]:port`.
///
/// # Errors
/// The fault and its remedy, with this port.
pub fn check_listen(address: &str, port: u16) -> Result<(), String> {
    let wrong = |right: &str| Err(format!("`{address}` is no address to listen on; {right}"));
    let right = format!(
        "write `host:port`, such as `127.0.0.1:{port}`, or `0.0.0.0:{port}` to be reached from other machines"
    );
    if let Some((_, rest)) = address.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return wrong(&format!(
            "it has a scheme: write `{}`",
            if host.contains(':') { host.to_owned() } else { format!("127.0.0.1:{port}") }
        ));
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        return wrong(&format!("an IPv6 address needs brackets and a port: write `[{address}]:{port}`"));
    }
    if address.bytes().all(|byte| byte.is_ascii_digit()) {
        return match address.parse::<u16>() {
            Ok(_) => wrong(&format!(
                "it is only a port: write `127.0.0.1:{address}`, or `0.0.0.0:{address}` to be reached from other machines"
            )),
            Err(_) => wrong(&right),
        };
    }
    let Some((host, its_port)) = address.rsplit_once(':') else {
        return wrong(&format!("it has no port: write `{address}:{port}`"));
    };
    if its_port.parse::<u16>().is_err() || its_port.starts_with('+') {
        return wrong("its port is not a number up to 65535");
    }
    if host.is_empty() {
        return wrong(&format!(
            "it has no host: write `0.0.0.0{address}` to be reached from other machines, or `127.0.0.1{address}`"
        ));
    }
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    // Of digits and dots only an address is made: `127.0.0.256` is no name.
    let numbers = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_ipv6 || (is_name && (!numbers || host.parse::<Ipv4Addr>().is_ok())) {
        Ok(())
    } else {
        wrong(&right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_has_a_host_and_a_port() {
        for good in [
            "127.0.0.1:8888",
            "0.0.0.0:0",
            "localhost:8888",
            "[::1]:8888",
            "gw-1.example.org:1",
            "my_host:65535",
        ] {
            assert_eq!(check_listen(good, 8888), Ok(()), "{good}");
        }
        for (bad, right) in [
            ("8888", "write `127.0.0.1:8888`, or `0.0.0.0:8888`"),
            (":8888", "write `0.0.0.0:8888`"),
            ("localhost", "write `localhost:8888`"),
            ("http://localhost:8888/metrics", "write `localhost:8888`"),
            ("::1", "write `[::1]:8888`"),
            ("::1:8888", "needs brackets"),
            ("localhost:metrics", "not a number up to 65535"),
            ("localhost:65536", "not a number up to 65535"),
            ("localhost:", "not a number up to 65535"),
            ("127.0.0.256:8888", "write `host:port`"),
            ("1.2.3:8888", "write `host:port`"),
            ("local host:8888", "write `host:port`"),
            ("localhost/metrics:8888", "write `host:port`"),
            ("99999", "write `host:port`"),
        ] {
            let why = check_listen(bad, 8888).unwrap_err();
            assert!(why.contains(right) && why.contains(bad), "{bad}: {why}");
        }
    }
}
