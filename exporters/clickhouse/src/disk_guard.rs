//! The task that looks at the server's disks.
//!
//! It warns first. When it was told to, it deletes the oldest day of the rows that are kept for the shortest
//! time, a day at a time. Never deleted: rows of today, rows of another class, and rows of tables that were
//! created without the classes of `retention`.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;
use weir_component::{Context, LogLimit};

use crate::client::failure::Failure;
use crate::client::server::Server;
use crate::config::DiskGuardKeys;
use crate::metrics::DiskMetrics;
use crate::schema::quoting::{literal, quoted};
use crate::schema::retention::Retention;

/// What the task works with.
pub(crate) struct DiskGuard {
    server: Arc<Server>,
    keys: DiskGuardKeys,
    /// Which partitions of the tables have the rows that are kept for the shortest time: a condition.
    cheapest: String,
    metrics: DiskMetrics,
    context: Context,
    /// Limits the warning that a disk is almost full.
    full_log: LogLimit,
    /// Limits the warning that it cannot be known or helped.
    failure_log: LogLimit,
}

/// A disk that has rows of the database.
#[derive(Debug, Deserialize)]
struct Disk {
    name: String,
    /// Bytes.
    free: f64,
    total: f64,
    /// Bytes of parts that were deleted or merged, and that the server will remove within minutes.
    leaving: f64,
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
    /// A guard over tables, each with its retention.
    pub(crate) fn new(
        server: Arc<Server>,
        keys: DiskGuardKeys,
        tables: &[(&str, Retention)],
        context: Context,
    ) -> DiskGuard {
        DiskGuard {
            server,
            keys,
            cheapest: cheapest(tables),
            metrics: DiskMetrics::new(&context),
            context,
            full_log: LogLimit::every_ms(600_000),
            failure_log: LogLimit::every_ms(600_000),
        }
    }

    /// Works until `stop` says so. It may be stopped anywhere.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(self.keys.interval.get()) => {}
            }
            let round = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                round = self.round() => round,
            };
            if let Err(failure) = round {
                self.warn_of_failure(&failure);
            }
        }
    }

    /// Looks at every disk once.
    async fn round(&self) -> Result<(), Failure> {
        let database = literal(self.server.database());
        let sql = format!(
            "SELECT disk_name AS name, any(toFloat64(disks.free_space)) AS free, any(toFloat64(disks.total_space)) AS total, \
             toFloat64(sumIf(bytes_on_disk, NOT active)) AS leaving \
             FROM system.parts AS parts INNER JOIN system.disks AS disks ON disks.name = parts.disk_name \
             WHERE database = {database} GROUP BY disk_name ORDER BY disk_name"
        );
        let disks: Vec<Disk> = self.server.rows(&sql).await?;
        for disk in disks.iter().filter(|disk| disk.total > 0.0) {
            let percent = |bytes: f64| bytes / disk.total * 100.0;
            self.metrics.free(&disk.name, percent(disk.free));
            if percent(disk.free) < f64::from(self.keys.warn_below_percent)
                && let Some(suppressed) = self.full_log.allow(self.context.clock.now_ms())
            {
                let (exporter, disk, free_percent) =
                    (&self.context.id, &disk.name, percent(disk.free).floor());
                tracing::warn!(
                    %exporter, disk, free_percent, suppressed,
                    "a disk of the server is almost full: inserts will fail. Delete rows, shorten `ttl`, or add space"
                );
            }
            // What was deleted is still there for minutes.
            if percent(disk.free + disk.leaving) < f64::from(self.keys.drop_below_percent) {
                self.drop_oldest(&disk.name).await?;
            }
        }
        Ok(())
    }

    /// Deletes the oldest day of the rows that are kept for the shortest time.
    async fn drop_oldest(&self, disk: &str) -> Result<(), Failure> {
        // Of several gateways each finds the same day, and deleting it again does nothing.
        let sql = format!(
            "SELECT table, partition_id AS id, partition AS name, sum(rows) AS row_count, sum(bytes_on_disk) AS size \
             FROM system.parts WHERE active AND rows > 0 AND database = {} AND disk_name = {} AND ({}) \
             AND toDate(extract(partition, '\\\\d{{4}}-\\\\d{{2}}-\\\\d{{2}}')) < toDate(now('UTC')) \
             GROUP BY table, partition_id, partition ORDER BY extract(partition, '\\\\d{{4}}-\\\\d{{2}}-\\\\d{{2}}'), table LIMIT 1",
            literal(self.server.database()),
            literal(disk),
            self.cheapest
        );
        let found: Vec<Day> = self.server.rows(&sql).await?;
        let Some(day) = found.first() else {
            return Err(Failure::other(format!(
                "the disk `{disk}` is almost full, and no day before today is left of the rows that are kept for the shortest time"
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

/// Which parts have the rows that are kept for the shortest time, as a condition on `system.parts`.
fn cheapest(tables: &[(&str, Retention)]) -> String {
    let shortest =
        tables.iter().map(|(_, retention)| retention.shortest()).filter(|seconds| *seconds > 0).min();
    let Some(shortest) = shortest else { return "false".to_owned() };
    let conditions: Vec<String> = tables
        .iter()
        .filter(|(_, retention)| retention.shortest() == shortest)
        .map(|(table, retention)| {
            let partition = retention.partition_pattern(shortest);
            format!("(table = {} AND match(partition, {}))", literal(table), literal(&partition))
        })
        .collect();
    conditions.join(" OR ")
}
