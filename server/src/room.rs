//! How many bytes of requests may wait, from their first byte until a lane has taken them.
//!
//! Room is taken as bytes come, so requests that have all come in part could keep each other waiting for the
//! rest. One of them at a time goes first: it may take more than there is, until it is through.

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
    /// Which request goes first: one.
    first: Arc<Semaphore>,
    used: Gauge,
    max_wait: Duration,
}

/// The room that one request takes. It is free again when this is dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Rooms,
    permit: Option<OwnedSemaphorePermit>,
    /// That it goes first, and how much it has beyond what there is.
    first: Option<OwnedSemaphorePermit>,
    beyond: usize,
}

impl Rooms {
    /// Room for this many bytes. A request waits for it at most this long.
    #[must_use]
    pub fn new(bytes: u64, max_wait: Duration, used: Gauge) -> Rooms {
        // So that a request of all these bytes fits, with what is around it.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(2 * LEAST);
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        let (free, first) = (Arc::new(Semaphore::new(bytes)), Arc::new(Semaphore::new(1)));
        Rooms { free, first, used, max_wait }
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
        Room { rooms: self.clone(), permit: None, first: None, beyond: 0 }
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
        if self.first.is_some() {
            self.go_beyond(bytes);
            return Ok(());
        }
        let units = u32::try_from(bytes).map_err(|_| Refusal::full())?;
        let taking = Arc::clone(&self.rooms.free).acquire_many_owned(units);
        let going_first = async {
            match self.has_begun() {
                true => Arc::clone(&self.rooms.first).acquire_owned().await,
                false => std::future::pending().await,
            }
        };
        let more = async {
            tokio::select! {
                biased;
                room = taking => room.map(More::Room),
                first = going_first => first.map(More::First),
            }
        };
        match tokio::time::timeout(self.rooms.max_wait, more).await {
            Ok(Ok(More::Room(permit))) => self.add(permit),
            Ok(Ok(More::First(first))) => {
                self.first = Some(first);
                self.go_beyond(bytes);
            }
            _ => return Err(Refusal::full()),
        }
        Ok(())
    }

    /// Takes this much more, if it is there.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let units = u32::try_from(bytes).ok();
        let permit = units.and_then(|units| Arc::clone(&self.rooms.free).try_acquire_many_owned(units).ok());
        permit.map(|permit| self.add(permit)).is_some()
    }

    /// Gives this much back.
    pub fn shrink(&mut self, bytes: usize) {
        let beyond = self.beyond.min(bytes);
        self.beyond -= beyond;
        let given = self.permit.as_mut().and_then(|permit| permit.split(bytes - beyond));
        let given = given.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.rooms.used.dec_by(i64::try_from(given + beyond).unwrap_or(i64::MAX));
    }

    /// Whether something of the request has come: others may wait for what it has.
    fn has_begun(&self) -> bool {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) > LEAST
    }

    fn go_beyond(&mut self, bytes: usize) {
        self.beyond += bytes;
        self.rooms.used.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
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
        self.rooms.used.dec_by(i64::try_from(held + self.beyond).unwrap_or(i64::MAX));
    }
}

/// What a request that waits for room gets.
enum More {
    Room(OwnedSemaphorePermit),
    First(OwnedSemaphorePermit),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn rooms(bytes: u64, max_wait: Duration) -> Rooms {
        Rooms::new(bytes, max_wait, Gauge::default())
    }

    #[tokio::test]
    async fn requests_that_have_all_begun_do_not_keep_each_other_waiting() {
        let rooms = rooms(100 << 10, Duration::from_secs(5));
        // Each has a part of its 60 KiB, and no two of them fit.
        let mut parts = Vec::new();
        for _ in 0..3 {
            let mut room = rooms.none();
            room.grow(30 << 10).await.unwrap();
            parts.push(room);
        }
        let rest = parts.into_iter().map(async |mut room| {
            for _ in 0..3 {
                room.grow(10 << 10).await?;
            }
            drop(room);
            Ok::<_, Refusal>(())
        });
        for ended in futures_of(rest).await {
            assert_eq!(ended, Ok(()));
        }
        assert_eq!(rooms.used.get(), 0);
    }

    /// Runs them side by side.
    async fn futures_of<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
        let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
        std::future::poll_fn(|context| {
            for (one, ended) in &mut all {
                if ended.is_none()
                    && let std::task::Poll::Ready(value) = one.as_mut().poll(context)
                {
                    *ended = Some(value);
                }
            }
            match all.iter().all(|(_, ended)| ended.is_some()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        all.into_iter().filter_map(|(_, ended)| ended).collect()
    }

    #[tokio::test]
    async fn only_one_goes_beyond_what_there_is_and_none_that_has_not_begun() {
        let rooms = rooms(100 << 10, Duration::from_millis(50));
        let mut all = rooms.none();
        all.grow(102 << 10).await.unwrap();
        let mut fresh = rooms.none();
        assert_eq!(fresh.grow(1).await.unwrap_err().reason, Reason::Busy);
        all.grow(50 << 10).await.unwrap();
        assert_eq!(rooms.used.get(), 152 << 10);
        let mut second = rooms.none();
        all.shrink(52 << 10);
        second.grow(2 << 10).await.unwrap();
        assert_eq!(second.grow(1).await.unwrap_err().reason, Reason::Busy, "another one goes first");
        drop(all);
        second.grow(100 << 10).await.unwrap();
        drop(second);
        assert_eq!(rooms.used.get(), 0);
    }
}
