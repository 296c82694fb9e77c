//! What became of alarms at the targets that tell people, from the exporters that know it to the receiver
//! that makes events of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Notifications that wait at most; more are counted and forgotten.
const MOST: usize = 20_000;

/// What became of one alarm at one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// When, in milliseconds.
    pub time_ms: i64,
    /// The exporter's id.
    pub target: String,
    /// `sent`, `failed` or `suppressed`.
    pub outcome: &'static str,
    /// By what it was suppressed, or why it failed.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// From the event time of the alarm until then, in milliseconds.
    pub delay_ms: i64,
    /// The alarm's `rule`, `severity`, `state`, `service`, `operation` and `fingerprint`.
    pub alarm: [String; 6],
}

/// The way from exporters to the receiver. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Notifications(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Somebody reads them.
    read: bool,
    all: VecDeque<Notification>,
    lost: u64,
}

impl Notifications {
    /// Hands on a notification. Without a reader it is forgotten.
    pub fn tell(&self, notification: Notification) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.read {
            return;
        }
        if waiting.all.len() < MOST {
            waiting.all.push_back(notification);
        } else {
            waiting.lost += 1;
        }
        drop(waiting);
        self.0.came.notify_one();
    }

    /// From now on notifications are kept until they are read.
    pub fn listen(&self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).read = true;
    }

    /// Those that wait, at most so many, and how many were lost; waits until there is one. Dropping the
    /// future loses nothing.
    pub async fn next(&self, most: usize) -> (Vec<Notification>, u64) {
        loop {
            let came = self.0.came.notified();
            let (taken, lost) = self.take(most);
            if !taken.is_empty() {
                return (taken, lost);
            }
            came.await;
        }
    }

    /// Those that wait, at most so many, and how many were lost.
    #[must_use]
    pub fn take(&self, most: usize) -> (Vec<Notification>, u64) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.all.len().min(most);
        (waiting.all.drain(..count).collect(), std::mem::take(&mut waiting.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64) -> Notification {
        Notification { time_ms: number, ..Notification::default() }
    }

    #[tokio::test]
    async fn notifications_are_kept_in_order_for_a_reader_and_bounded() {
        let notifications = Notifications::default();
        notifications.tell(number(0));
        notifications.listen();
        for value in 1..=20_003 {
            notifications.tell(number(value));
        }
        let (first, lost) = notifications.next(2).await;
        assert_eq!(first, [number(1), number(2)]);
        assert_eq!(lost, 3);
        let (rest, lost) = notifications.next(usize::MAX).await;
        assert_eq!((rest.len(), lost), (19_998, 0));
        let reads = notifications.clone();
        let waits = tokio::spawn(async move { reads.next(10).await.0 });
        tokio::task::yield_now().await;
        notifications.tell(number(7));
        assert_eq!(waits.await.unwrap(), [number(7)]);
    }
}
