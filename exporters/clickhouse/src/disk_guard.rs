//! The task that looks at the server's disks.
//!
//! It warns first. When it was told to, it deletes the oldest day of the rows that are kept for the shortest
//! time, a day at a time. A table is touched only if this exporter has written to it, and if its partitions,
//! its TTL and its classes are those of the configuration: else nobody here knows how long its rows should be
//! kept. Rows of today stay, and rows that are kept longer than the shortest time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_component::{Context, LogLimit};

use crate::client::failure::Failure;
use crate::client::server::Server;
use crate::config::DiskGuardKeys;
use crate::metrics::DiskMetrics;
use crate::schema::quoting::{literal, quoted};
use crate::schema::retention::{Retention, TTL_COLUMN};

/// How long a round may take.
const ROUND: Duration = Duration::from_secs(60);
/// Intervals from one deletion to the next. The server frees the space within some ten minutes.
const BETWEEN: u32 = 15;

/// A table whose rows may be deleted.
pub(crate) struct Guarded {
    pub(crate) name: String,
    pub(crate) retention: Retention,
    /// Whether the exporter has written to it.
    pub(crate) is_used: Arc<AtomicBool>,
}

/// What the task works with.
pub(crate) struct DiskGuard {
    server: Arc<Server>,
    keys: DiskGuardKeys,
    tables: Vec<Guarded>,
    metrics: DiskMetrics,
    context: Context,
    /// Limits the warning that disks are almost full.
    full_log: LogLimit,
    /// Limits the warning that they cannot be looked at or helped.
    failure_log: LogLimit,
}

/// A disk that has rows of the database.
#[derive(Debug, Deserialize)]
struct Disk {
    name: String,
    /// Bytes.
    free: f64,
    total: f64,
}

/// What the server says of a table.
#[derive(Debug, Deserialize)]
struct Found {
    partition_key: String,
    engine_full: String,
    time_type: String,
    classes: String,
}

/// One day of one table.
#[derive(Debug, Deserialize)]
struct Day {
    table: String,
    id: String,
    /// Of the partition.
    name: String,
    row_count: u64,
    /// Bytes.
    size: u64,
}

impl DiskGuard {
    /// A guard over these tables.
    pub(crate) fn new(
        server: Arc<Server>,
        keys: DiskGuardKeys,
        tables: Vec<Guarded>,
        context: Context,
    ) -> DiskGuard {
        DiskGuard {
            server,
            keys,
            tables,
            metrics: DiskMetrics::new(&context),
            context,
            full_log: LogLimit::every_ms(600_000),
            failure_log: LogLimit::every_ms(600_000),
        }
    }

