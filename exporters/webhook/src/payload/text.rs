//! The text of a message to people: one alarm in full, or a digest of many.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono_tz::Tz;
use serde_json::{Map, Value};
use weir_alarms::Message;
use weir_alarms::template_context::{insert, number};

use crate::alarm::Alarm;

/// Up to this many alarms are listed one by one; more are counted by rule.
const LISTED: usize = 10;
/// Rules in a digest, at most.
const RULES: usize = 20;
/// Subjects named for each rule of a digest.
const NAMED: usize = 5;
/// Characters of an alarm's text that a list of several shows.
const SHORT: usize = 300;

/// The parts of the text that the configuration decides.
#[derive(Clone, Debug)]
pub(crate) struct Wording {
    /// In place of what an alarm says by itself.
    pub(crate) text: Option<Message>,
    /// Where to look.
    pub(crate) link: Option<Message>,
    /// Of the times.
    pub(crate) zone: Tz,
}

/// A message: a title, and lines without markup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// A line of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// An address behind the text. Empty: none.
    pub(crate) link: String,
}

impl Line {
    fn text(text: impl Into<String>) -> Line {
        Line { text: text.into(), link: String::new() }
    }

    fn link(text: &str, link: impl Into<String>) -> Line {
        Line { text: text.to_owned(), link: link.into() }
    }
}

impl Wording {
    /// The message about these alarms.
    pub(crate) fn text(&self, alarms: &[Alarm]) -> Text {
        match alarms {
            [alarm] => self.single(alarm),
            _ => self.several(alarms),
        }
    }

    /// Where to look for this alarm, values percent-encoded.
    pub(crate) fn link(&self, alarm: &Alarm) -> Option<String> {
        let link = self.link.as_ref()?.render(|| context(alarm, &percent_encoded), String::new).text;
        Some(link).filter(|link| !link.is_empty())
    }

    fn single(&self, alarm: &Alarm) -> Text {
        let mut lines = Vec::new();
        match &self.text {
            Some(text) => {
                let text =
                    text.render(|| context(alarm, &str::to_owned), || alarm.text("message").to_owned());
                lines.extend(text.text.lines().map(Line::text));
            }
            None => {
                lines.extend(alarm.text("message").lines().map(Line::text));
                lines.extend(measured(alarm).map(Line::text));
                lines.push(Line::text(self.when(alarm)));
                match alarm.text("runbook") {
                    "" => {}
                    address if address.starts_with("https://") || address.starts_with("http://") => {
                        lines.push(Line::link("runbook: ", address));
                    }
                    runbook => lines.push(Line::text(format!("runbook: {runbook}"))),
                }
            }
        }
        lines.extend(self.link(alarm).map(|link| Line::link("", link)));
        Text { title: title(alarm), lines }
    }

    fn several(&self, alarms: &[Alarm]) -> Text {
        let firing = alarms.iter().filter(|alarm| alarm.is_firing()).count();
        let title = match (firing, alarms.len() - firing) {
            (firing, 0) => format!("{firing} alarms firing"),
            (0, resolved) => format!("{resolved} alarms resolved"),
            (firing, resolved) => format!("{} alarms: {firing} firing, {resolved} resolved", alarms.len()),
        };
        let lines = if alarms.len() <= LISTED { self.list(alarms) } else { digest(alarms) };
        Text { title, lines }
    }

    fn list(&self, alarms: &[Alarm]) -> Vec<Line> {
        let mut lines = Vec::new();
        for alarm in alarms {
            let said = match &self.text {
                Some(text) => text.render(|| context(alarm, &str::to_owned), String::new).text,
                None => alarm.text("message").to_owned(),
            };
            let said = shortened(&said.replace('\n', " "), SHORT);
            lines.push(Line::text(format!("[{}] {}: {said}", level(alarm), alarm.text("rule"))));
            lines.extend(self.link(alarm).map(|link| Line::link("", link)));
        }
        lines
    }

    fn when(&self, alarm: &Alarm) -> String {
        let at = |ms: i64| {
            let time = DateTime::from_timestamp_millis(ms).map(|time| time.with_timezone(&self.zone));
            time.map(|time| time.format("%Y-%m-%d %H:%M:%S %Z").to_string()).unwrap_or_default()
        };
        let (start, end) = (alarm.starts_at(), alarm.ends_at());
        if alarm.is_firing() {
            return format!("since {}", at(start));
        }
        let lasted = (end.saturating_sub(start).max(0) as f64) * 1e6;
        format!("from {} to {} ({})", at(start), at(end), duration(lasted))
    }
}

/// `[high] slow: pay, /pay`.
pub(crate) fn title(alarm: &Alarm) -> String {
    let subject: Vec<&str> = alarm.subject().into_iter().map(|(_, value)| value).collect();
    let title = format!("[{}] {}: {}", level(alarm), alarm.text("rule"), subject.join(", "));
    shortened(title.trim_end_matches(": "), SHORT)
}

