//! Maintenance windows and silences, from files that may change at any time.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use weir_config::{Document, SourceText};

use super::matcher::Matcher;
use crate::alarm::Alarm;

/// The content of a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Content {
    maintenance: Vec<Maintenance>,
    silences: Vec<Silence>,
}

/// A planned time: once, or again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Maintenance {
    /// Shown as the reason.
    name: String,
    /// The alarms that it hides.
    #[serde(default, rename = "match")]
    matcher: Matcher,
    /// Begin: `2026-12-01T22:00`, or a time of day `22:00`.
    from: String,
    /// End, not included, in the same form. A time of day before `from` is on the next day.
    to: String,
    /// The days on which it begins, of a time of day; every day when there are none.
    #[serde(default)]
    days: Vec<String>,
    time_zone: Option<String>,
}

/// Hides alarms until it expires.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Silence {
    /// Its name.
    pub(crate) id: String,
    #[serde(default, rename = "match")]
    pub(crate) matcher: Matcher,
    /// RFC 3339; from the beginning of time when there is none.
    pub(crate) from: Option<String>,
    /// RFC 3339.
    pub(crate) until: String,
    /// Why.
    #[serde(default)]
    pub(crate) comment: String,
    /// Whose idea it was.
    #[serde(default)]
    pub(crate) by: String,
}

/// When an entry holds.
#[derive(Clone, Debug)]
enum When {
    Once(NaiveDateTime, NaiveDateTime),
    Daily(Vec<Weekday>, NaiveTime, NaiveTime),
}

/// An entry, checked.
#[derive(Clone, Debug)]
struct Entry {
    reason: String,
    matcher: Matcher,
    when: When,
    zone: Tz,
}

/// A file as it was read last.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    /// What was told of it last, while it is so.
    trouble: Option<String>,
    entries: Vec<Entry>,
}

/// The entries of all files.
#[derive(Debug, Default)]
pub(crate) struct Calendar(Vec<Source>);

impl Calendar {
    /// The files, which are read by [`reload`](Self::reload).
    pub(crate) fn of(files: &[String]) -> Calendar {
        let source =
            |path: &String| Source { path: path.into(), seen: None, trouble: None, entries: Vec::new() };
        Calendar(files.iter().map(source).collect())
    }

    /// Reads the files that have changed. Of a file with a mistake the last good content stays; of one that
    /// is gone nothing. Gives the mistakes.
    pub(crate) fn reload(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for source in &mut self.0 {
            let now = match std::fs::metadata(&source.path) {
                Ok(found) => found.modified().ok().map(|modified| (modified, found.len())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    (source.seen, source.trouble) = (None, None);
                    source.entries.clear();
                    continue;
                }
                Err(_) => None,
            };
            if now.is_some() && now == source.seen {
                continue;
            }
            let problem = match std::fs::read_to_string(&source.path) {
                Err(error) => Err(error.to_string()),
                Ok(text) => {
                    // A mistake is told once: until it is mended there is nothing new to read.
                    source.seen = now;
                    parse(&source.path, text)
                }
            };
            match problem {
                Ok(entries) => {
                    source.trouble = None;
                    let (file, count) = (source.path.display(), entries.len());
                    tracing::info!(%file, count, "read maintenance windows and silences");
                    source.entries = entries;
                }
                Err(problem) if source.trouble.as_ref() == Some(&problem) => {}
                Err(problem) => {
                    problems.push(format!("{}: {problem}", source.path.display()));
                    source.trouble = Some(problem);
                }
            }
        }
        problems
    }

    /// Why this alarm is hidden now: the first entry that holds.
    pub(crate) fn hides(&self, alarm: &Alarm, now_ms: i64) -> Option<&str> {
        let entries = self.0.iter().flat_map(|source| &source.entries);
        let mut holds = entries.filter(|entry| entry.when.holds(now_ms, entry.zone));
        holds.find(|entry| entry.matcher.matches(alarm)).map(|entry| entry.reason.as_str())
    }
}

impl When {
    fn holds(&self, now_ms: i64, zone: Tz) -> bool {
        let Some(now) = DateTime::from_timestamp_millis(now_ms) else { return false };
        let now = now.with_timezone(&zone).naive_local();
        match self {
            When::Once(from, to) => *from <= now && now < *to,
            When::Daily(days, from, to) => {
                let begins_on = |day: Weekday| days.is_empty() || days.contains(&day);
                let (today, time) = (now.weekday(), now.time());
                if from < to {
                    return begins_on(today) && *from <= time && time < *to;
                }
                (begins_on(today) && *from <= time) || (begins_on(today.pred()) && time < *to)
            }
        }
    }
}

