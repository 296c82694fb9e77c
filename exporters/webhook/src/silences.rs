//! The file of silences that `weir silence` writes and `notify.mute` names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use crate::notify::calendar::{Silence, silences};
use crate::notify::matcher::Matcher;

/// The first line: other files may have comments and windows that writing would lose.
const HEAD: &str = "# Written by `weir silence`. Maintenance windows go into a file of their own.";
/// Silences that are over are kept for this long.
const KEPT: TimeDelta = TimeDelta::days(30);

/// A file of silences.
#[derive(Clone, Debug)]
pub struct Silences(PathBuf);

/// Why a file of silences cannot be read or written. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SilenceError(String);

/// One silence, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub id: String,
    /// Whether it holds now.
    pub holds: bool,
    /// The conditions, the end, the comment and whose it is, in one line.
    pub text: String,
}

impl Silences {
    /// The file of this path, which may not be there yet.
    pub fn of(path: impl Into<PathBuf>) -> Silences {
        Silences(path.into())
    }

    /// Adds a silence of alarms whose labels have these texts, until then. Gives its id.
    ///
    /// # Errors
    /// The file cannot be written, or was written by somebody else; nothing is to be silenced.
    pub fn add(
        &self,
        labels: BTreeMap<String, String>,
        until: DateTime<Utc>,
        comment: &str,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<String, SilenceError> {
        if labels.is_empty() {
            return Err(SilenceError("say what is silenced: it would be every alarm".to_owned()));
        }
        if until <= now {
            return Err(SilenceError("a silence must end in the future".to_owned()));
        }
        self.change(now, |silences| {
            let mut number = now.timestamp_millis();
            while silences.iter().any(|silence| silence.id == format!("s{number:x}")) {
                number += 1;
            }
            let id = format!("s{number:x}");
            silences.push(Silence {
                id: id.clone(),
                matcher: Matcher::of(labels),
                from: Some(rfc3339(now)),
                until: rfc3339(until),
                comment: comment.to_owned(),
                by: by.to_owned(),
            });
            Ok(id)
        })
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// There is none of this id that holds, or the file cannot be written.
    pub fn expire(&self, id: &str, now: DateTime<Utc>) -> Result<(), SilenceError> {
        self.change(now, |silences| {
            let found = silences.iter_mut().find(|silence| silence.id == id && silence.ends_after(now));
            let silence = found.ok_or_else(|| {
                SilenceError(format!("no silence `{id}` holds; `weir silence list` shows those that do"))
            })?;
            silence.until = rfc3339(now);
            Ok(())
        })
    }

    /// All silences, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, now: DateTime<Utc>) -> Result<Vec<Shown>, SilenceError> {
        let shown = |silence: Silence| {
            let mut text = format!("{} until {}", silence.matcher, silence.until);
            for (name, value) in [(": ", &silence.comment), (" by ", &silence.by)] {
                if !value.is_empty() {
                    text = format!("{text}{name}{value}");
                }
            }
            Shown { holds: silence.ends_after(now), id: silence.id, text }
        };
        Ok(self.read()?.into_iter().map(shown).collect())
    }

    fn read(&self) -> Result<Vec<Silence>, SilenceError> {
        let file = self.0.display();
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(|error| SilenceError(format!("cannot read {file}: {error}")))?,
        };
        if !text.starts_with(HEAD) {
            let why = "was not written by `weir silence`: give it a file of its own, and name both in `mute`";
            return Err(SilenceError(format!("{file} {why}")));
        }
        silences(&self.0, text).map_err(|why| SilenceError(format!("{file}: {why}")))
    }

