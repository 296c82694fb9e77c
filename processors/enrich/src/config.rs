//! The settings of an `enrich` processor.

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_component::{Check, Context, Settings};
use weir_config::{ComponentId, Diagnostics};
use weir_pdata::schema::is_fixed_anywhere;

use crate::business::Business;
use crate::cast::CastType;

/// The settings of an `enrich` processor. Applied in the order `drop`, `rename`, `types`,
/// `business`, `instances`, then the constants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Columns with the same text in every row.
    pub tags: BTreeMap<String, String>,
    /// Names of environment variables of this process, or globs; each variable is a column `env.NAME`.
    pub env: Vec<String>,
    /// Whether to add `host.name`, `os.type`, `container.id` of this machine.
    pub host: bool,
    /// Whether `tags`, `env` and `host` replace what events bring under the same names.
    pub overwrite: bool,
    /// Attributes to cast, by the name that they have after renaming.
    pub types: BTreeMap<String, CastType>,
    /// Attributes to rename: old name to new name.
    pub rename: BTreeMap<String, String>,
    /// Attributes to remove.
    pub drop: Vec<String>,
    /// Columns from the properties that agents report of their service instance.
    pub instances: Option<Instances>,
    /// Columns that say which business an event is of.
    pub business: Option<Business>,
}

/// `instances`: columns from the properties of service instances.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Instances {
    /// Each column, and the properties that it is taken from: the first that an instance has.
    pub columns: BTreeMap<String, Vec<String>>,
    /// The most instances that are known at a time.
    pub max: usize,
    /// The extension that keeps them through restarts.
    pub storage: Option<ComponentId>,
}

impl Default for Instances {
    fn default() -> Instances {
        let column = |(name, properties): (&str, &[&str])| {
            (name.to_owned(), properties.iter().map(|property| (*property).to_owned()).collect())
        };
        let columns: [(&str, &[&str]); 5] = [
            ("host.name", &["hostname", "host.name"]),
            ("host.ip", &["ipv4", "host.ip"]),
            ("k8s.pod.name", &["k8s.pod.name", "pod", "pod_name", "POD_NAME"]),
            ("process.pid", &["Process No.", "process.pid"]),
            ("telemetry.sdk.language", &["language", "telemetry.sdk.language"]),
        ];
        Instances { columns: columns.map(column).into(), max: 10_000, storage: None }
    }
}

/// The most instances that can be configured: some hundred megabytes.
const MOST_INSTANCES: usize = 1_000_000;

impl Config {
    /// The faults, by key.
    fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut names: Vec<(String, &str)> = Vec::new();
        names.extend(self.tags.keys().map(|name| (quoted("tags", name), &**name)));
        names.extend(self.types.keys().map(|name| (quoted("types", name), &**name)));
        for (old, new) in &self.rename {
            names.push((quoted("rename", old), old));
            names.push((quoted("rename", old), new));
        }
        names.extend(self.drop.iter().enumerate().map(|(at, name)| (format!("drop[{at}]"), &**name)));
        names.extend(self.env.iter().enumerate().map(|(at, name)| (format!("env[{at}]"), &**name)));
        for (key, name) in names {
            if name.is_empty() {
                found.push((key, "a name must not be empty".to_owned()));
            } else if !key.starts_with("env") && is_fixed_anywhere(name) {
                let message = format!(
                    "`{name}` is a fixed column, and `enrich` changes attributes only; \
                     an attribute of that name is written `attr.{name}`"
                );
                found.push((key, message));
            }
        }
        self.find_contradictions(&mut found);
        if let Some(business) = &self.business {
            found.extend(business.problems(&self.drop, |name| self.rename.get(name).map(String::as_str)));
        }
        if let Some(instances) = &self.instances {
            instances.find_problems(&self.drop, &mut found);
        }
        found
    }

    fn find_contradictions(&self, found: &mut Vec<(String, String)>) {
        let mut targets = BTreeMap::new();
        for (old, new) in &self.rename {
            let key = quoted("rename", old);
            if old == new {
                found.push((key.clone(), format!("`{old}` already has this name")));
            }
            if let Some(other) = targets.insert(new, old) {
                found.push((key.clone(), format!("`{other}` and `{old}` cannot both be renamed to `{new}`")));
            }
            if self.drop.contains(old) {
                found.push((
                    key.clone(),
                    format!("`{old}` is dropped before it can be renamed; remove it from `drop`"),
                ));
            }
        }
        for name in self.types.keys() {
            let key = quoted("types", name);
            if self.tags.contains_key(name) {
                found.push((key, format!("`{name}` is in `tags`; tags are text")));
            } else if targets.contains_key(name) {
                // Cast after renaming.
            } else if let Some(new) = self.rename.get(name) {
                found.push((key, format!("`{name}` is renamed before it can be cast; write `{new}`")));
            } else if self.drop.contains(name) {
                found
                    .push((key, format!("`{name}` is dropped before it can be cast; remove it from `drop`")));
            }
        }
    }
}

impl Instances {
    fn find_problems(&self, dropped: &[String], found: &mut Vec<(String, String)>) {
        let mut wrong = |key: String, why: &str| found.push((key, why.to_owned()));
        if self.columns.is_empty() {
            wrong("instances.columns".to_owned(), "name at least one column");
        }
        for (name, properties) in &self.columns {
            let key = quoted("instances.columns", name);
            if name.is_empty() || properties.iter().any(String::is_empty) {
                wrong(key, "a name must not be empty");
            } else if is_fixed_anywhere(name) {
                wrong(key, "it is a fixed column: write `attr.` before it, or take another name");
            } else if properties.is_empty() {
                wrong(key, "name the properties that it is taken from, such as [hostname]");
            } else if let Some(property) = properties.iter().find(|property| dropped.contains(property)) {
                wrong(key, &format!("`{property}` is dropped before it can be read; remove it from `drop`"));
            }
        }
        if !(1..=MOST_INSTANCES).contains(&self.max) {
            wrong("instances.max".to_owned(), "must be between 1 and 1000000");
        }
    }
}

/// A key path whose last key may have dots.
fn quoted(section: &str, name: &str) -> String {
    format!("{section}.{name:?}")
}

/// Reads and checks the settings.
///
/// # Errors
/// Every wrong key and value, with its place.
pub(crate) fn read(settings: Settings<'_>, context: &Context) -> Result<Config, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    check.all(config.problems());
    let storage = config.instances.as_ref().and_then(|instances| instances.storage.as_ref());
    if let Some(Err(why)) = storage.map(|id| context.storages.find(id)) {
        check.wrong("instances.storage", why);
    }
    check.finish(config)
}
