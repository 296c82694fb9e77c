//! The text that is committed with a position.
//!
//! JSON with short keys, so that it can be read with any Kafka tool and stays below Kafka's limit of 4,096
//! bytes; in one line:
//! ```json
//! {"v":1,"g":3,"i":0,"x":{"main/clickhouse":5000},"p":{"main/clickhouse":6000},
//!  "w":{"main/aggregate#9f31c2d4":1763700000000}}
//! ```
//! `v` version; `g` owners before; `i` incarnation of the topic; `x` per sink the position up to which
//! events were exported; `p` per sink the end of the range that is being exported; `s` per sink the part of
//! that range, when it is exported in parts (see [`Split`](super::Split); at most some 280 bytes); `w` per
//! operator the watermark up to which windows are delivered. What follows `#` is a fingerprint of what the
//! operator's windows mean; earlier programs wrote none. What follows `+` says who had a share in them: the
//! lanes that began with this one (the text of `k` at that time), and those of other receivers after `~`.
//! `t` the topic's id; `e` the latest epoch of the leaders under which what was read had been written; `r`
//! the positions from which on positions were reused, and how often each; `n` how many lanes the input had
//! when its first owner began; `k` another text whenever lanes begin that make windows together; `c` the
//! incarnation of each input of the receiver, when it has several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rewritten::Rewritten;

/// The longest text that Kafka keeps with an offset, by default (`offset.metadata.max.bytes`).
pub const MAX_BYTES: usize = 4096;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Between the name of an operator and the fingerprint of its configuration.
const FINGERPRINT: char = '#';

/// Between that and the fingerprint of the inputs.
const INPUTS: char = '+';

/// The name of an operator without the fingerprint, and the fingerprint.
pub(super) fn operator_of(name: &str) -> (&str, Option<&str>) {
    let Some((operator, rest)) = name.split_once(FINGERPRINT) else { return (name, None) };
    (operator, Some(rest.split_once(INPUTS).map_or(rest, |(fingerprint, _)| fingerprint)))
}

/// Who had a share, in the name of an operator.
pub(super) fn inputs_of(name: &str) -> Option<&str> {
    Some(name.split_once(FINGERPRINT)?.1.split_once(INPUTS)?.1)
}

/// Between the sets of several receivers that had a share in windows.
pub(crate) const AND: char = '~';

/// Between the set of a lane and those of its earlier owners.
const BEFORE: char = '<';

/// The most sets of earlier owners that are kept.
const KEPT_SETS: usize = 8;

/// Whether one of these sets of a lane is among those that had a share.
#[must_use]
pub fn had_a_share(sharers: &str, sets: &str) -> bool {
    sets.split(BEFORE).any(|set| sharers.split(AND).any(|sharer| sharer == set))
}

/// The known facts about a lane beside its position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The version of the text. [`encode`](Self::encode) sets it.
    #[serde(rename = "v")]
    pub version: u32,
    /// How often the lane has had an owner.
    #[serde(rename = "g", default)]
    pub generation: u32,
    /// How often positions have restarted (the topic was created again). Part of every identity.
    #[serde(rename = "i", default)]
    pub incarnation: u32,
    /// Per sink: events before this position have been exported.
    #[serde(rename = "x", default)]
    pub exported: BTreeMap<String, i64>,
    /// Per sink: the range from `exported` to this position may have been exported.
    #[serde(rename = "p", default)]
    pub pending: BTreeMap<String, i64>,
    /// Per sink: the part of the pending range that may have been exported, after those before it; a
    /// [`Split`](super::Split).
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub splits: BTreeMap<String, String>,
    /// Per operator: windows that are over at this watermark have been delivered.
    #[serde(rename = "w", default)]
    pub windows: BTreeMap<String, i64>,
    /// The identity of the input, whatever its name: another one when it was created again.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How many lanes the input had when its first owner began: those above it that nothing is written down
    /// for have appeared since.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<i32>,
    /// Nothing that was read had been written under a leader of a later epoch.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i32>,
    /// The input lost its last records, and positions were used again.
    #[serde(rename = "r", default, skip_serializing_if = "Rewritten::is_empty")]
    pub rewritten: Rewritten,
    /// The lanes that make windows together with this one, since they began. Whenever they begin again it is
    /// another text. Behind it, after `<`, those of earlier owners, until a mark of this one is written down.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Inputs whose windows are added to those of this lane: the incarnation of each in the lower 32 bits,
    /// and above them how often it was created again since it was first read.
    #[serde(rename = "c", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub incarnations: BTreeMap<String, u64>,
}

