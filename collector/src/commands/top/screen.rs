//! The picture of `weir top`.

use std::cmp::Ordering;
use std::fmt::Write;

use super::service::{Order, Service};
use crate::commands::printable::printable;

/// Longer names are cut.
const NAME: usize = 40;

/// What was seen at one look.
pub(super) struct Screen {
    pub(super) source: String,
    /// Nanoseconds since 1970.
    pub(super) now: i64,
    pub(super) newest: Option<i64>,
    pub(super) window_seconds: u64,
    pub(super) services: Vec<Service>,
    /// Why the last look failed. The rest is of the one before.
    pub(super) failure: Option<String>,
}

/// The lines: where it is from and how old, and a line for each service.
pub(super) fn draw(screen: &Screen, order: Order, rows: usize) -> String {
    let mut text = format!("{}  ", printable(&screen.source));
    match screen.newest {
        Some(newest) => {
            let age = screen.now.saturating_sub(newest) / 1_000_000_000;
            let _ =
                writeln!(text, "{} s before the newest span, which is {age} s old", screen.window_seconds);
        }
        None => text += "no spans in the last hour\n",
    }
    if let Some(failure) = &screen.failure {
        let _ = writeln!(text, "not renewed: {}", printable(failure));
    }
    let mut services: Vec<&Service> = screen.services.iter().collect();
    services.sort_by(|a, b| compare(a, b, order));
    let shown = services.iter().take(rows).map(|service| cells(service, screen.window_seconds));
    let header = ["SERVICE", "REQUESTS/s", "ERRORS", "P50", "P99", "SPANS/s"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(header).chain(shown).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    for line in &lines {
        let [name, numbers @ ..] = line;
        let _ = write!(text, "{name:<width$}", width = widths[0]);
        for (number, width) in numbers.iter().zip(&widths[1..]) {
            let _ = write!(text, "  {number:>width$}");
        }
        text.push('\n');
    }
    if services.len() > rows {
        let _ = writeln!(text, "… {} more", services.len() - rows);
    }
    text
}

/// Which service comes first; equal ones by name.
fn compare(a: &Service, b: &Service, order: Order) -> Ordering {
    let descending = |of: fn(&Service) -> f64| of(b).total_cmp(&of(a));
    let first = match order {
        Order::Rate => b.requests.cmp(&a.requests).then(b.spans.cmp(&a.spans)),
        Order::Errors => descending(error_ratio),
        Order::P99 => descending(|service| service.p99.unwrap_or(-1.0)),
        Order::Name => Ordering::Equal,
    };
    first.then_with(|| a.service.cmp(&b.service))
}

/// Failed requests of all requests; below 0 where there are none.
fn error_ratio(service: &Service) -> f64 {
    if service.requests == 0 { -1.0 } else { service.errors as f64 / service.requests as f64 }
}

fn cells(service: &Service, window_seconds: u64) -> [String; 6] {
    let a_second = |count: u64| format!("{:.1}", count as f64 / window_seconds as f64);
    let name = printable(service.service.as_deref().unwrap_or_default());
    let name = match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None if name.is_empty() => "(none)".to_owned(),
        None => name,
    };
    let ratio = error_ratio(service);
    let errors = if ratio < 0.0 { "-".to_owned() } else { format!("{:.1} %", ratio * 100.0) };
    let [p50, p99] = [service.p50, service.p99].map(|ns| ns.map_or_else(|| "-".to_owned(), duration));
    [name, a_second(service.requests), errors, p50, p99, a_second(service.spans)]
}

/// Nanoseconds in the unit that people would use.
fn duration(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.0} µs", ns / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, requests: u64, errors: u64, p99: Option<f64>) -> Service {
        let spans = requests + 60;
        Service {
            service: Some(name.to_owned()),
            spans,
            requests,
            errors,
            p50: p99.map(|p99| p99 / 2.0),
            p99,
        }
    }

    fn screen(services: Vec<Service>) -> Screen {
        Screen {
            source: "here".to_owned(),
            now: 100_000_000_000,
            newest: Some(97_500_000_000),
            window_seconds: 60,
            services,
            failure: None,
        }
    }

    #[test]
    fn services_are_drawn_in_the_order_that_was_asked_for() {
        let services = vec![
            service("cart", 600, 6, Some(2_500_000.0)),
            service("batch", 0, 0, None),
            service("pay\u{1b}[2J", 30, 15, Some(1_250_000_000.0)),
        ];
        let screen = screen(services);
        let header = "here  60 s before the newest span, which is 2 s old\n";
        let by_rate = "\
SERVICE  REQUESTS/s  ERRORS       P50     P99  SPANS/s
cart           10.0   1.0 %    1.2 ms  2.5 ms     11.0
pay�[2J         0.5  50.0 %  625.0 ms  1.25 s      1.5
batch           0.0       -         -       -      1.0
";
        assert_eq!(draw(&screen, Order::Rate, 20), format!("{header}{by_rate}"));
        let names = |order, rows| -> Vec<String> {
            let drawn = draw(&screen, order, rows);
            drawn.lines().skip(2).map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(Order::Errors, 20), ["pay�[2J", "cart", "batch"]);
        assert_eq!(names(Order::P99, 20), ["pay�[2J", "cart", "batch"]);
        assert_eq!(names(Order::Name, 2), ["batch", "cart", "…"]);
    }

    #[test]
    fn nothing_to_see_and_a_failed_look_are_said() {
        let mut screen = screen(Vec::new());
        screen.newest = None;
        screen.failure = Some("no answer".to_owned());
        let drawn = draw(&screen, Order::Rate, 20);
        assert!(
            drawn.starts_with("here  no spans in the last hour\nnot renewed: no answer\nSERVICE"),
            "{drawn}"
        );
    }
}
