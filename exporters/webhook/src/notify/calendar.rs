//! Maintenance windows and silences, from files that may change at any time.

use std::io::ErrorKind;
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
#[derive(Debug, Default)]
struct Source {
    path: PathBuf,
    /// It was looked at before: the first content counts at once.
    is_known: bool,
    /// When it had the content that counts, and how long it was; `Some(None)`: it was not there.
    seen: Option<Option<(SystemTime, u64)>>,
    /// What the last look found, when it does not count yet; `Some(None)`: there was no file.
    found: Option<Option<String>>,
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
        let source = |path: &String| Source { path: path.into(), ..Source::default() };
        Calendar(files.iter().map(source).collect())
    }

    /// Reads the files that have changed. New content counts when two looks find the same: what is being
    /// written is not read by half. Of a file with a mistake the last good content stays; of one that is gone
    /// nothing. Gives the mistakes.
    pub(crate) fn reload(&mut self) -> Vec<String> {
        self.0.iter_mut().filter_map(Source::reload).collect()
    }

    /// Why this alarm is hidden now: the first entry that holds.
    pub(crate) fn hides(&self, alarm: &Alarm, now_ms: i64) -> Option<&str> {
        let entries = self.0.iter().flat_map(|source| &source.entries);
        let mut holds = entries.filter(|entry| entry.when.holds(now_ms, entry.zone));
        holds.find(|entry| entry.matcher.matches(alarm)).map(|entry| entry.reason.as_str())
    }
}

impl Source {
    fn reload(&mut self) -> Option<String> {
        let now = match std::fs::metadata(&self.path) {
            Ok(found) => found.modified().ok().map(|modified| Some((modified, found.len()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(None),
            Err(_) => None,
        };
        if now.is_some() && now == self.seen {
            return None;
        }
        let found = match std::fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return self.complain(&error.to_string()),
        };
        let is_first = !std::mem::replace(&mut self.is_known, true);
        if !is_first && self.found.as_ref() != Some(&found) {
            self.found = Some(found);
            return None;
        }
        // A mistake is told once: until it is mended there is nothing new to read.
        (self.seen, self.found) = (now, None);
        let entries = found.map_or_else(|| Ok(Vec::new()), |text| parse(&self.path, text));
        match entries {
            Ok(entries) => {
                self.trouble = None;
                let (file, count) = (self.path.display(), entries.len());
                if count > 0 || !self.entries.is_empty() {
                    tracing::info!(%file, count, "read maintenance windows and silences");
                }
                self.entries = entries;
                None
            }
            Err(problem) => self.complain(&problem),
        }
    }

    /// The problem, unless it was told.
    fn complain(&mut self, problem: &str) -> Option<String> {
        if self.trouble.as_deref() == Some(problem) {
            return None;
        }
        self.trouble = Some(problem.to_owned());
        Some(format!("{}: {problem}", self.path.display()))
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
mod tests;
