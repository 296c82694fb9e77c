//! The context that every component is given when it is built.

use std::sync::Arc;

use weir_config::ComponentId;

use crate::{Clock, DeadLetters, Health, HealthBoard, Notifications, Storages, SystemClock, Telemetry};

/// Identity and services of a component. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The component's id, as in the configuration.
    pub id: ComponentId,
    /// Where metrics are made.
    pub telemetry: Telemetry,
    /// Where rejected input goes.
    pub dead_letters: DeadLetters,
    /// The storages that the configuration starts.
    pub storages: Storages,
    /// What became of alarms.
    pub notifications: Notifications,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where the component reports its status.
    pub health: Health,
    /// The status of the whole program.
    pub board: HealthBoard,
}

impl Context {
    /// A context with the machine's clock and no storage.
    #[must_use]
    pub fn new(id: ComponentId, telemetry: Telemetry, dead_letters: DeadLetters) -> Context {
        let (storages, health, board) = (Storages::default(), Health::default(), HealthBoard::default());
        let (notifications, clock) = (Notifications::default(), Arc::new(SystemClock));
        Context { id, telemetry, dead_letters, storages, notifications, clock, health, board }
    }

    /// The same services for another component, with a status of its own.
    #[must_use]
    pub fn with_id(&self, id: ComponentId) -> Context {
        Context { id, health: Health::default(), ..self.clone() }
    }
}
