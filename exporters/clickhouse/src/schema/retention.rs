//! How long rows are kept: all of a table, or by class.
//!
//! The class of a row is its age limit in seconds, in a column that the server computes when the row comes.
//! It is a part of the partition key, so a partition ends as a whole, and no merge rewrites rows that others
//! outlive.

use std::fmt::Write as _;

use serde::Deserialize;
use weir_config::Duration;

use crate::schema::quoting::{literal, quoted};

/// The column of the class: seconds that the row is kept.
pub(crate) const TTL_COLUMN: &str = "_ttl_s";
/// Beyond 2106 a `DateTime` begins again in 1970: nothing is kept longer, and this is for ever.
const FOR_EVER: u32 = u32::MAX;

/// One entry of `retention`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Class {
    /// A condition in ClickHouse's SQL over the columns of the table.
    pub(crate) r#where: String,
    /// How long its rows are kept. `0s`: for ever.
    pub(crate) ttl: Duration,
}

/// How long the rows of one table are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Seconds. 0: for ever.
    pub(crate) ttl_seconds: u64,
    /// Classes of their own. The first that a row belongs to counts.
    pub(crate) classes: Vec<Class>,
}

/// How functions begin that may give another class when an insert is repeated: the server recognises a repeat
/// by partitions.
const CHANGING: [&str; 12] = [
    "now",
    "today",
    "yesterday",
    "current",
    "utctimestamp",
    "rand",
    "generate",
    "dict",
    "joinget",
    "rownumber",
    "blocknumber",
    "hostname",
];

impl Class {
    /// Why the condition is refused.
    pub(crate) fn problem(&self) -> Option<String> {
        let condition = self.r#where.to_lowercase();
        if condition.trim().is_empty() {
            return Some("must not be empty".to_owned());
        }
        if condition.contains("--") || condition.contains("/*") {
            return Some("must not have a comment: it would hide what follows".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut called = condition
            .match_indices('(')
            .filter_map(|(at, _)| condition.get(..at)?.trim_end().rsplit(|c: char| !is_name(c)).next());
        let changing = called.find(|name| CHANGING.iter().any(|begin| name.starts_with(begin)));
        changing.map(|name| {
            format!(
                "`{name}` may say something else when an insert is repeated, whose rows would be stored twice"
            )
        })
    }
}

impl Retention {
    /// Whether rows of one day may be kept for different times.
    pub(crate) fn has_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    /// The longest time that rows are kept, in seconds. 0: for ever.
    pub(crate) fn longest(&self) -> u64 {
        let all = || self.classes.iter().map(|class| class.ttl.get().as_secs()).chain([self.ttl_seconds]);
        if all().any(|seconds| seconds == 0) { 0 } else { all().max().unwrap_or(0) }
    }

    /// The shortest, in seconds. 0: for ever.
    pub(crate) fn shortest(&self) -> u64 {
        let all = self.classes.iter().map(|class| class.ttl.get().as_secs()).chain([self.ttl_seconds]);
        all.filter(|seconds| *seconds > 0).min().unwrap_or(0)
    }

    /// What the class of a row is, in SQL.
    pub(crate) fn expression(&self) -> String {
        let seconds = |seconds: u64| if seconds == 0 { u64::from(FOR_EVER) } else { seconds };
        if !self.has_classes() {
            return seconds(self.ttl_seconds).to_string();
        }
        let mut sql = "multiIf(".to_owned();
        for class in &self.classes {
            let _ = write!(sql, "({}), {}, ", class.r#where, seconds(class.ttl.get().as_secs()));
        }
        let _ = write!(sql, "{})", seconds(self.ttl_seconds));
        sql
    }

    /// The column of the class, for tables with classes. Its comment is the expression as it was written:
    /// servers write expressions in other words.
    pub(crate) fn column(&self) -> String {
        let expression = self.expression();
        format!(
            "{} UInt32 MATERIALIZED {expression} COMMENT {} CODEC(ZSTD(1))",
            quoted(TTL_COLUMN),
            literal(&expression)
        )
    }

    /// The partition key of a table whose partitions are `partition`.
    pub(crate) fn partition(&self, partition: &str) -> String {
        if self.has_classes() { format!("({partition}, {TTL_COLUMN})") } else { partition.to_owned() }
    }

    /// A regular expression for the names of partitions by day, as servers write them, whose rows are kept
    /// for so many seconds.
    pub(crate) fn partition_pattern(&self, seconds: u64) -> String {
        const DAY: &str = r"\d{4}-\d{2}-\d{2}";
        if self.has_classes() { format!(r"^\('{DAY}',{seconds}\)$") } else { format!("^{DAY}$") }
    }

    /// The expression after `TTL`, of rows whose age is counted from the column `time`. `None`: all are kept
    /// for ever.
    pub(crate) fn end(&self, time: &str) -> Option<String> {
        let kept = match self.ttl_seconds {
            _ if self.has_classes() => TTL_COLUMN.to_owned(),
            0 => return None,
            seconds => seconds.to_string(),
        };
        // A row of the last years before 2106 must live on, not be deleted at once.
        Some(format!("toDateTime(least(toUnixTimestamp(toDateTime({time})) + {kept}, {FOR_EVER}))"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(condition: &str, days: u64) -> Class {
        Class { r#where: condition.to_owned(), ttl: Duration::from_secs(days * 86_400) }
    }

    #[test]
    fn what_may_change_between_two_tries_is_refused() {
        for (condition, refused) in [
            ("status = 'error'", false),
            ("lower(attributes['k']) IN ('now', 'today')", false),
            ("knows(a) AND branded (b)", false),
            ("time > now()", true),
            ("time > subtractHours( NOW () , 1)", true),
            ("randConstant() > 1", true),
            ("dictGetOrNull('d', 'a', service) = 1", true),
            ("hostName() = 'a'", true),
        ] {
            assert_eq!(class(condition, 1).problem().is_some(), refused, "{condition}");
        }
    }

    #[test]
    fn the_longest_and_the_shortest_are_those_of_all_classes() {
        let of = |ttl_seconds, classes: &[u64]| Retention {
            ttl_seconds,
            classes: classes.iter().map(|days| class("x", *days)).collect(),
        };
        let day = 86_400;
        for (retention, longest, shortest) in [
            (of(0, &[]), 0, 0),
            (of(5, &[]), 5, 5),
            (of(5, &[2, 1]), 2 * day, 5),
            (of(5, &[0]), 0, 5),
            (of(0, &[3]), 0, 3 * day),
        ] {
            assert_eq!((retention.longest(), retention.shortest()), (longest, shortest), "{retention:?}");
        }
    }
}
