//! How many bytes of requests may wait, from their first byte until a lane has taken them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Refusal;

/// What every request takes at least: the memory around it.
const LEAST: usize = 1024;

/// The room for all requests of a receiver. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    free: Arc<Semaphore>,
    used: Gauge,
    max_wait: Duration,
}

/// The room that one request takes. It is free again when this is dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Rooms,
    permit: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    /// Room for this many bytes. A request waits for it at most this long.
    #[must_use]
    pub fn new(bytes: u64, max_wait: Duration, used: Gauge) -> Rooms {
        // So that a request of all these bytes fits, with what is around it.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(2 * LEAST);
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Rooms { free: Arc::new(Semaphore::new(bytes)), used, max_wait }
    }

    /// Room for a request of which nothing has come yet.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn enter(&self) -> Result<Room, Refusal> {
        let mut room = self.none();
        room.grow(LEAST).await?;
        Ok(room)
    }

    /// Room for nothing, which grows as something comes.
    #[must_use]
    pub fn none(&self) -> Room {
        Room { rooms: self.clone(), permit: None }
    }
}

impl Room {
    /// Takes this much more.
    ///
    /// # Errors
    /// There is no room in time.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.try_grow(bytes) {
            return Ok(());
        }
        let units = u32::try_from(bytes).map_err(|_| Refusal::full())?;
        let taking = Arc::clone(&self.rooms.free).acquire_many_owned(units);
        match tokio::time::timeout(self.rooms.max_wait, taking).await {
            Ok(Ok(permit)) => {
                self.add(permit);
                Ok(())
            }
            _ => Err(Refusal::full()),
        }
    }

    /// Takes this much more, if it is there.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let units = u32::try_from(bytes).ok();
        let permit = units.and_then(|units| Arc::clone(&self.rooms.free).try_acquire_many_owned(units).ok());
        permit.map(|permit| self.add(permit)).is_some()
    }

    /// Gives this much back.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(given) = self.permit.as_mut().and_then(|permit| permit.split(bytes)) {
            self.rooms.used.dec_by(i64::try_from(given.num_permits()).unwrap_or(i64::MAX));
        }
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        self.rooms.used.inc_by(i64::try_from(permit.num_permits()).unwrap_or(i64::MAX));
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.rooms.used.dec_by(i64::try_from(held).unwrap_or(i64::MAX));
    }
}
