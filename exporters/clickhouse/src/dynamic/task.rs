//! The task that writes down keys and creates columns. Every gateway runs one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use weir_component::failpoint;
use weir_component::{Context, LogLimit};

use crate::client::failure::Failure;
use crate::client::server::Server;
use crate::config::{CreateSchema, DynamicColumns};
use crate::dynamic::census::{Census, Seen};
use crate::dynamic::key_type::KeyType;
use crate::dynamic::statements::{KEYS, NEW_KEY, add_columns, column_of, tables, view};
use crate::metrics::ColumnMetrics;
use crate::schema::quoting::literal;

/// The most columns that one statement adds.
const COLUMNS_A_STATEMENT: usize = 16;
/// The most keys that are known to be written down. Further ones may be written again.
const MOST_ANNOUNCED: usize = 200_000;
/// How many keys are looked at for columns, the most frequent first.
const MOST_RANKED: usize = 10_000;
/// How long a round may take.
const ROUND: Duration = Duration::from_secs(60);
/// How long the last writing may take when the exporter stops.
const LAST: Duration = Duration::from_secs(2);

/// What the task works with.
pub(crate) struct ColumnTask {
    pub(crate) server: Arc<Server>,
    pub(crate) census: Arc<Census>,
    pub(crate) config: DynamicColumns,
    pub(crate) create: CreateSchema,
    /// The table that gets columns.
    pub(crate) table: String,
    /// Conditions of `retention`, which read keys from the map: these get no columns.
    pub(crate) conditions: Vec<String>,
    pub(crate) metrics: ColumnMetrics,
    pub(crate) context: Context,
    /// Tells apart what several runs write.
    pub(crate) run: String,
}

/// What a running task remembers.
#[derive(Default)]
struct Progress {
    /// Whether the tables were found or created.
    ready: bool,
    /// Whether `announced` has what earlier runs wrote.
    read: bool,
    announced: HashSet<Box<str>>,
    /// How many writings there were.
    writings: u64,
    /// Counts that are not written down for certain.
    pending: Option<Pending>,
}

/// Counts that were taken, for inserts that a repeat does not double.
struct Pending {
    seen: Seen,
    /// The hour in which they were taken, in seconds.
    hour: i64,
    token: String,
}

/// A key in `new_key`.
#[derive(Debug, Deserialize)]
struct KnownKey {
    key: String,
    created: u8,
    /// Seconds since it was first written down.
    age: i64,
}

/// A key in `keys`.
#[derive(Debug, Deserialize)]
struct RankedKey {
    key: String,
    types: Vec<String>,
}

