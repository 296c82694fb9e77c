//! Addresses of brokers: the setting `brokers`.

/// The faults in these addresses: the key, and why. Each is `host:port` or `host`; nothing is connected.
#[must_use]
pub fn broker_problems(brokers: &[String]) -> Vec<(String, String)> {
    if brokers.is_empty() {
        let why = "name at least one broker, for example `localhost:9092`";
        return vec![("brokers".to_owned(), why.to_owned())];
    }
    let each = brokers.iter().enumerate();
    each.filter_map(|(index, broker)| Some((format!("brokers[{index}]"), problem(broker)?))).collect()
}

fn problem(broker: &str) -> Option<String> {
    if broker.trim().is_empty() {
        return Some("is empty; write `host:port`".to_owned());
    }
    if broker.contains([',', ';']) || broker.trim().contains(char::is_whitespace) {
        let all = broker.split([',', ';', ' ', '\t', '\n', '\r']).filter(|one| !one.is_empty());
        let list: Vec<String> = all.map(|one| format!("\"{one}\"")).collect();
        return Some(format!("has several brokers in one text; write `brokers: [{}]`", list.join(", ")));
    }
    if let Some((scheme, rest)) = broker.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Some(format!(
            "has the scheme `{scheme}`; write `{rest}`: encryption and login follow from `tls` and `sasl`"
        ));
    }
    let (host, port) = match broker.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // An IPv6 address.
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match broker.trim().split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (broker.trim(), None),
        },
    };
    if host.is_empty() || host.contains(['/', '@']) {
        return Some(format!("`{broker}` has no host; write `host:port`"));
    }
    let right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (!right).then(|| format!("`{broker}` has no port from 1 to 65535 behind the host; write `host:port`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(brokers: &[&str]) -> Vec<(String, String)> {
        broker_problems(&brokers.iter().map(|broker| (*broker).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn hosts_with_and_without_ports_are_taken() {
        let none: Vec<(String, String)> = Vec::new();
        assert_eq!(
            problems(&["kafka-1:9092", "kafka", "10.0.0.1:9093", "[::1]:9092", "[fe80::1]", " a:1 "]),
            none
        );
    }

    #[test]
    fn what_is_no_address_is_told_with_what_would_be_right() {
        for (broker, part) in [
            ("kafka://kafka-1:9092", "write `kafka-1:9092`"),
            ("http://kafka-1:9092/", "write `kafka-1:9092`"),
            ("a:9092,b:9092", r#"write `brokers: ["a:9092", "b:9092"]`"#),
            ("a:9092, b:9092", r#"write `brokers: ["a:9092", "b:9092"]`"#),
            ("a:9092 b:9092", r#"write `brokers: ["a:9092", "b:9092"]`"#),
            ("", "is empty"),
            ("a:http", "no port"),
            ("a:99999", "no port"),
            ("a:", "no port"),
            (":9092", "no host"),
            ("[::1]9:2", "no port"),
        ] {
            let found = problems(&["good:9092", broker]);
            assert_eq!(found.len(), 1, "{broker}: {found:?}");
            assert!(found[0].0 == "brokers[1]" && found[0].1.contains(part), "{broker}: {found:?}");
        }
        assert_eq!(problems(&[])[0].0, "brokers");
    }
}
