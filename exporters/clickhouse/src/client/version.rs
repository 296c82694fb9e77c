//! The version of a server, and the settings that it knows.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use serde::Deserialize;

/// A version of ClickHouse: year and release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32, pub u32);

/// The oldest that takes what the exporter sends: blocks whose types are not those of the table.
const OLDEST: Version = Version(23, 3);
/// The first that leaves out an asynchronous insert that comes twice, in the table and in materialized views.
/// Before it the server refuses `async_insert` together with
/// `deduplicate_blocks_in_dependent_materialized_views` (error 344, seen with 24.8 and 25.5). Without the
/// latter their queues lose rows or store them twice when a repeated insert is written together with others,
/// in tables that are not replicated.
const ASYNC_INSERTS: Version = Version(26, 2);

impl Display for Version {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Version(year, release) = self;
        write!(f, "{year}.{release}")
    }
}

/// A server's facts about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// `None`: it does not say it as ClickHouse does.
    pub(crate) version: Option<Version>,
    /// Of the settings that inserts have, those that it knows.
    settings: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    settings: BTreeSet<String>,
}

impl ServerInfo {
    /// The question, about these settings.
    pub(crate) fn question<'a>(settings: impl Iterator<Item = &'a str>) -> String {
        let names: Vec<String> = settings.map(crate::schema::quoting::literal).collect();
        format!(
            "SELECT version() AS version, groupArray(name) AS settings FROM system.settings WHERE name IN ({})",
            names.join(", ")
        )
    }

    /// Reads the answer, as `JSONEachRow`.
    pub(crate) fn parse(answer: &[u8]) -> Result<ServerInfo, serde_json::Error> {
        let Answer { version, settings } = serde_json::from_slice(answer)?;
        let mut parts = version.split('.').map(|part| part.parse().ok());
        let version = parts.next().flatten().zip(parts.next().flatten());
        Ok(ServerInfo { version: version.map(|(year, release)| Version(year, release)), settings })
    }

    /// Whether it knows this setting.
    pub(crate) fn knows(&self, setting: &str) -> bool {
        self.settings.contains(setting)
    }

    /// Why it cannot do what is configured, and what to do.
    pub(crate) fn refusal<'a>(
        &self,
        async_insert: bool,
        settings: impl IntoIterator<Item = &'a String>,
    ) -> Option<String> {
        if let Some(version) = self.version {
            if version < OLDEST {
                return Some(format!("the server is ClickHouse {version}: {OLDEST} or newer is needed"));
            }
            if async_insert && version < ASYNC_INSERTS {
                return Some(format!(
                    "the server is ClickHouse {version}, and asynchronous inserts that come twice are left out by {ASYNC_INSERTS} and \
                     newer servers only: remove `async_insert`, or use a newer server"
                ));
            }
        }
        // Those that a site has made up begin like this.
        let unknown = settings.into_iter().find(|name| !self.knows(name) && !name.starts_with("SQL_"));
        unknown.map(|name| format!("the server knows no setting `{name}`: remove it from `settings`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> ServerInfo {
        let answer =
            serde_json::json!({"version": version, "settings": ["insert_deduplicate", "insert_quorum"]});
        ServerInfo::parse(answer.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn versions_are_read_as_servers_write_them() {
        assert_eq!(info("24.8.4.1").version, Some(Version(24, 8)));
        assert_eq!(info("26.10.1.1-altinity").version, Some(Version(26, 10)));
        assert_eq!(info("head").version, None);
        assert!(Version(23, 10) > Version(23, 3));
    }

    #[test]
    fn what_a_server_cannot_do_is_told_with_what_to_do() {
        let quorum = ["insert_quorum".to_owned()];
        for (version, async_insert) in
            [("24.8.4.1", false), ("23.3.1.1", false), ("26.2.1.1", true), ("x", true)]
        {
            assert_eq!(info(version).refusal(async_insert, &quorum), None, "{version}");
        }
        let refusal = |version, async_insert| info(version).refusal(async_insert, &quorum).unwrap();
        assert_eq!(refusal("22.12.1.1", false), "the server is ClickHouse 22.12: 23.3 or newer is needed");
        assert!(refusal("26.1.9.1", true).contains("remove `async_insert`"));
        let misspelt = ["insert_quorom".to_owned()];
        assert!(info("26.9.1.1").refusal(false, &misspelt).unwrap().contains("`insert_quorom`"));
    }
}
