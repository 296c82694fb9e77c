//! Rules from files that are watched.
//!
//! * A file is YAML with one key, `rules`: rules as in the configuration. At the start a file that is wrong
//!   is an error of the configuration.
//! * While running the files are looked at every second. New contents are taken when they are the same at
//!   two looks, so a file that is being written is not read by half.
//! * All files together are taken or refused: when one cannot be read or is wrong, the rules of all stay as
//!   they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use weir_component::{Check, Context, LogLimit, Settings};
use weir_config::{ComponentId, Diagnostic, Diagnostics, Document, Section, SourceText};

use crate::config::rule_keys::RuleKeys;
use crate::metrics::RuleMetrics;
use crate::rule::Rule;
use crate::rule_source::rule_book::{RuleBook, RuleChange};

const LOOK: Duration = Duration::from_secs(1);
/// As of a configuration.
const LONGEST_FILE: u64 = weir_config::limits::MAX_SOURCE_BYTES as u64;

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct RuleFiles {
    pub(crate) id: ComponentId,
    pub(crate) paths: Vec<PathBuf>,
}

/// The contents of all files, in their order.
pub(crate) type Texts = Vec<String>;

/// What tells that a file may have changed.
type Stamps = Vec<Option<(SystemTime, u64)>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    rules: Vec<RuleKeys>,
}

impl RuleFiles {
    /// The contents.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub(crate) fn read(&self) -> Result<Texts, String> {
        let text = |path: &PathBuf| {
            let shown = path.display();
            let why =
                |error: &dyn std::fmt::Display| format!("the rule file `{shown}` cannot be read: {error}");
            let length = std::fs::metadata(path).map_err(|error| why(&error))?.len();
            if length > LONGEST_FILE {
                return Err(why(&format!("it has {length} bytes, and at most {LONGEST_FILE} are read")));
            }
            std::fs::read_to_string(path).map_err(|error| why(&error))
        };
        self.paths.iter().map(text).collect()
    }

    /// The rules in these contents that are enabled.
    ///
    /// # Errors
    /// Everything that is wrong with them, with its place in the file.
    pub(crate) fn rules(&self, texts: &Texts) -> Result<Vec<Rule>, Diagnostics> {
        let mut found = Diagnostics::new();
        let (mut rules, mut names) = (Vec::new(), BTreeMap::new());
        for (path, text) in self.paths.iter().zip(texts) {
            match self.rules_of(path, text, &mut names) {
                Ok(more) => rules.extend(more),
                Err(wrong) => found.extend(wrong),
            }
        }
        found.into_result(rules)
    }

    fn rules_of(
        &self,
        path: &Path,
        text: &str,
        names: &mut BTreeMap<String, PathBuf>,
    ) -> Result<Vec<Rule>, Diagnostics> {
        let source = SourceText::new(path.display().to_string(), text.to_owned());
        let document = Document::load(vec![source], &[], &|name| std::env::var(name).ok())?;
        let node = document.root().clone();
        let (id, key_span) = (self.id.clone(), node.span);
        let section = Section { id, node, key_span, path: String::new() };
        let settings = Settings::new(&document, &section);
        let keys: Keys = settings.read()?;
        let mut check = Check::new(settings);
        let mut rules = Vec::new();
        for (index, keys) in keys.rules.iter().enumerate() {
            let place = format!("rules[{index}]");
            if let Some(first) = names.insert(keys.name().to_owned(), path.to_owned()) {
                let (name, first) = (keys.name(), first.display());
                check.wrong(
                    &format!("{place}.name"),
                    format!("`{first}` has a rule `{name}` too; names must differ"),
                );
            }
            rules.extend(keys.check(&mut check, &place).filter(|_| keys.is_enabled()));
        }
        check.finish(rules)
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.paths.iter().map(stamp).collect()
    }
}

/// An error of the configuration: its rule files cannot be read.
pub(crate) fn unreadable(why: String) -> Diagnostic {
    Diagnostic::error(why).with_help("check the path below `rules.files`, and that this user may read it")
}

/// Takes up changes of the files until stopped.
pub(crate) struct FileWatcher {
    pub(crate) files: RuleFiles,
    /// The contents that count.
    pub(crate) known: Texts,
    pub(crate) book: Arc<Mutex<RuleBook>>,
    pub(crate) context: Context,
}

impl FileWatcher {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let metrics = RuleMetrics::new(&self.context);
        let trouble = LogLimit::every_ms(10_000);
        let (mut known, mut stamps, mut pending) = (self.known.clone(), Stamps::new(), None);
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            let files = self.files.clone();
            let is_pending = pending.is_some();
            // Files may be on a slow disk, and conditions take a while to be planned.
            let looked = tokio::task::spawn_blocking(move || {
                let now = files.stamps();
                let read = (is_pending || now != stamps).then(|| files.read());
                (now, read)
            });
            let Ok((now, read)) = looked.await else { return };
            stamps = now;
            match read {
                None => {}
                Some(Err(why)) => {
                    pending = None;
                    // It is looked at again until it can be read.
                    stamps = Stamps::new();
                    if let Some(suppressed) = trouble.allow(self.context.clock.now_ms()) {
                        let processor = &self.context.id;
                        tracing::warn!(%processor, suppressed, "the rules of files stay as they were: {why}");
                    }
                }
                Some(Ok(texts)) if texts == known => pending = None,
                Some(Ok(texts)) if pending.as_ref() == Some(&texts) => {
                    pending = None;
                    known = texts.clone();
                    let (files, book) = (self.files.clone(), Arc::clone(&self.book));
                    let taken = tokio::task::spawn_blocking(move || take(&files, &texts, &book));
                    let Ok(taken) = taken.await else { return };
                    self.report(taken, &metrics);
                }
                Some(Ok(texts)) => pending = Some(texts),
            }
        }
    }

    /// Every change of a rule, and every refusal, is in the log.
    fn report(&self, taken: Result<Vec<RuleChange>, String>, metrics: &RuleMetrics) {
        let processor = &self.context.id;
        let paths: Vec<String> = self.files.paths.iter().map(|path| path.display().to_string()).collect();
        let source = paths.join(", ");
        match taken {
            Ok(changes) => {
                let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
                let epoch = book.epoch();
                metrics.set_rules(epoch, book.counts());
                for RuleChange { rule, change } in changes {
                    tracing::info!(%processor, source, epoch, %rule, "a rule was {change}");
                }
            }
            Err(why) => {
                metrics.rejected.inc();
                tracing::warn!(%processor, source, "new rules are rejected, those of all files stay as they were: {why}");
            }
        }
    }
}

/// Makes these contents the rules of the files.
fn take(files: &RuleFiles, texts: &Texts, book: &Mutex<RuleBook>) -> Result<Vec<RuleChange>, String> {
    let rules = files.rules(texts).map_err(|wrong| wrong.to_string())?;
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let changes = book.set_files(rules).map_err(|refused| refused.to_string())?;
    if !changes.is_empty() {
        book.publish();
    }
    Ok(changes)
}