fn level(alarm: &Alarm) -> &str {
    if alarm.is_firing() { alarm.text("severity") } else { "resolved" }
}

/// `max_duration_ns is 2.5 s, the limit is 2 s`.
fn measured(alarm: &Alarm) -> Option<String> {
    let measure = alarm.text("measure");
    let show = |value: f64| {
        if measure.ends_with("_ns") { duration(value) } else { number(Some(value)).to_string() }
    };
    let value = show(alarm.number("value")?);
    let name = if measure.is_empty() { "the value" } else { measure };
    Some(match alarm.number("threshold") {
        Some(threshold) => format!("{name} is {value}, the limit is {}", show(threshold)),
        None => format!("{name} is {value}"),
    })
}

/// Counts by state, severity and rule, the worst first, with some of the subjects.
fn digest(alarms: &[Alarm]) -> Vec<Line> {
    let mut rules: BTreeMap<(bool, usize, &str), Vec<&Alarm>> = BTreeMap::new();
    for alarm in alarms {
        let rank = ["high", "mid", "low"].iter().position(|name| *name == alarm.text("severity"));
        let key = (!alarm.is_firing(), rank.unwrap_or(3), alarm.text("rule"));
        rules.entry(key).or_default().push(alarm);
    }
    let mut lines = Vec::new();
    for ((_, _, rule), alarms) in rules.iter().take(RULES) {
        let named = alarms.iter().take(NAMED).map(|alarm| {
            let subject: Vec<&str> = alarm.subject().into_iter().map(|(_, value)| value).collect();
            subject.join(" ")
        });
        let mut named = named.collect::<Vec<_>>().join(", ");
        if alarms.len() > NAMED {
            named = format!("{named} and {} more", alarms.len() - NAMED);
        }
        let level = alarms.first().map_or("", |alarm| level(alarm));
        let line = format!("[{level}] {rule}, {} times: {named}", alarms.len());
        lines.push(Line::text(shortened(&line, SHORT)));
    }
    if rules.len() > RULES {
        let more: usize = rules.values().skip(RULES).map(Vec::len).sum();
        lines.push(Line::text(format!("and {more} alarms of {} more rules", rules.len() - RULES)));
    }
    lines
}

/// The names that templates know: the alarm's fields and its labels, texts as `encode` makes them.
pub(crate) fn context(alarm: &Alarm, encode: &dyn Fn(&str) -> String) -> Map<String, Value> {
    let mut context = Map::new();
    for (name, value) in alarm.fields() {
        insert(&mut context, name, encoded(value, encode));
    }
    for (name, value) in alarm.map("labels") {
        insert(&mut context, name, encode(value).into());
    }
    context
}

fn encoded(value: &Value, encode: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => encode(text).into(),
        Value::Array(items) => items.iter().map(|item| encoded(item, encode)).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(name, value)| (name.clone(), encoded(value, encode))).collect()
        }
        Value::Number(value) if value.is_f64() => number(value.as_f64()),
        other => other.clone(),
    }
}

/// As a part of a URL or a form (RFC 3986).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A character of a URL, whatever it is.
pub(crate) fn every_byte(c: char) -> String {
    c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// At most this many characters.
fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// At most this many bytes, whole characters, `…` where it was cut.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

/// Nanoseconds in the unit that suits people.
fn duration(ns: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match ns.abs() {
        ns_ if ns_ >= 60e9 => {
            let minutes = (ns / 60e9).floor();
            let seconds = ((ns - minutes * 60e9) / 1e9).round();
            format!("{minutes} min {seconds} s")
        }
        ns_ if ns_ >= 1e9 => format!("{} s", short(ns / 1e9)),
        ns_ if ns_ >= 1e6 => format!("{} ms", short(ns / 1e6)),
        ns_ if ns_ >= 1e3 => format!("{} µs", short(ns / 1e3)),
        _ => format!("{} ns", short(ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_suits() {
        for (ns, shown) in [
            (2.5e9, "2.5 s"),
            (350e6, "350 ms"),
            (1.25e3, "1.25 µs"),
            (12.0, "12 ns"),
            (0.0, "0 ns"),
            (425e9, "7 min 5 s"),
        ] {
            assert_eq!(duration(ns), shown);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("超时超时".to_owned(), 12), "超时超时");
        assert_eq!(cut("超时超时".to_owned(), 11), "超时…");
        assert_eq!(cut("超时超时".to_owned(), 9), "超时…");
    }

    #[test]
    fn a_part_of_a_url_has_no_characters_that_end_it() {
        assert_eq!(percent_encoded("/a b&c=支~"), "%2Fa%20b%26c%3D%E6%94%AF~");
    }
}
