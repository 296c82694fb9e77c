//! Acks whose outcome a test can see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_pdata::{Ack, AckSink, Outcome};

/// Makes acks and records how they settle. Cheap to clone.
#[derive(Clone, Default)]
pub struct Probe(Arc<Inner>);

#[derive(Default)]
struct Inner(Mutex<State>);

#[derive(Default)]
struct State {
    made: u64,
    settled: BTreeMap<u64, Outcome>,
}

impl Probe {
    /// The next ack: number 0, 1, 2, …
    #[must_use]
    pub fn ack(&self) -> Ack {
        let mut state = self.0.0.lock().unwrap();
        let id = state.made;
        state.made += 1;
        Ack::new(self.0.clone(), id)
    }

    /// The outcome of ack number `id`; `None` while it is open.
    #[must_use]
    pub fn outcome(&self, id: u64) -> Option<Outcome> {
        self.0.0.lock().unwrap().settled.get(&id).copied()
    }

    /// How many acks were made and are not settled.
    #[must_use]
    pub fn open(&self) -> usize {
        let state = self.0.0.lock().unwrap();
        usize::try_from(state.made).unwrap() - state.settled.len()
    }

    /// Waits until all acks that were made are settled.
    ///
    /// # Panics
    /// When one is open after a minute; `why` says how that is wrong.
    pub async fn settled(&self, why: &str) {
        let all = async {
            while self.open() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(settled.is_ok(), "{} acks are open: {why}", self.open());
    }

    /// How many acks settled with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.0.0.lock().unwrap().settled.values().filter(|settled| **settled == outcome).count()
    }
}

impl AckSink for Inner {
    fn settle(&self, id: u64, outcome: Outcome) {
        let before = self.0.lock().unwrap().settled.insert(id, outcome);
        assert_eq!(before, None, "ack {id} settled twice");
    }
}
