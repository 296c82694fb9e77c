//! All records that librdkafka has fetched for a partition, taken with one call.
//!
//! rdkafka's safe interface gives one record a call, each as an event with an allocation. (librdkafka has
//! another call for many records, `rd_kafka_consume_batch_queue`. It counts the end of a partition as a
//! record, so after a pause it goes on one offset too late.)
//!
//! The invariants: librdkafka calls [`called`] only within [`FetchQueue::take`], on its thread, with a
//! message that lives as long as the call; no panic crosses librdkafka; and [`PartitionQueue`] keeps the
//! consumer, which has this queue.
#![allow(unsafe_code, reason = "the call is in no safe interface; the invariants are above")]

use std::any::Any;
use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings::{
    rd_kafka_consume_callback_queue, rd_kafka_get_watermark_offsets, rd_kafka_message_leader_epoch,
    rd_kafka_message_t, rd_kafka_message_timestamp, rd_kafka_queue_destroy, rd_kafka_queue_get_partition,
    rd_kafka_queue_t, rd_kafka_t, rd_kafka_timestamp_type_t, rd_kafka_yield,
};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaRespErr;

use crate::consumer::context::KafkaContext;

/// The records that librdkafka has fetched for one partition, apart from other partitions.
pub(crate) struct FetchQueue {
    native: NonNull<rd_kafka_queue_t>,
    client: *mut rd_kafka_t,
    topic: CString,
    partition: i32,
    /// Keeps the consumer, and the queue apart from the one that all partitions share.
    _apart: PartitionQueue<KafkaContext>,
}

// SAFETY: librdkafka's clients and queues may be used from any thread.
unsafe impl Send for FetchQueue {}

/// One thing that came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fetched<'a> {
    /// A record.
    Record(Record<'a>),
    /// The partition is read to its end: up to before this offset, where it is known. What came before it and
    /// was no record (control records, aborted transactions) is passed.
    End(Option<i64>),
    /// An error, which the context has from librdkafka.
    Error,
}

/// A record of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) offset: i64,
    /// The epoch of the leader under which it was written; -1: unknown.
    pub(crate) epoch: i32,
    /// When the broker appended it, in milliseconds since 1970, where the topic keeps that time instead of
    /// the producer's.
    pub(crate) arrival: Option<i64>,
    /// The time of the record, the broker's or the producer's, in milliseconds since 1970.
    pub(crate) written: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

impl FetchQueue {
    /// The queue of a partition; `nonempty` is called whenever something comes after nothing. `None` when
    /// librdkafka cannot set the partition apart.
    pub(crate) fn new(
        consumer: &Arc<BaseConsumer<KafkaContext>>,
        topic: &str,
        partition: i32,
        nonempty: impl Fn() + Send + Sync + 'static,
    ) -> Option<FetchQueue> {
        let mut apart = consumer.split_partition_queue(topic, partition)?;
        apart.set_nonempty_callback(nonempty);
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, and the topic is a C string. The reference is given
        // back in `drop`.
        let native = unsafe { rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        Some(FetchQueue { native: NonNull::new(native)?, client, topic, partition, _apart: apart })
    }

    /// The first offset that the partition still has, as the broker said with its latest answer. `None`: it
    /// has not said yet.
    pub(crate) fn first_kept(&self) -> Option<i64> {
        let (mut first, mut end) = (-1, -1);
        // SAFETY: the client lives as long as the consumer, and the topic is a C string. Nothing is asked
        // for: it is in memory.
        let code = unsafe {
            let topic = self.topic.as_ptr();
            rd_kafka_get_watermark_offsets(self.client, topic, self.partition, &raw mut first, &raw mut end)
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && first >= 0).then_some(first)
    }

    /// Takes what is there, in order, as long as `each` answers that it wants more. Does not wait. Returns
    /// whether something was there.
    pub(crate) fn take<F: FnMut(Fetched<'_>) -> bool>(&self, each: F) -> bool {
        let mut taking = Taking { each, client: self.client, panic: None };
        let opaque = ptr::from_mut(&mut taking).cast::<c_void>();
        // SAFETY: the queue lives, and `opaque` is what `called::<F>` takes it for until the call returns.
        let taken =
            unsafe { rd_kafka_consume_callback_queue(self.native.as_ptr(), 0, Some(called::<F>), opaque) };
        if let Some(panic) = taking.panic {
            resume_unwind(panic);
        }
        taken > 0
    }
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is this one's own, and the consumer still lives.
        unsafe { rd_kafka_queue_destroy(self.native.as_ptr()) };
    }
}

/// A call of [`FetchQueue::take`].
struct Taking<F> {
    each: F,
    client: *mut rd_kafka_t,
    /// A panic of `each`, which ends the call.
    panic: Option<Box<dyn Any + Send>>,
}

/// Called by librdkafka for each message.
///
/// # Safety
/// `opaque` is a `Taking<F>` that has no other user during the call, and `message` a message.
unsafe extern "C" fn called<F: FnMut(Fetched<'_>) -> bool>(
    message: *mut rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the caller's promise.
    let (taking, message) = unsafe { (&mut *opaque.cast::<Taking<F>>(), &*message) };
    let entry = match message.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
            let value = (!message.payload.is_null()).then(|| {
                // SAFETY: a message's value is `len` bytes at `payload`.
                unsafe { std::slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
            });
            let key = (!message.key.is_null()).then(|| {
                // SAFETY: a message's key is `key_len` bytes at `key`.
                unsafe { std::slice::from_raw_parts(message.key.cast::<u8>(), message.key_len) }
            });
            let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            // SAFETY: it is a message of a consumer.
            let (epoch, time) = unsafe {
                (rd_kafka_message_leader_epoch(message), rd_kafka_message_timestamp(message, &raw mut kind))
            };
            let is_appended = kind == rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
            let written = (time >= 0).then_some(time);
            let arrival = written.filter(|_| is_appended);
            Fetched::Record(Record { offset: message.offset, epoch, arrival, written, key, value })
        }
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Fetched::End(Some(message.offset)),
        _ => Fetched::Error,
    };
    let more = catch_unwind(AssertUnwindSafe(|| (taking.each)(entry))).unwrap_or_else(|panic| {
        taking.panic = Some(panic);
        false
    });
    if !more {
        // SAFETY: the client lives. What was not looked at goes back to the front of its queue.
        unsafe { rd_kafka_yield(taking.client) };
    }
}
