//! The thread that commits offsets.
//!
//! rdkafka 0.39 never calls back for an asynchronous commit, so that a refused one would go unnoticed. A synchronous one
//! waits for Kafka, up to the session timeout when the coordinator is away: therefore here, and not where Kafka is polled.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::context::{Event, KafkaContext};

/// Offsets to commit in one request, by partition.
pub(crate) type Commit = Vec<(i32, i64)>;

/// Starts the thread. It answers each commit with an [`Event::Committed`] and ends when the sender is dropped.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn start(
    consumer: &Arc<BaseConsumer<KafkaContext>>,
    topic: Arc<str>,
) -> std::io::Result<Sender<Commit>> {
    let (sender, commits) = channel();
    let consumer = Arc::downgrade(consumer);
    let thread = std::thread::Builder::new().name("weir-commit".to_owned());
    thread.spawn(move || work(&consumer, &topic, &commits))?;
    Ok(sender)
}

fn work(consumer: &Weak<BaseConsumer<KafkaContext>>, topic: &str, commits: &Receiver<Commit>) {
    for commit in commits {
        let Some(consumer) = consumer.upgrade() else {
            return;
        };
        let answer = request(&consumer, topic, &commit).map(|()| commit);
        consumer.context().tell(Event::Committed(answer));
    }
}

fn request(consumer: &BaseConsumer<KafkaContext>, topic: &str, commit: &Commit) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(commit.len());
    for (partition, offset) in commit {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.commit(&list, CommitMode::Sync)
}