impl ColumnTask {
    /// Works until `stop` says so, and writes once more then.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut progress = Progress::default();
        let log = LogLimit::every_ms(60_000);
        loop {
            let stopped = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(self.config.interval.get()) => false,
            };
            if stopped {
                // What cannot be written within that time is counted anew when it is seen again. The second
                // writing is of what came after one that failed.
                let last = async {
                    self.write(&mut progress).await?;
                    self.write(&mut progress).await
                };
                let _ = tokio::time::timeout(LAST, last).await;
                return;
            }
            // A round may end anywhere: the next one goes on.
            let round = tokio::time::timeout(ROUND, self.round(&mut progress));
            let done = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => continue,
                done = round => done.unwrap_or_else(|_| Err(Failure::other(format!("not done within {ROUND:?}")))),
            };
            if let Err(failure) = done
                && let Some(suppressed) = log.allow(self.context.clock.now_ms())
            {
                let (exporter, table) = (&self.context.id, &self.table);
                tracing::warn!(
                    %exporter, table, %failure, suppressed,
                    "keys are not all written down, in columns and in the view: values without a column stay in the map, and this is tried again"
                );
            }
        }
    }

    async fn round(&self, progress: &mut Progress) -> Result<(), Failure> {
        self.write(progress).await?;
        if self.config.max_created_columns > 0 {
            self.create_columns().await?;
        }
        Ok(())
    }

    /// Writes what was counted, and the keys that were not written down yet: an insert for each.
    async fn write(&self, progress: &mut Progress) -> Result<(), Failure> {
        if !progress.ready {
            self.prepare().await?;
            progress.ready = true;
        }
        // It is kept until both inserts are known to be done: a repeat has the same rows and the same token.
        if progress.pending.is_none() {
            let seen = self.census.take();
            if !seen.is_empty() {
                progress.writings += 1;
                let hour = self.context.clock.now_ms() / 3_600_000 * 3_600;
                let token = format!("{}:{}", self.run, progress.writings);
                progress.pending = Some(Pending { seen, hour, token });
            }
        }
        let Some(pending) = &progress.pending else { return Ok(()) };
        self.write_counts(pending).await?;
        if !progress.read {
            let sql = format!(
                "SELECT DISTINCT keyName AS key FROM {} LIMIT {MOST_ANNOUNCED}",
                self.server.table(NEW_KEY)
            );
            let known: Vec<OneKey> = self.server.rows(&sql).await?;
            progress.announced.extend(known.into_iter().map(|known| known.key.into()));
            progress.read = true;
        }
        self.announce(&pending.seen, &mut progress.announced, &pending.token).await?;
        progress.pending = None;
        Ok(())
    }

    /// Finds or creates the two tables.
    async fn prepare(&self) -> Result<(), Failure> {
        for statement in tables(self.server.database()) {
            match self.server.columns(&statement.name).await {
                Err(failure) if failure.is_missing_table() && self.create == CreateSchema::Create => {
                    self.server.create_with(&statement.sql).await?;
                }
                there => drop(there?),
            }
        }
        Ok(())
    }

    async fn write_counts(&self, Pending { seen, hour, token }: &Pending) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for (service, keys) in &seen.by_service {
            for (key, count) in keys {
                let kind = self.declared(key).unwrap_or_else(|| count.fits.key_type());
                rows.push(format!(
                    "({hour}, {}, {}, '{}', {})",
                    literal(service),
                    literal(key),
                    kind.name(),
                    count.count
                ));
            }
        }
        self.server
            .insert_values(KEYS, "time, service, key, type, count", &rows, &format!("keys:{token}"))
            .await
    }

    /// Writes the keys into `new_key` that are not there.
    async fn announce(
        &self,
        seen: &Seen,
        announced: &mut HashSet<Box<str>>,
        token: &str,
    ) -> Result<(), Failure> {
        let mut new: BTreeMap<&str, KeyType> = BTreeMap::new();
        for (key, count) in seen.by_service.values().flatten() {
            if !announced.contains(key) {
                let kind = self.declared(key).unwrap_or_else(|| count.fits.key_type());
                new.entry(key)
                    .and_modify(|known| *known = KeyType::common([known.name(), kind.name()]))
                    .or_insert(kind);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let rows: Vec<String> = new
            .iter()
            .map(|(key, kind)| format!("({}, '{}', false, now('UTC'))", literal(key), kind.name()))
            .collect();
        self.insert_keys(&rows, &format!("new_key:{token}")).await?;
        let room = MOST_ANNOUNCED.saturating_sub(announced.len());
        announced.extend(new.keys().take(room).map(|key| Box::from(*key)));
        Ok(())
    }

    async fn insert_keys(&self, rows: &[String], token: &str) -> Result<(), Failure> {
        self.server.insert_values(NEW_KEY, "keyName, keyType, isCreated, createTime", rows, token).await
    }

    /// Whether a condition reads this key from the map, where its values have to stay.
    fn is_in_a_condition(&self, key: &str) -> bool {
        self.conditions.iter().any(|condition| condition.contains(&literal(key)))
    }

    fn declared(&self, key: &str) -> Option<KeyType> {
        self.config.types.get(key).copied()
    }

    /// Creates the columns that there is room for, marks keys whose columns are there, and brings the view up
    /// to date.
    async fn create_columns(&self) -> Result<(), Failure> {
        let (keys, new_key) = (self.server.table(KEYS), self.server.table(NEW_KEY));
        let known: Vec<KnownKey> = self
            .server
            .rows(&format!(
                "SELECT keyName AS key, max(toUInt8(isCreated)) AS created, \
                 dateDiff('second', min(createTime), now('UTC')) AS age FROM {new_key} WHERE isCreated OR keyName IN \
                 (SELECT key FROM {keys} GROUP BY key ORDER BY sum(count) DESC, key LIMIT {MOST_RANKED}) GROUP BY keyName"
            ))
            .await?;
        let described = match self.server.described(&self.table).await {
            // It is created with the first insert.
            Err(failure) if failure.is_missing_table() => return Ok(()),
            described => described?,
        };
        let engine = self.server.engine(&self.table).await?;
        if engine.as_ref().is_some_and(|engine| !engine.ends_with("MergeTree")) {
            let engine = engine.unwrap_or_default();
            return Err(Failure::other(format!(
                "the engine of `{}` is {engine}, and columns are created in MergeTree tables only: add them yourself, and set \
                 max_created_columns: 0",
                self.table
            )));
        }
        let is_computed = |kind: &str| matches!(kind, "ALIAS" | "MATERIALIZED");
        let there: HashMap<&str, bool> = described
            .iter()
            .map(|column| (column.name.as_str(), is_computed(&column.default_type)))
            .collect();
        // Whether a key has a column that values go into; `None`: it can have none, its name is that of a
        // computed one.
        let column = |key: &str| match there.get(column_of(key)?.as_str()) {
            Some(true) => None,
            found => Some(found.is_some()),
        };
        let has_column = |key: &str| column(key) == Some(true);
        // Killed between the column and the mark, or another gateway is between them: the mark is added.
        let unmarked: Vec<&str> = known
            .iter()
            .filter(|key| key.created == 0 && has_column(&key.key))
            .map(|key| key.key.as_str())
            .collect();
        self.mark(&unmarked).await?;
        let mut created: BTreeSet<&str> =
            known.iter().filter(|key| has_column(&key.key)).map(|key| key.key.as_str()).collect();
        let room = self.config.max_created_columns.saturating_sub(created.len());
        // A key with a mark and without a column: somebody has dropped it.
        let settled = i64::try_from(self.config.interval.get().as_secs()).unwrap_or(i64::MAX);
        let open: HashSet<&str> = known
            .iter()
            .filter(|key| key.created == 0 && key.age >= settled && self.config.allows(&key.key))
            .map(|key| key.key.as_str())
            .filter(|key| column(key) == Some(false) && !self.is_in_a_condition(key))
            .collect();
        let ranked = if room == 0 || open.is_empty() { Vec::new() } else { self.ranked().await? };
        let chosen: Vec<&RankedKey> =
            ranked.iter().filter(|ranked| open.contains(ranked.key.as_str())).take(room).collect();
        let mut failed = None;
        for chosen in chosen.chunks(COLUMNS_A_STATEMENT) {
            let columns: Vec<(&str, String, KeyType)> = chosen
                .iter()
                .filter_map(|ranked| {
                    let common = || KeyType::common(ranked.types.iter().map(String::as_str));
                    let kind = self.declared(&ranked.key).unwrap_or_else(common);
                    Some((ranked.key.as_str(), column_of(&ranked.key)?, kind))
                })
                .collect();
            let mut done = self.add(&columns).await;
            if done.is_err() && columns.len() > 1 {
                // One that the server refuses does not keep the others from theirs.
                for column in columns.chunks(1) {
                    match self.add(column).await {
                        Ok(()) => created.extend(column.iter().map(|(key, ..)| *key)),
                        Err(failure) => failed = Some(failure),
                    }
                }
                done = Ok(());
            } else if done.is_ok() {
                created.extend(columns.iter().map(|(key, ..)| *key));
            }
            failed = done.err().or(failed);
        }
        self.metrics.created.set(i64::try_from(created.len()).unwrap_or(i64::MAX));
        let computed: Vec<&str> = described
            .iter()
            .filter(|column| column.default_type == "ALIAS")
            .map(|column| column.name.as_str())
            .collect();
        self.show(&created.into_iter().collect::<Vec<_>>(), &computed).await?;
        failed.map_or(Ok(()), Err)
    }

    /// Adds columns for these keys, and marks them.
    async fn add(&self, columns: &[(&str, String, KeyType)]) -> Result<(), Failure> {
        let named: Vec<(String, KeyType)> =
            columns.iter().map(|(_, column, kind)| (column.clone(), *kind)).collect();
        let sql = add_columns(&self.server.table(&self.table), &named);
        if let Err(failure) = self.server.create_with(&sql).await {
            self.metrics.failed_alters.inc();
            return Err(failure);
        }
        failpoint::reach("after-alter");
        let keys: Vec<&str> = columns.iter().map(|(key, ..)| *key).collect();
        self.mark(&keys).await?;
        failpoint::reach("after-created-mark");
        tracing::info!(
            exporter = %self.context.id, table = self.table, keys = keys.join(", "), "created columns for keys"
        );
        Ok(())
    }

    /// The keys in `keys`, the most frequent first, with the types of their values.
    async fn ranked(&self) -> Result<Vec<RankedKey>, Failure> {
        let sql = format!(
            "SELECT key, groupUniqArray(type) AS types FROM {} GROUP BY key ORDER BY sum(count) DESC, key LIMIT {MOST_RANKED}",
            self.server.table(KEYS)
        );
        self.server.rows(&sql).await
    }

    /// Marks keys as created.
    async fn mark(&self, keys: &[&str]) -> Result<(), Failure> {
        if keys.is_empty() {
            return Ok(());
        }
        let key_list: Vec<String> = keys.iter().map(|key| literal(key)).collect();
        // With the type that the column has now.
        let columns = self.server.described(&self.table).await?;
        let kind = |key: &str| {
            let column = column_of(key)?;
            let kind = &columns.iter().find(|there| there.name == column)?.r#type;
            let names = [("Int", KeyType::Integer), ("Float", KeyType::Float), ("Bool", KeyType::Boolean)];
            Some(names.iter().find(|(name, _)| kind.contains(name)).map_or(KeyType::Text, |(_, kind)| *kind))
        };
        let rows: Vec<String> = keys
            .iter()
            .zip(&key_list)
            .filter_map(|(key, text)| Some(format!("({text}, '{}', true, now('UTC'))", kind(key)?.name())))
            .collect();
        // Equal marks of several gateways are one row after a merge.
        self.insert_keys(&rows, "").await
    }

    /// Makes the view that hides where values are, when it lacks a key.
    async fn show(&self, keys: &[&str], computed: &[&str]) -> Result<(), Failure> {
        let name = format!("{}_all", self.table);
        if self.create != CreateSchema::Create {
            return Ok(());
        }
        let columns: Vec<String> = keys.iter().filter_map(|key| column_of(key)).collect();
        match self.server.columns(&name).await {
            Ok(_) if self.server.engine(&name).await?.as_deref() != Some("View") => {
                return Err(Failure::other(format!(
                    "`{name}` is no view of Weir's, and stays as it is: rename it for a view that hides where values are"
                )));
            }
            Ok(there) if columns.iter().all(|column| there.find(column).is_some()) => {
                // A column that it names may be gone.
                let look = format!("SELECT '' AS key FROM {} LIMIT 0", self.server.table(&name));
                if self.server.rows::<OneKey>(&look).await.is_ok() {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(failure) if failure.is_missing_table() && keys.is_empty() => return Ok(()),
            Err(failure) if failure.is_missing_table() => {}
            Err(failure) => return Err(failure),
        }
        let sql = view(self.server.database(), &self.table, &name, keys, computed);
        self.server.create_with(&sql).await.map_err(|failure| {
            Failure::other(format!("the view `{name}` cannot be created or brought up to date: {failure}"))
        })
    }
}

#[derive(Debug, Deserialize)]
struct OneKey {
    key: String,
}

/// Something that no other run has, for the tokens of what it writes.
pub(crate) fn run_id(context: &Context) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}:{}:{random:016x}", context.id, context.clock.now_ms())
}
