//! The room of records that wait for their lane.

use std::sync::Arc;

use weir_server::Room;

/// The room of a record, which is held until the record has gone down the lane.
pub(crate) enum Held {
    /// Its own.
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    Own(Room),
    /// That of a message or body in which the record came with others.
    Part(Arc<Room>),
}

impl Held {
    /// Goes with those of other records of one batch. The parts of one message come one after the other.
    pub(crate) fn join(self, all: &mut Vec<Held>) {
        let is_there = match (&self, all.last()) {
            (Held::Part(room), Some(Held::Part(last))) => Arc::ptr_eq(room, last),
            _ => false,
        };
        if !is_there {
            all.push(self);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use prometheus_client::metrics::gauge::Gauge;
    use weir_server::Rooms;

    use super::*;

    #[tokio::test]
    async fn the_room_of_a_message_is_free_when_the_last_of_its_batches_is_gone() {
        let used = Gauge::default();
        let rooms = Rooms::new(1 << 20, Duration::ZERO, used.clone());
        let whole = Arc::new(rooms.enter().await.unwrap());
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for batch in [&mut first, &mut last] {
            for _ in 0..1000 {
                Held::Part(Arc::clone(&whole)).join(batch);
            }
            assert_eq!(batch.len(), 1);
        }
        Held::Own(rooms.enter().await.unwrap()).join(&mut last);
        drop(whole);
        assert_eq!(used.get(), 2048);
        drop(last);
        assert_eq!(used.get(), 1024, "the first batch still waits");
        drop(first);
        assert_eq!(used.get(), 0);
    }
}