/// The text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version of Weir wrote it.
    #[error("the metadata of the committed offset is not of this version of Weir: {0}")]
    Version(String),
    /// Another program wrote it.
    #[error("the metadata of the committed offset is another program's: {0}")]
    Foreign(String),
}

impl Metadata {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let written = Metadata { version: VERSION, ..self.clone() };
        // A map of texts and numbers always becomes JSON.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads a text. `None` when there is none: another tool set the position, and nothing is known beside
    /// it.
    ///
    /// # Errors
    /// When the text is another program's, or another version's.
    pub fn decode(text: &str) -> Result<Option<Metadata>, Unreadable> {
        if text.is_empty() {
            return Ok(None);
        }
        let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
        if json.is_none_or(|json| json.get("v").and_then(serde_json::Value::as_u64).is_none()) {
            return Err(Unreadable::Foreign(format!("{text:.200}")));
        }
        let unreadable = |why: String| Unreadable::Version(format!("{why}: {text:.200}"));
        let read: Metadata = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if read.version != VERSION {
            return Err(unreadable(format!("version {} instead of {VERSION}", read.version)));
        }
        Ok(Some(read))
    }

    /// The operators of a pipeline with their fingerprints, and the watermarks up to which their windows have
    /// been delivered.
    pub fn windows_of(&self, pipeline: &str) -> impl Iterator<Item = (&str, i64)> {
        let all = self.windows.iter();
        all.filter_map(move |(name, mark)| Some((name.strip_prefix(pipeline)?.strip_prefix('/')?, *mark)))
    }

    /// Puts down the watermark of an operator of a pipeline, and who had a share. What an earlier
    /// configuration of it had is forgotten then.
    pub(super) fn set_window(
        &mut self,
        pipeline: &str,
        operator: &str,
        fingerprint: Option<&str>,
        (mark, inputs): (i64, Option<&str>),
    ) {
        let plain = format!("{pipeline}/{operator}");
        let name = match fingerprint {
            Some(fingerprint) => format!("{plain}{FINGERPRINT}{fingerprint}"),
            None => plain.clone(),
        };
        // A mark without a fingerprint is of the configuration that goes on from it.
        let is_same = |other: &str| {
            let (operator, meaning) = operator_of(other);
            operator == plain && (meaning.is_none() || meaning == fingerprint)
        };
        let known = self.windows.iter().filter(|(other, _)| is_same(other)).max_by_key(|(_, mark)| **mark);
        let known = known.map(|(other, known)| (inputs_of(other).map(str::to_owned), *known));
        let (inputs, mark) = match known {
            Some((inputs, known)) if known > mark => (inputs, known),
            _ => (inputs.map(str::to_owned), mark),
        };
        self.windows.retain(|other, _| operator_of(other).0 != plain);
        let inputs = inputs.filter(|_| fingerprint.is_some());
        let name = inputs.map_or_else(|| name.clone(), |inputs| format!("{name}{INPUTS}{inputs}"));
        self.windows.insert(name, mark);
    }