/// The silences of a text, or what is wrong with it.
pub(crate) fn silences(path: &Path, text: String) -> Result<Vec<Silence>, String> {
    read(path, text).map(|content| content.silences)
}

fn read(path: &Path, text: String) -> Result<Content, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let document = Document::load(vec![SourceText::new(name, text)], &[], &|_| None);
    let content = document.and_then(|document| document.read::<Content>(document.root(), ""));
    content.map_err(|errors| errors.to_string().trim_end().to_owned())
}

/// The entries of a text, or all that is wrong with it.
fn parse(path: &Path, text: String) -> Result<Vec<Entry>, String> {
    let content = read(path, text)?;
    let maintenance = content.maintenance.into_iter().map(|window| {
        let name = window.name.clone();
        window.entry().map_err(|why| format!("maintenance `{name}`: {why}"))
    });
    let silences = content.silences.into_iter().map(|silence| {
        let id = silence.id.clone();
        silence.entry().map_err(|why| format!("silence `{id}`: {why}"))
    });
    let mut problems = Vec::new();
    let entries =
        maintenance.chain(silences).filter_map(|entry| entry.map_err(|why| problems.push(why)).ok());
    let entries = entries.collect();
    if problems.is_empty() { Ok(entries) } else { Err(problems.join("; ")) }
}

impl Maintenance {
    fn entry(self) -> Result<Entry, String> {
        let zone = match &self.time_zone {
            Some(name) => name.parse().map_err(|_| {
                format!("there is no time zone `{name}`; write a name such as UTC or Asia/Shanghai")
            })?,
            None => Tz::UTC,
        };
        let days: Vec<Weekday> = self
            .days
            .iter()
            .map(|day| day.parse().map_err(|_| format!("`{day}` is no day; write for example `sat`")))
            .collect::<Result<_, _>>()?;
        let when = match (time_of_day(&self.from), time_of_day(&self.to)) {
            (Some(from), Some(to)) => When::Daily(days, from, to),
            (None, None) if days.is_empty() => When::Once(local(&self.from)?, local(&self.to)?),
            (None, None) => return Err("`days` go with times of day, such as `from: \"22:00\"`".to_owned()),
            _ => return Err("`from` and `to` must both be times of day, or both have a date".to_owned()),
        };
        if let When::Once(from, to) = &when
            && from >= to
        {
            return Err("`to` is not after `from`".to_owned());
        }
        Ok(Entry { reason: format!("maintenance {}", self.name), matcher: self.matcher, when, zone })
    }
}

impl Silence {
    /// Whether it holds after this time.
    pub(crate) fn ends_after(&self, time: DateTime<Utc>) -> bool {
        DateTime::parse_from_rfc3339(&self.until).is_ok_and(|until| until > time)
    }

    fn entry(self) -> Result<Entry, String> {
        let at = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text);
            let time =
                time.map_err(|_| format!("`{text}` is no time; write for example 2026-12-01T22:00:00Z"));
            time.map(|time| time.naive_utc())
        };
        let from = self.from.as_deref().map_or(Ok(NaiveDateTime::MIN + TimeDelta::days(2)), at)?;
        if self.matcher.is_empty() {
            return Err("`match` is missing: it would hide every alarm".to_owned());
        }
        let mut reason = format!("silence {}", self.id);
        for (name, text) in [(": ", &self.comment), (" by ", &self.by)] {
            if !text.is_empty() {
                reason = format!("{reason}{name}{text}");
            }
        }
        Ok(Entry { reason, matcher: self.matcher, when: When::Once(from, at(&self.until)?), zone: Tz::UTC })
    }
}