    /// Works until `stop` says so. It may be stopped anywhere.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        // When a day of a disk was to be deleted.
        let mut deleted = HashMap::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(self.keys.interval.get()) => {}
            }
            let round = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                round = tokio::time::timeout(ROUND, self.round(&mut deleted)) => round,
            };
            let round = round.unwrap_or_else(|_| Err(Failure::other(format!("no answer within {ROUND:?}"))));
            if let Err(failure) = round {
                self.warn_of_failure(&failure);
            }
        }
    }

    /// Looks at every disk once.
    async fn round(&self, deleted: &mut HashMap<String, Instant>) -> Result<(), Failure> {
        let database = literal(self.server.database());
        let sql = format!(
            "SELECT disk_name AS name, any(toFloat64(disks.free_space)) AS free, any(toFloat64(disks.total_space)) AS total \
             FROM system.parts AS parts INNER JOIN system.disks AS disks ON disks.name = parts.disk_name \
             WHERE database = {database} GROUP BY disk_name ORDER BY disk_name"
        );
        let disks: Vec<Disk> = self.server.rows(&sql).await?;
        let mut full = Vec::new();
        for disk in disks.into_iter().filter(|disk| disk.total > 0.0) {
            let percent = disk.free / disk.total * 100.0;
            self.metrics.free(&disk.name, percent);
            if percent < f64::from(self.keys.warn_below_percent) {
                full.push((disk.name, percent));
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        if let Some(suppressed) = self.full_log.allow(self.context.clock.now_ms()) {
            let exporter = &self.context.id;
            let names: Vec<String> =
                full.iter().map(|(name, free)| format!("{name}: {free:.0} % free")).collect();
            let disks = names.join(", ");
            tracing::warn!(
                %exporter, disks, suppressed,
                "disks of the server are almost full: inserts will fail. Delete rows, shorten `ttl`, or add space"
            );
        }
        for (disk, percent) in full {
            let waits =
                deleted.get(&disk).is_some_and(|at| at.elapsed() < self.keys.interval.get() * BETWEEN);
            if percent >= f64::from(self.keys.drop_below_percent) || waits {
                continue;
            }
            // Also when the answer is lost: the day may be gone. Others may still be helped.
            deleted.insert(disk.clone(), Instant::now());
            if let Err(failure) = self.drop_oldest(&disk).await {
                self.warn_of_failure(&failure);
            }
        }
        Ok(())
    }

    /// Deletes the oldest day of the rows that are kept for the shortest time.
    async fn drop_oldest(&self, disk: &str) -> Result<(), Failure> {
        let condition = self.cheapest().await?;
        let day = "toDate(extract(partition, '[0-9]{4}-[0-9]{2}-[0-9]{2}'))";
        let sql = format!(
            "SELECT table, partition_id AS id, partition AS name, sum(rows) AS row_count, sum(bytes_on_disk) AS size \
             FROM system.parts WHERE active AND rows > 0 AND database = {} AND disk_name = {} AND ({condition}) \
             AND {day} < toDate(now('UTC')) GROUP BY table, partition_id, partition ORDER BY {day}, table LIMIT 1",
            literal(self.server.database()),
            literal(disk),
        );
        let found: Vec<Day> = self.server.rows(&sql).await?;
        let Some(day) = found.first() else {
            return Err(Failure::other(format!(
                "`{disk}` is almost full, and it has no day before today of rows that are kept for the shortest time, \
                 in tables that are as this exporter would create them"
            )));
        };
        self.server.drop_partition(&day.table, &day.id).await?;
        self.metrics.dropped.inc();
        let (exporter, table) = (&self.context.id, quoted(&day.table));
        let Day { name: partition, row_count: rows, size: bytes, .. } = day;
        tracing::warn!(
            %exporter, %table, partition, rows, bytes, disk,
            "deleted a day of rows, since the disk is almost full"
        );
        Ok(())
    }

    /// Which parts have the rows that are kept for the shortest time: a condition on `system.parts`.
    async fn cheapest(&self) -> Result<String, Failure> {
        let shortest =
            self.tables.iter().map(|table| table.retention.shortest()).filter(|seconds| *seconds > 0);
        let Some(shortest) = shortest.min() else { return Ok("false".to_owned()) };
        let mut conditions = Vec::new();
        for table in &self.tables {
            if table.retention.shortest() == shortest
                && table.is_used.load(Ordering::Relaxed)
                && self.is_as_configured(table).await?
            {
                let pattern = table.retention.partition_pattern(shortest);
                conditions.push(format!(
                    "(table = {} AND match(partition, {}))",
                    literal(&table.name),
                    literal(&pattern)
                ));
            }
        }
        Ok(if conditions.is_empty() { "false".to_owned() } else { conditions.join(" OR ") })
    }

    /// Whether the table keeps its rows as the configuration says, in partitions of a day in UTC.
    async fn is_as_configured(&self, table: &Guarded) -> Result<bool, Failure> {
        let (database, name) = (literal(self.server.database()), literal(&table.name));
        let column = |what: &str, column: &str| {
            format!(
                "(SELECT any({what}) FROM system.columns WHERE database = {database} AND table = {name} AND name = '{column}')"
            )
        };
        let sql = format!(
            "SELECT partition_key, engine_full, {} AS time_type, {} AS classes \
             FROM system.tables WHERE database = {database} AND name = {name}",
            column("type", "time"),
            column("comment", TTL_COLUMN)
        );
        let found: Vec<Found> = self.server.rows(&sql).await?;
        Ok(found.first().is_some_and(|found| found.is_of(&table.retention)))
    }

    fn warn_of_failure(&self, failure: &Failure) {
        if let Some(suppressed) = self.failure_log.allow(self.context.clock.now_ms()) {
            let exporter = &self.context.id;
            tracing::warn!(
                %exporter, %failure, suppressed,
                "the disks of the server cannot be looked at, or no space can be made"
            );
        }
    }
}

impl Found {
    /// Whether it is of a table that was created with this retention.
    fn is_of(&self, retention: &Retention) -> bool {
        let compact = |text: &str| text.replace([' ', '`', '(', ')'], "");
        let Some(end) = retention.end("time") else { return false };
        compact(&self.partition_key) == compact(&retention.partition("toDate(time)"))
            && compact(&self.engine_full).contains(&format!("TTL{}SETTINGS", compact(&end)))
            && self.time_type.contains("'UTC'")
            && (!retention.has_classes() || self.classes == retention.expression())
    }
}

#[cfg(test)]
mod tests {
    use weir_config::Duration;

    use super::*;
    use crate::schema::retention::Class;

    #[test]
    fn a_table_that_keeps_its_rows_otherwise_is_not_touched() {
        let week = Retention { ttl_seconds: 604_800, classes: Vec::new() };
        let class = Class { r#where: "x".to_owned(), ttl: Duration::from_secs(9) };
        let classes = Retention { ttl_seconds: 604_800, classes: vec![class] };
        let ttl = |kept: &str| {
            format!(
                "MergeTree PARTITION BY p ORDER BY o TTL toDateTime(least(toUnixTimestamp(toDateTime(time)) + {kept}, 4294967295)) SETTINGS index_granularity = 8192"
            )
        };
        let found = |key: &str, kept: &str, zone: &str, classes: &str| Found {
            partition_key: key.to_owned(),
            engine_full: ttl(kept),
            time_type: format!("DateTime64(9{zone})"),
            classes: classes.to_owned(),
        };
        let utc = ", 'UTC'";
        let classed = classes.expression();
        for (found, retention, expected) in [
            (found("toDate(time)", "604800", utc, ""), &week, true),
            (found("toMonday(time)", "604800", utc, ""), &week, false),
            (found("toDate(time)", "6048000", utc, ""), &week, false),
            (found("toDate(time)", "604800", "", ""), &week, false),
            (found("toDate(time), _ttl_s", "_ttl_s", utc, &classed), &classes, true),
            (found("(toDate(time), _ttl_s)", "_ttl_s", utc, "multiIf((y), 9, 604800)"), &classes, false),
            (found("toDate(time)", "604800", utc, ""), &classes, false),
            (found("(toDate(time), _ttl_s)", "_ttl_s", utc, &classed), &week, false),
        ] {
            assert_eq!(found.is_of(retention), expected, "{found:?}");
        }
        let kept = Found {
            engine_full: "MergeTree ORDER BY o SETTINGS a = 1".to_owned(),
            ..found("toDate(time)", "", utc, "")
        };
        assert!(!kept.is_of(&week) && !kept.is_of(&Retention::default()));
    }
}
