//! The processor of one pipeline: rules from the configuration and from Kafka, one evaluator on the trunk,
//! and its state in a storage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::storage::Storage;
use weir_component::{
    Check, Context, LaneMessage, Processor, Settings, Stage, StartError, Status, TrunkMessage, WindowProblem,
    WindowSources,
};
use weir_config::Diagnostics;
use weir_pdata::{Demand, Signal, SignalSet};

use crate::config::Config;
use crate::evaluation::evaluator::Evaluator;
use crate::evaluation::series_table::Bounds;
use crate::metrics::RuleMetrics;
use crate::rule::Rule;
use crate::rule::glob::Glob;
use crate::rule::window_names;
use crate::rule_source::client::client_config;
use crate::rule_source::files::{FileWatcher, RuleFiles, Texts, unreadable};
use crate::rule_source::rule_book::RuleBook;
use crate::rule_source::rule_set::SharedRules;
use crate::rule_source::topic_reader::Reader;
use crate::stage::{LaneHalf, TrunkHalf};
use crate::state::history::History;
use crate::state::journal::Journal;
use crate::state::journal::store::{JournalStore, SHORTEST_LOG};
use crate::state::remembered::RememberedSeries;

/// Rules over windows.
struct Threshold {
    rules: SharedRules,
    /// The key of the rules of the configuration.
    rules_key: &'static str,
    /// Where they stand in its list.
    places: Vec<usize>,
    bounds: Bounds,
    context: Context,
    book: Arc<Mutex<RuleBook>>,
    /// The rule files and their contents at the start; taken by the first start.
    files: Mutex<Option<(RuleFiles, Texts)>>,
    /// The plan by which `start` reads rules from Kafka; taken by the first start.
    kafka: Mutex<Option<Plan>>,
    storage: Option<Arc<dyn Storage>>,
    /// The state that `start` found in the storage, for the trunk.
    saved: Mutex<Option<(Journal, RememberedSeries)>>,
}

struct Plan {
    client: ClientConfig,
    topic: String,
}

/// Reads and checks the settings.
pub(crate) fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Processor>, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    let (places, inline): (Vec<usize>, Vec<Rule>) = config.check(&mut check).into_iter().unzip();
    let client = config.rules.kafka.as_ref().map(client_config).transpose().unwrap_or_else(|wrong| {
        for (key, message) in wrong {
            check.wrong(format!("rules.kafka.{key}").trim_end_matches('.'), message);
        }
        None
    });
    let storage = config.storage.as_ref().map(|id| context.storages.find(id)).transpose();
    let storage = storage.unwrap_or_else(|why| {
        check.wrong("storage", why);
        None
    });
    check.finish(())?;
    let files = RuleFiles { id: context.id.clone(), paths: config.rules.files.clone() };
    let texts = files.read().map_err(|why| {
        let mut wrong = Diagnostics::new();
        wrong.push(unreadable(why));
        wrong
    })?;
    let of_files = files.rules(&texts)?;
    let kafka = config.rules.kafka.as_ref();
    let operator = kafka.and_then(|kafka| kafka.operator.as_ref()).map(Glob::new);
    let mut book = RuleBook::new(inline, operator, kafka.map_or(0, |kafka| kafka.max_rules));
    if let Err(refused) = book.set_files(of_files) {
        let mut wrong = Diagnostics::new();
        wrong.push(settings.error_at("rules.files", refused.to_string()));
        return Err(wrong);
    }
    book.publish_first();
    RuleMetrics::new(&context).set_rules(book.epoch(), book.counts());
    let (rules, rules_key) = (book.shared(), config.rules.path);
    let plan = client.zip(config.rules.kafka).map(|(client, kafka)| Plan { client, topic: kafka.topic });
    let (kafka, saved) = (Mutex::new(plan), Mutex::new(None));
    let book = Arc::new(Mutex::new(book));
    let files = Mutex::new((!files.paths.is_empty()).then_some((files, texts)));
    Ok(Box::new(Threshold {
        rules,
        rules_key,
        places,
        bounds: Bounds { series: config.max_series, past_windows: config.max_past_windows },
        context,
        book,
        files,
        kafka,
        storage,
        saved,
    }))
}

#[async_trait]
impl Processor for Threshold {
    /// Windows are made with all their columns: there is nothing to ask decoders of events for.
    fn demand(&self) -> Demand {
        Demand::nothing()
    }

    fn check_windows(&self, sources: &WindowSources) -> Vec<WindowProblem> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).expect_windows(sources.clone());
        let rules = self.rules.load();
        let mut all = rules.inline_rules().map(|(_, rule)| rule);
        let own = self.places.iter().copied().zip(all.by_ref());
        let mut problems = window_names::check(self.rules_key, own, sources);
        problems.extend(window_names::check("rules.files", all.enumerate(), sources));
        problems
    }

    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Windows, Signal::Alarms])
    }

    fn lane_stage(&self, _start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        Some(Box::new(LaneHalf::default()))
    }

    fn trunk_stage(&self, trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        let evaluator = Evaluator::new(self.rules.clone(), self.bounds, &self.context);
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (journal, known) = saved.unzip();
        let history = History::new(trunk.marks.clone(), known.unwrap_or_default());
        Some(Box::new(TrunkHalf::new(evaluator, history, journal, trunk, &self.context)))
    }

    async fn start(&self, pipeline: &str, stop: CancellationToken) -> Result<(), StartError> {
        if let Some(storage) = self.storage.clone() {
            let (context, pipeline) = (self.context.clone(), pipeline.to_owned());
            let store = JournalStore { storage, context, pipeline, shortest: SHORTEST_LOG };
            let opened = store.open(stop.clone()).await?;
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        }
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((files, known)) = files {
            let (book, context) = (Arc::clone(&self.book), self.context.clone());
            tokio::spawn(FileWatcher { files, known, book, context }.run(stop.clone()));
        }
        let plan = self.kafka.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Plan { client, topic }) = plan else { return Ok(()) };
        let book = Arc::clone(&self.book);
        let id = &self.context.id;
        let failed =
            |what: String| StartError(format!("{id}: the rules' topic `{topic}` cannot be read: {what}"));
        let reader =
            Reader::new(&client, &topic, book, &self.context).map_err(|error| failed(error.to_string()))?;
        let (ready, is_ready) = oneshot::channel();
        let (token, context) = (stop.clone(), self.context.clone());
        std::thread::Builder::new()
            .name("weir-rules".to_owned())
            .spawn(move || {
                let read = catch_unwind(AssertUnwindSafe(|| reader.run(&token, ready)));
                if read.is_err() {
                    let why = "the reader of the rules ended abnormally: changes of the rules are not seen any more, restart Weir";
                    tracing::error!(processor = %context.id, "{why}");
                    context.health.report(Status::PermanentError(why.to_owned()));
                }
            })
            .map_err(|error| failed(format!("no thread: {error}")))?;
        tokio::select! {
            read = is_ready => match read {
                Ok(()) => Ok(()),
                Err(_) if stop.is_cancelled() => Ok(()),
                Err(_) => Err(failed("its reader ended".to_owned())),
            },
            () = stop.cancelled() => Ok(()),
        }
    }
}