    /// Changes the file as a whole. Two commands at once wait for each other.
    fn change<T>(
        &self,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Vec<Silence>) -> Result<T, SilenceError>,
    ) -> Result<T, SilenceError> {
        let failed =
            |error: std::io::Error| SilenceError(format!("cannot write {}: {error}", self.0.display()));
        let beside = |ending: &str| {
            let mut name = self.0.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let lock = File::create(beside(".lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut silences = self.read()?;
        let changed = change(&mut silences)?;
        silences.retain(|silence| silence.ends_after(now - KEPT));
        let mut text = format!("{HEAD}\nsilences:\n");
        for silence in &silences {
            // A map in JSON is one in YAML.
            let line = serde_json::to_value(silence).map_err(|error| SilenceError(error.to_string()))?;
            text.push_str(&format!("  - {}\n", plain(line)));
        }
        if silences.is_empty() {
            text = format!("{HEAD}\nsilences: []\n");
        }
        write(&beside(".new"), &text).and_then(|()| fs::rename(beside(".new"), &self.0)).map_err(failed)?;
        Ok(changed)
    }
}

/// The same without what means something in a file of Weir: variables, and characters that YAML does not
/// take.
fn plain(value: Value) -> String {
    let line = escaped(value).to_string();
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        let is_odd = ('\u{7f}'..='\u{9f}').contains(&c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if is_odd {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace('$', "$$").into(),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(entries) => entries.into_iter().map(|(name, value)| (name, escaped(value))).collect(),
        other => other,
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::Alarm;
    use crate::notify::calendar::Calendar;

    #[test]
    fn a_silence_is_added_shown_obeyed_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silences.yaml");
        let silences = Silences::of(&path);
        let now = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let labels = BTreeMap::from([("service".to_owned(), "pay*".to_owned())]);
        let hour = now + TimeDelta::hours(1);
        let id = silences.add(labels.clone(), hour, "a \"known\" fault: 17", "zhang", now).unwrap();
        let second = silences.add(labels.clone(), hour, "", "", now).unwrap();
        assert_ne!(id, second, "two of one moment");
        let shown = silences.list(now).unwrap();
        let text = "service=pay* until 2023-11-14T23:13:20Z: a \"known\" fault: 17 by zhang";
        assert_eq!(shown[0], Shown { id: id.clone(), holds: true, text: text.to_owned() });
        let mut calendar = Calendar::of(&[path.display().to_string()]);
        assert!(calendar.reload().is_empty() && calendar.reload().is_empty());
        let alarm = Alarm::of(&serde_json::json!({"service": "payments"}));
        assert!(calendar.hides(&alarm, now.timestamp_millis()).is_some());
        silences.expire(&id, now).unwrap();
        silences.expire(&second, now).unwrap();
        assert!(silences.expire(&id, now).unwrap_err().to_string().contains("no silence"));
        calendar.reload();
        calendar.reload();
        assert_eq!(calendar.hides(&alarm, now.timestamp_millis() + 1000), None);
        let later = now + TimeDelta::days(31);
        silences.add(labels, later + TimeDelta::hours(1), "", "", later).unwrap();
        assert_eq!(silences.list(later).unwrap().len(), 1, "old ones are gone");
    }

    /// What has a meaning in the files of Weir, in YAML or in JSON has none in a comment.
    #[test]
    fn any_text_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let now = DateTime::from_timestamp_millis(0).unwrap();
        let texts = [
            "costs $5, see ${TICKET} and ${env:HOME}",
            "$$",
            "${",
            "a: b # c",
            "'\"\\",
            "tab\tline\nnext\r",
            "\u{1b}[31m",
            "\u{7f}\u{85}\u{2028}\u{feff}",
            "超时 🚨",
            "- *x &y !z %w @v",
            "~",
            "true",
            " ",
        ];
        for (number, text) in texts.into_iter().enumerate() {
            let silences = Silences::of(folder.path().join(number.to_string()));
            let labels = BTreeMap::from([("rule".to_owned(), text.to_owned())]);
            silences.add(labels, now + TimeDelta::hours(1), text, text, now).unwrap();
            let read = silences.read().unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((read[0].comment.as_str(), read[0].by.as_str()), (text, text));
            assert!(read[0].matcher.matches(&Alarm::of(&serde_json::json!({"rule": text}))), "{text:?}");
            silences.expire(&read[0].id, now).unwrap();
        }
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changes.yaml");
        fs::write(&path, "maintenance: []\n").unwrap();
        let now = DateTime::from_timestamp_millis(0).unwrap();
        let labels = BTreeMap::from([("rule".to_owned(), "slow".to_owned())]);
        let hour = now + TimeDelta::hours(1);
        let refused = Silences::of(&path).add(labels.clone(), hour, "", "", now).unwrap_err();
        assert!(refused.to_string().contains("give it a file of its own"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "maintenance: []\n");
        let silences = Silences::of(folder.path().join("s.yaml"));
        assert!(silences.add(BTreeMap::new(), hour, "", "", now).is_err(), "every alarm");
        assert!(silences.add(labels, now, "", "", now).is_err(), "it is over");
    }
}
