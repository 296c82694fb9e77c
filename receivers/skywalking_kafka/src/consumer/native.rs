//! Calls of librdkafka that rdkafka's safe interface lacks: a topic's id, and the metadata texts as they are.
//!
//! The invariants: everything that librdkafka hands out is copied before it is given back, each is given back
//! once, and the consumer lives as long as the call.
#![allow(unsafe_code, reason = "the calls are in no safe interface; the invariants are above")]

use std::ffi::{CString, c_char, c_int};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaAdminOp, RDKafkaRespErr};

/// The id of a topic, as Kafka's own tools write it, asked of this broker: another one whenever a topic of
/// this name is created. `None`: the broker is older than topic ids (2.8), or does not tell.
///
/// # Errors
/// Kafka did not answer.
pub(crate) fn topic_id<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    broker: i32,
    patience: Duration,
) -> KafkaResult<Option<String>> {
    let name = CString::new(topic)?;
    let millis = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives; what is made here is destroyed here, and the answer is read before it is.
    unsafe {
        let queue = rd::rd_kafka_queue_new(client);
        let options = rd::rd_kafka_AdminOptions_new(client, RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut names = [name.as_ptr()];
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let mut why: [c_char; 128] = [0; 128];
        rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, why.as_mut_ptr(), why.len());
        // Any broker knows; by itself librdkafka would wait for the controller.
        rd::rd_kafka_AdminOptions_set_broker(options, broker, why.as_mut_ptr(), why.len());
        rd::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, millis);
        let found = if event.is_null() {
            Err(RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT)
        } else {
            let found = described(event);
            rd::rd_kafka_event_destroy(event);
            found
        };
        rd::rd_kafka_TopicCollection_destroy(topics);
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        match found {
            Ok(id) => Ok(id),
            Err(RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE) => Ok(None),
            Err(code) => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(code))),
        }
    }
}

/// The id of the one topic that was described.
///
/// # Safety
/// `event` is an event.
unsafe fn described(event: *mut rd::rd_kafka_event_t) -> Result<Option<String>, RDKafkaRespErr> {
    // SAFETY: the event lives as long as the call, and what is found in it as long as the event.
    unsafe {
        let code = rd::rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code);
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Ok(None);
        }
        let mut count = 0;
        let all = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 || all.is_null() {
            return Ok(None);
        }
        let topic = *all;
        let error = rd::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            return Err(rd::rd_kafka_error_code(error));
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Ok(None);
        }
        let high = rd::rd_kafka_Uuid_most_significant_bits(id);
        let low = rd::rd_kafka_Uuid_least_significant_bits(id);
        let bits = (u128::from(high.cast_unsigned()) << 64) | u128::from(low.cast_unsigned());
        Ok((bits != 0).then(|| URL_SAFE_NO_PAD.encode(bits.to_be_bytes())))
    }
}

/// The texts beside the offsets of `list`, in its order. What is not UTF-8 in them is replaced.
pub(crate) fn texts(list: &TopicPartitionList) -> Vec<String> {
    // SAFETY: the list lives, and has `cnt` elements, whose texts have `metadata_size` bytes.
    unsafe {
        let native = &*list.ptr();
        let count = usize::try_from(native.cnt).unwrap_or(0);
        if count == 0 || native.elems.is_null() {
            return Vec::new();
        }
        let elements = std::slice::from_raw_parts(native.elems, count);
        let text = |element: &rd::rd_kafka_topic_partition_t| {
            if element.metadata.is_null() {
                return String::new();
            }
            let bytes = std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size);
            String::from_utf8_lossy(bytes).into_owned()
        };
        elements.iter().map(text).collect()
    }
}
