//! Whether a table leaves out an insert that it has taken before.

use serde::Deserialize;

/// A table's engine, as `system.tables` tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Engine {
    pub(crate) engine: String,
    pub(crate) engine_full: String,
}

/// The setting that makes a table that is not replicated remember its inserts.
const WINDOW: &str = "non_replicated_deduplication_window";

impl Engine {
    /// Why the table may keep an insert that comes twice; `None` when it does not.
    pub(crate) fn keeps_repeats(&self) -> Option<String> {
        let Engine { engine, engine_full } = self;
        if !engine.ends_with("MergeTree") {
            let hint = "insert into the MergeTree tables behind it, or let it be one";
            return Some(format!("its engine {engine} does not remember inserts: {hint}"));
        }
        if engine.starts_with("Replicated") || engine.starts_with("Shared") {
            let off = engine_full.contains("replicated_deduplication_window = 0");
            return off.then(|| "its replicated_deduplication_window is 0: raise it".to_owned());
        }
        let window = engine_full.split(WINDOW).nth(1).map(|rest| rest.trim_start_matches([' ', '=']));
        let remembers = window.is_some_and(|window| window.starts_with(|c: char| ('1'..='9').contains(&c)));
        (!remembers)
            .then(|| format!("ALTER TABLE … MODIFY SETTING {WINDOW} = 100000 makes it remember inserts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(engine: &str, settings: &str) -> bool {
        let engine_full = format!("{engine} ORDER BY time SETTINGS index_granularity = 8192{settings}");
        Engine { engine: engine.to_owned(), engine_full }.keeps_repeats().is_some()
    }

    #[test]
    fn tables_that_remember_inserts_are_known() {
        assert!(!keeps("ReplicatedReplacingMergeTree", ""));
        assert!(!keeps("SharedMergeTree", ""));
        assert!(!keeps("MergeTree", ", non_replicated_deduplication_window = 10000"));
    }

    #[test]
    fn tables_that_do_not_are_told() {
        assert!(keeps("MergeTree", ""));
        assert!(keeps("MergeTree", ", non_replicated_deduplication_window = 0"));
        assert!(keeps("ReplicatedMergeTree", ", replicated_deduplication_window = 0"));
        assert!(keeps("Distributed", ""));
        assert!(keeps("Null", ""));
    }
}
