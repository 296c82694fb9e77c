//! The meaning of the windows of a configuration, as a short text.
//!
//! It is part of the committed watermark and of the identity of every window, so that windows of two meanings
//! are never taken for the same. It covers everything that decides the contents of a row: the kind of window
//! and its lengths, `time`, `where`, `group_by`, `measures` and `signals`. It does not cover the time of
//! firing, the late events that a window still takes, and memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_pdata::{Fnv, Signal};

use crate::window::{Slices, Windows};

/// The parts of a configuration that make the meaning.
#[derive(Clone, Copy)]
pub(crate) struct Meaning<'a> {
    /// The windows.
    pub(crate) window: &'a Windows,
    /// The column of event times.
    pub(crate) time: &'a str,
    /// The condition as written.
    pub(crate) condition: Option<&'a str>,
    /// How often an event counts, as written.
    pub(crate) weight: Option<&'a str>,
    /// Which events succeed, as written.
    pub(crate) success: Option<&'a str>,
    /// The columns of a group.
    pub(crate) group_by: &'a [String],
    /// The named measures as written.
    pub(crate) measures: &'a BTreeMap<String, String>,
    /// The signals that are read.
    pub(crate) signals: &'a [Signal],
}

impl Meaning<'_> {
    /// Eight hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> Arc<str> {
        let mut hash = Hash::default();
        hash.part(&window(self.window));
        hash.part(self.time);
        hash.list(self.condition.iter().map(|text| text.trim()));
        hash.list(self.group_by.iter().map(String::as_str));
        hash.list(self.measures.iter().flat_map(|(name, text)| [name.as_str(), text.trim()]));
        let mut signals: Vec<String> = self.signals.iter().map(Signal::to_string).collect();
        signals.sort_unstable();
        hash.list(signals.iter().map(String::as_str));
        // Without it the text is that of versions that did not know it.
        if let Some(weight) = self.weight {
            hash.part(weight.trim());
        }
        if let Some(success) = self.success {
            hash.list(["success", success.trim()].into_iter());
        }
        hash.text()
    }
}

fn window(window: &Windows) -> String {
    match window {
        Windows::Event(slices) => format!("event {}", places(slices)),
        Windows::Processing(slices) => format!("processing {}", places(slices)),
        Windows::Session { gap, longest } => format!("session {gap} {longest}"),
    }
}

fn places(slices: &Slices) -> String {
    match slices {
        Slices::Tumbling { size, offset } => format!("tumbling {size} {offset}"),
        Slices::Days(days) => format!("days {}", days.written()),
        Slices::Sliding { size, slide, offset, .. } => format!("sliding {size} {slide} {offset}"),
    }
}

#[derive(Default)]
struct Hash(Fnv);

impl Hash {
    /// Adds a text and its length, so that no two lists of texts run into the same.
    fn part(&mut self, text: &str) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes();
        self.0 = self.0.and(length).and(text.bytes());
    }

    fn text(&self) -> Arc<str> {
        let hash = self.0.get();
        Arc::from(format!("{:08x}", (hash ^ hash >> 32) & 0xffff_ffff))
    }

    fn list<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let texts: Vec<&str> = texts.collect();
        self.part(&texts.len().to_string());
        texts.into_iter().for_each(|text| self.part(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_meanings_apart_and_stays_the_same_from_run_to_run() {
        let seven = Windows::Event(Slices::tumbling(7000, 0));
        let none = BTreeMap::new();
        let slow = BTreeMap::from([("slow".to_owned(), " count() ".to_owned())]);
        let groups = ["service".to_owned(), "operation".to_owned()];
        let meaning = Meaning {
            window: &seven,
            time: "end_time",
            condition: Some("kind = 'server'"),
            weight: None,
            success: None,
            group_by: &groups,
            measures: &none,
            signals: &[Signal::Traces],
        };
        // A constant: a program that gives another one leaves out windows after an upgrade.
        assert_eq!(&*meaning.fingerprint(), "82e00a3e");
        let windows = [
            Windows::Event(Slices::tumbling(8000, 0)),
            Windows::Event(Slices::tumbling(7000, 1000)),
            Windows::Event(Slices::sliding(7000, 1000, 0)),
            Windows::Processing(Slices::tumbling(7000, 0)),
            Windows::Event(Slices::days(chrono_tz::Asia::Shanghai, 1, 0)),
            Windows::Event(Slices::days(chrono_tz::Europe::Paris, 1, 0)),
            Windows::Session { gap: 7000, longest: 86_400_000 },
            Windows::Session { gap: 7000, longest: 3_600_000 },
        ];
        let mut all: Vec<Arc<str>> =
            windows.iter().map(|window| Meaning { window, ..meaning }.fingerprint()).collect();
        all.push(Meaning { time: "time", ..meaning }.fingerprint());
        all.push(Meaning { condition: None, ..meaning }.fingerprint());
        all.push(Meaning { condition: Some("kind = 'client'"), ..meaning }.fingerprint());
        all.push(Meaning { group_by: &groups[..1], ..meaning }.fingerprint());
        all.push(Meaning { measures: &slow, ..meaning }.fingerprint());
        all.push(Meaning { weight: Some("n"), ..meaning }.fingerprint());
        all.push(Meaning { success: Some("n"), ..meaning }.fingerprint());
        all.push(Meaning { signals: &[Signal::Traces, Signal::Logs], ..meaning }.fingerprint());
        all.push(meaning.fingerprint());
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        let signals = [Signal::Logs, Signal::Traces];
        assert!(all.contains(&Meaning { signals: &signals, ..meaning }.fingerprint()), "in any order");
    }
}
