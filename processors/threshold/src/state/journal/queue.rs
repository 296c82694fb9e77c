//! Changes that wait for the storage.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weir_pdata::Held;

use crate::evaluation::windows::WindowStream;

/// Changes that wait for the writer.
#[derive(Default)]
pub(crate) struct JournalQueue {
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) writes: VecDeque<Write>,
    /// No more comes.
    pub(crate) ended: bool,
    /// The writer is gone.
    pub(crate) stopped: bool,
}

/// Changes that are written together.
#[derive(Default)]
pub(crate) struct Write {
    pub(crate) records: Vec<Vec<u8>>,
    /// The windows that wait for it, in their order.
    pub(crate) windows: Vec<WaitingWindows>,
    /// All records before are not needed when this is safe.
    pub(crate) replaces: bool,
}

/// A batch of windows whose inputs wait.
pub(crate) struct WaitingWindows {
    /// The end of the last window of each stream.
    pub(crate) ends: BTreeMap<WindowStream, i64>,
    pub(crate) held: Held,
}

impl JournalQueue {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next changes to write; waits until there are some. `None`: no more come.
    pub(crate) async fn next(&self) -> Option<Write> {
        loop {
            {
                let mut state = self.lock();
                if let Some(mut write) = state.writes.pop_front() {
                    // What waits is written together, up to where all of it is written.
                    while let Some(more) = state.writes.pop_front_if(|more| !more.replaces) {
                        write.records.extend(more.records);
                        write.windows.extend(more.windows);
                    }
                    return Some(write);
                }
                if state.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}
