//! The committer's view at the moment when an input settles, in the middle of all that settles with
//! it. In the program it has a thread of its own, so it may look at any moment.

use std::sync::{Mutex, PoisonError};

use weir_component::delivery::{Ledger, Position, positions};
use weir_pdata::{AckSink, Outcome};

/// Looks whenever an input settles.
#[derive(Default)]
pub struct Between {
    ledgers: Mutex<Vec<(usize, Ledger)>>,
    seen: Mutex<Vec<Vec<(usize, Position)>>>,
}

impl Between {
    /// The partitions that are owned now.
    pub fn look_at(&self, ledgers: Vec<(usize, Ledger)>) {
        *self.ledgers.lock().unwrap_or_else(PoisonError::into_inner) = ledgers;
    }

    /// Takes what was seen.
    pub fn take(&self) -> Vec<Vec<(usize, Position)>> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AckSink for Between {
    fn settle(&self, _id: u64, outcome: Outcome) {
        if outcome == Outcome::Failed {
            return;
        }
        let ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<&Ledger> = ledgers.iter().map(|(_, ledger)| ledger).collect();
        let now = ledgers.iter().zip(positions(&all));
        let now = now.filter_map(|((partition, _), position)| Some((*partition, position?))).collect();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(now);
    }
}
