//! `disk_guard`: what is done when the server's disks are almost full.

use serde::Deserialize;
use weir_config::Duration;

/// `disk_guard`: what is done when a disk of the tables is almost full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DiskGuardKeys {
    /// Free percent of a disk below which there is a warning.
    pub(crate) warn_below_percent: u8,
    /// Free percent of a disk below which the oldest day of the rows that are kept for the shortest time is
    /// deleted. 0: nothing is.
    pub(crate) drop_below_percent: u8,
    /// How often the disks are looked at.
    pub(crate) interval: Duration,
}

impl Default for DiskGuardKeys {
    fn default() -> DiskGuardKeys {
        DiskGuardKeys { warn_below_percent: 15, drop_below_percent: 0, interval: Duration::from_secs(60) }
    }
}

impl DiskGuardKeys {
    /// The faults: the key within the exporter's section, and why. `may_end`: there are rows that are not
    /// kept for ever.
    pub(crate) fn problems(&self, may_end: bool) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, why: &str| problems.push((format!("disk_guard.{key}"), why.to_owned()));
        for (key, percent) in
            [("warn_below_percent", self.warn_below_percent), ("drop_below_percent", self.drop_below_percent)]
        {
            if percent > 100 {
                problem(key, "must be between 0 and 100");
            }
        }
        if self.drop_below_percent > self.warn_below_percent {
            problem("drop_below_percent", "must not be above `warn_below_percent`: the warning comes first");
        }
        if self.drop_below_percent > 0 && !may_end {
            problem("drop_below_percent", "needs `ttl` or `retention`: all rows are to be kept for ever");
        }
        if self.interval < Duration::from_secs(1) {
            problem("interval", "must be at least 1s");
        }
        problems
    }
}