fn time_of_day(text: &str) -> Option<NaiveTime> {
    ["%H:%M", "%H:%M:%S"].into_iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

fn local(text: &str) -> Result<NaiveDateTime, String> {
    let forms = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"];
    forms
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .ok_or_else(|| format!("`{text}` is no time; write 2026-12-01T22:00 or 22:00"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calendar(text: &str) -> Result<Calendar, String> {
        let entries = parse(Path::new("calendar.yaml"), text.to_owned())?;
        Ok(Calendar(vec![Source { path: PathBuf::new(), seen: None, trouble: None, entries }]))
    }

    fn hides(calendar: &Calendar, at: &str) -> bool {
        let alarm = Alarm::of(&json!({"rule": "slow", "service": "pay"}));
        let at = DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis();
        calendar.hides(&alarm, at).is_some()
    }

    #[test]
    fn a_window_holds_once_in_its_time_zone() {
        let calendar = calendar(
            "maintenance:\n  - {name: switch, match: {service: pay}, from: 2026-12-01T22:00, to: 2026-12-02T02:00, time_zone: Asia/Shanghai}\n",
        )
        .unwrap();
        for (at, expected) in [
            ("2026-12-01T21:59:59+08:00", false),
            ("2026-12-01T22:00:00+08:00", true),
            ("2026-12-01T17:59:59Z", true),
            ("2026-12-01T18:00:00Z", false),
        ] {
            assert_eq!(hides(&calendar, at), expected, "{at}");
        }
    }

    /// 2026-12-05 is a Saturday.
    #[test]
    fn a_window_that_returns_begins_on_its_days_and_may_pass_midnight() {
        let calendar =
            calendar("maintenance:\n  - {name: nightly, from: \"23:00\", to: \"01:30\", days: [fri, sat]}\n")
                .unwrap();
        for (at, expected) in [
            ("2026-12-04T22:59:59Z", false),
            ("2026-12-04T23:00:00Z", true),
            ("2026-12-05T01:29:59Z", true),
            ("2026-12-05T01:30:00Z", false),
            ("2026-12-06T01:00:00Z", true),
            ("2026-12-06T23:30:00Z", false),
            ("2026-12-04T01:00:00Z", false),
        ] {
            assert_eq!(hides(&calendar, at), expected, "{at}");
        }
    }

    /// Clocks in Berlin go from 2:00 to 3:00 on 2026-03-29.
    #[test]
    fn a_time_of_day_is_that_of_the_clock_on_the_wall() {
        let calendar = calendar(
            "maintenance:\n  - {name: nightly, from: \"04:00\", to: \"05:00\", time_zone: Europe/Berlin}\n",
        )
        .unwrap();
        assert!(hides(&calendar, "2026-03-28T03:30:00Z"));
        assert!(hides(&calendar, "2026-03-29T02:30:00Z"));
        assert!(!hides(&calendar, "2026-03-29T03:30:00Z"));
    }

    #[test]
    fn a_silence_ends_and_says_whose_it_is() {
        let calendar = calendar(
            "silences:\n  - {id: s1, match: {rule: slow}, until: 2026-12-01T00:00:00Z, comment: known, by: zhang}\n",
        )
        .unwrap();
        assert!(hides(&calendar, "2026-11-30T23:59:59Z") && !hides(&calendar, "2026-12-01T00:00:00Z"));
        let alarm = Alarm::of(&json!({"rule": "slow"}));
        assert_eq!(calendar.hides(&alarm, 0), Some("silence s1: known by zhang"));
        assert_eq!(calendar.hides(&Alarm::of(&json!({"rule": "other"})), 0), None);
    }

    #[test]
    fn mistakes_are_named_with_their_entry() {
        for (text, why) in [
            (
                "maintenance: [{name: a, from: \"22:00\", to: 2026-12-01T22:00}]",
                "maintenance `a`: `from` and `to` must",
            ),
            ("maintenance: [{name: a, from: \"22\", to: \"23\"}]", "`22` is no time"),
            ("maintenance: [{name: a, from: 2026-12-01T22:00, to: 2026-12-01T22:00}]", "not after"),
            (
                "maintenance: [{name: a, from: \"22:00\", to: \"23:00\", days: [someday]}]",
                "`someday` is no day",
            ),
            ("silences: [{id: s, until: 2026-12-01T22:00:00Z}]", "silence `s`: `match` is missing"),
            ("silence: []", "unknown key `silence`"),
        ] {
            let problem = calendar(text).map(drop).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
    }

    /// A folder stands for a file that cannot be read now.
    #[test]
    fn a_file_that_cannot_be_read_hides_what_it_hid_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.yaml");
        let mut calendar = Calendar::of(&[path.display().to_string()]);
        let silence = "silences: [{id: s, match: {rule: slow}, until: 2026-12-01T22:00:00Z}]\n";
        std::fs::write(&path, silence).unwrap();
        assert!(calendar.reload().is_empty());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!((calendar.reload().len(), calendar.reload().len()), (1, 0), "told once");
        assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "silences: []\n").unwrap();
        calendar.reload();
        assert!(!hides(&calendar, "2026-11-01T00:00:00Z"));
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calendar.yaml");
        let mut calendar = Calendar::of(&[path.display().to_string()]);
        assert!(calendar.reload().is_empty(), "there may be no file yet");
        let silence = "silences: [{id: s, match: {rule: slow}, until: 2026-12-01T22:00:00Z}]\n";
        std::fs::write(&path, silence).unwrap();
        assert!(calendar.reload().is_empty());
        assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
        std::fs::write(&path, "silences: [{id: s").unwrap();
        let problems = calendar.reload();
        assert!(problems.len() == 1 && calendar.reload().is_empty(), "told once: {problems:?}");
        assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
        std::fs::remove_file(&path).unwrap();
        calendar.reload();
        assert!(!hides(&calendar, "2026-11-01T00:00:00Z"));
    }
}
