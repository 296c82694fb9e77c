//! The processor: what it reads, and the stages that it makes.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_component::delivery::{LaneStart, TrunkStart};
use weir_component::storage::Storage;
use weir_component::{Context, LaneMessage, Processor, Stage, StartError, TrunkMessage};
use weir_pdata::{Demand, SignalSet};

use crate::config::Config;
use crate::constants::Constants;
use crate::instances::kept::keep;
use crate::instances::table::InstanceTable;
use crate::stage::{EnrichStage, Plan, READS};
use crate::{environment, host};

/// The columns that `host: true` may add.
const HOST: [&str; 3] = ["host.name", "os.type", "container.id"];

/// Adds constant columns, casts, renames and drops attributes.
pub(crate) struct Enrich {
    plan: Arc<Plan>,
    demand: Demand,
    tags: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    host: Option<Host>,
    overwrite: bool,
    instances: Option<Arc<InstanceTable>>,
    /// Where they are kept.
    storage: Option<Arc<dyn Storage>>,
    context: Context,
    /// Made when the processor starts: reading about the host is I/O.
    constants: OnceLock<Constants>,
}

/// How to find out about the host.
struct Host {
    read: ReadFile,
    environment: Vec<(String, String)>,
}

/// Gives the text of a file.
type ReadFile = fn(&str) -> Option<String>;

impl Enrich {
    /// A processor with checked settings, the environment's variables, and a way to read files about the
    /// host.
    pub(crate) fn new(
        config: &Config,
        environment: &[(String, String)],
        read: ReadFile,
        context: Context,
    ) -> Enrich {
        let tags: Vec<_> = config.tags.clone().into_iter().collect();
        let selected = environment::selected(&config.env, environment);
        let storage = config.instances.as_ref().and_then(|instances| instances.storage.as_ref());
        // A storage that is not there is an error of the configuration.
        let storage = storage.and_then(|id| context.storages.find(id).ok());
        let instances = config.instances.as_ref().map(|of| Arc::new(InstanceTable::new(of, &context)));
        let plan = Plan::new(config, context.clone());
        let mut names = plan.names();
        names.extend(tags.iter().chain(&selected).map(|(name, _)| name.clone()));
        if config.host {
            names.extend(HOST.map(str::to_owned));
        }
        let mut demand = Demand::nothing();
        if let Some(table) = &instances {
            names.extend(["event_name", "service", "service_instance"].map(str::to_owned));
            names.extend(table.columns.iter().map(|(name, _)| name.clone()));
            // Properties are among them.
            demand.attributes = true;
        }
        let host = config.host.then(|| Host { read, environment: environment.to_vec() });
        Enrich {
            plan: Arc::new(plan),
            demand: demand.and(Demand::names(names)),
            tags,
            environment: selected,
            host,
            overwrite: config.overwrite,
            instances,
            storage,
            context,
            constants: OnceLock::new(),
        }
    }

    /// Tags win over variables, and these over attributes of the host.
    fn constants(&self) -> &Constants {
        self.constants.get_or_init(|| {
            let of_host = self
                .host
                .as_ref()
                .map(|host| host::attributes(host.read, &host.environment))
                .unwrap_or_default();
            let mut columns: Vec<(String, String)> = Vec::new();
            for (name, value) in self.tags.iter().chain(&self.environment).chain(&of_host) {
                if !columns.iter().any(|(taken, _)| taken == name) {
                    columns.push((name.clone(), value.clone()));
                }
            }
            Constants::new(&columns, self.overwrite)
        })
    }
}

#[async_trait]
impl Processor for Enrich {
    fn demand(&self) -> Demand {
        self.demand.clone()
    }

    fn signals(&self) -> SignalSet {
        READS
    }

    fn lane_stage(&self, _start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>> {
        let constants = self.constants().clone();
        if self.plan.is_empty() && constants.names().next().is_none() && self.instances.is_none() {
            return None;
        }
        Some(Box::new(EnrichStage::new(Arc::clone(&self.plan), constants, self.instances.clone())))
    }

    fn trunk_stage(&self, _trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>> {
        None
    }

    async fn start(&self, pipeline: &str, stop: CancellationToken) -> Result<(), StartError> {
        self.constants();
        match (&self.instances, &self.storage) {
            (Some(table), Some(storage)) => {
                keep(Arc::clone(table), Arc::clone(storage), pipeline, self.context.clone(), stop).await
            }
            _ => Ok(()),
        }
    }
}