    /// Takes over the marks of windows in which this lane had a share, from the metadata of lanes that were
    /// in its [set](Self::set): its own may not have been written down with theirs.
    pub fn share_marks<'a>(&mut self, others: impl Iterator<Item = &'a Metadata>) {
        let Some(sets) = self.set.clone() else { return };
        for (name, mark) in others.flat_map(|other| &other.windows) {
            if !inputs_of(name).is_some_and(|sharers| had_a_share(sharers, &sets)) {
                continue;
            }
            let plain = operator_of(name).0;
            let own = self.windows.iter().filter(|(known, _)| operator_of(known).0 == plain);
            if own.map(|(_, mark)| *mark).max() < Some(*mark) {
                self.windows.retain(|known, _| operator_of(known).0 != plain);
                self.windows.insert(name.clone(), *mark);
            }
        }
    }

    /// The lane is of this set now. Those of earlier owners still count until a mark of this one is written
    /// down: others of them may have written down more.
    pub(super) fn begin_set(&mut self, set: Option<&str>, before: Option<&str>) {
        let is_marked =
            |set| self.windows.keys().any(|name| inputs_of(name).is_some_and(|all| had_a_share(all, set)));
        let before =
            before.filter(|_| !set.is_some_and(is_marked)).into_iter().flat_map(|sets| sets.split(BEFORE));
        self.set = set.map(|set| {
            let sets: Vec<&str> = std::iter::once(set).chain(before).take(KEPT_SETS).collect();
            sets.join(&BEFORE.to_string())
        });
    }

    /// The range that `sink` was about to export.
    #[must_use]
    pub fn pending(&self, sink: &str) -> Option<std::ops::Range<i64>> {
        let (from, to) = (self.exported.get(sink)?, self.pending.get(sink)?);
        (from < to).then_some(*from..*to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Metadata {
        Metadata {
            version: VERSION,
            generation: 3,
            incarnation: 1,
            exported: BTreeMap::from([("main/clickhouse".to_owned(), 5000)]),
            pending: BTreeMap::from([("main/clickhouse".to_owned(), 6000)]),
            windows: BTreeMap::from([("main/aggregate".to_owned(), 1_763_700_000_000)]),
            ..Metadata::default()
        }
    }

    #[test]
    fn texts_with_and_without_a_split_are_read() {
        let before = r#"{"v":1,"g":3,"i":1,"x":{"main/clickhouse":5000},"p":{"main/clickhouse":6000},"w":{"main/aggregate":1763700000000}}"#;
        assert_eq!(Metadata::decode(before).unwrap(), Some(example()));
        assert_eq!(example().encode(), before, "as short as ever");
        let splits = BTreeMap::from([("main/clickhouse".to_owned(), "0-25/1000:AB".to_owned())]);
        let split = Metadata { splits, ..example() };
        assert_eq!(Metadata::decode(&split.encode()).unwrap(), Some(split));
    }

    #[test]
    fn what_is_written_is_read_and_short() {
        let text = example().encode();
        assert_eq!(Metadata::decode(&text).unwrap(), Some(example()));
        assert!(text.len() < 120, "{text}");
        assert_eq!(example().pending("main/clickhouse"), Some(5000..6000));
        assert_eq!(example().pending("main/file"), None);
    }

    #[test]
    fn a_mark_of_another_configuration_is_forgotten_once_there_is_one_of_this() {
        let mut metadata = example();
        metadata.windows.insert("main/aggregate/other".to_owned(), 1);
        metadata.set_window("main", "aggregate", Some("aa"), (5, None));
        let marks = |metadata: &Metadata| {
            metadata.windows.iter().map(|(name, mark)| (name.clone(), *mark)).collect::<Vec<_>>()
        };
        let other = ("main/aggregate/other".to_owned(), 1);
        // The one without a fingerprint was of the same configuration, as far as anybody knows.
        let first = ("main/aggregate#aa".to_owned(), 1_763_700_000_000);
        assert_eq!(marks(&metadata), [first, other.clone()]);
        metadata.set_window("main", "aggregate", Some("bb"), (7, None));
        assert_eq!(marks(&metadata), [("main/aggregate#bb".to_owned(), 7), other]);
    }

    #[test]
    fn the_inputs_of_several_are_written_with_the_mark_that_they_shared() {
        let mut metadata = Metadata::default();
        let names = |metadata: &Metadata| metadata.windows.keys().cloned().collect::<Vec<_>>();
        metadata.set_window("main", "aggregate", Some("aa"), (5, Some("12")));
        assert_eq!(names(&metadata), ["main/aggregate#aa+12"]);
        let name = &names(&metadata)[0];
        assert_eq!((operator_of(name), inputs_of(name)), (("main/aggregate", Some("aa")), Some("12")));
        metadata.set_window("main", "aggregate", Some("aa"), (4, None));
        assert_eq!(metadata.windows, BTreeMap::from([("main/aggregate#aa+12".to_owned(), 5)]), "it is later");
        metadata.set_window("main", "aggregate", Some("aa"), (6, None));
        assert_eq!(metadata.windows, BTreeMap::from([("main/aggregate#aa".to_owned(), 6)]));
    }

    #[test]
    fn a_lane_takes_over_the_marks_of_its_set_and_no_others() {
        let of = |set: &str, windows: &[(&str, i64)]| {
            let windows = windows.iter().map(|(name, mark)| ((*name).to_owned(), *mark)).collect();
            Metadata { set: Some(set.to_owned()), windows, ..Metadata::default() }
        };
        let others = [
            of("k1", &[("main/a#ff+k1", 20), ("main/b#ee+k1", 5)]),
            // It was in that set, and has come further in the next one.
            of("k2", &[("main/a#ff+k2", 40), ("main/c#dd+k1", 7)]),
        ];
        let mut own = of("k1", &[("main/a#ff+k0", 10), ("main/b#ee+k0", 6)]);
        own.share_marks(others.iter());
        let expected = of("k1", &[("main/a#ff+k1", 20), ("main/b#ee+k0", 6), ("main/c#dd+k1", 7)]);
        assert_eq!(own, expected);
        let mut later = Metadata { set: Some("k9<k1".to_owned()), ..of("k1", &[("main/a#ff+k0", 10)]) };
        later.share_marks(others.iter());
        assert_eq!(later.windows["main/a#ff+k1"], 20, "it was in that set before");
        let mut none = Metadata { set: None, ..expected.clone() };
        none.share_marks(others.iter());
        assert_eq!(none.windows, expected.windows);
    }

    #[test]
    fn sets_of_earlier_owners_are_kept_until_this_one_has_a_mark() {
        let begun = |before: Option<&str>, name: &str| {
            let windows = BTreeMap::from([(name.to_owned(), 1)]);
            let mut metadata = Metadata { windows, ..Metadata::default() };
            metadata.begin_set(Some("k2"), before);
            metadata.set.unwrap()
        };
        assert_eq!(begun(None, "main/a#ff+k1"), "k2");
        assert_eq!(begun(Some("k1<k0"), "main/a#ff+k1"), "k2<k1<k0");
        assert_eq!(begun(Some("k1<k0"), "main/a#ff+k2~m3"), "k2");
        assert!(had_a_share("m3~k1", "k2<k1") && !had_a_share("m3~k1", "k2<k3"));
    }

    #[test]
    fn what_earlier_versions_did_not_write_is_read_and_short() {
        let topic = Some("0yEKYXOeQQCAkvnLOGYQ3A".to_owned());
        let mut rewritten = Rewritten::default();
        rewritten.add(4000);
        let written = Metadata { topic, epoch: Some(7), rewritten, lanes: Some(4), ..example() };
        let text = written.encode();
        assert!(text.ends_with(r#","t":"0yEKYXOeQQCAkvnLOGYQ3A","n":4,"e":7,"r":[4000,1]}"#), "{text}");
        assert_eq!(Metadata::decode(&text).unwrap(), Some(written));
    }

    #[test]
    fn no_text_says_nothing_and_other_text_is_an_error() {
        assert_eq!(Metadata::decode("").unwrap(), None);
        for foreign in ["consumer-1", "5", "{}", r#"{"host":"a","v":"x"}"#, "\u{fffd}"] {
            assert!(matches!(Metadata::decode(foreign), Err(Unreadable::Foreign(_))), "{foreign}");
        }
        assert!(Metadata::decode(r#"{"v":2}"#).unwrap_err().to_string().contains("version 2"));
        assert!(Metadata::decode(r#"{"v":1,"q":{}}"#).is_err(), "a key of a later version");
    }
}
