//! Callbacks of librdkafka: rebalances, statistics, errors, its log.
//!
//! librdkafka calls back while it is polled. The callbacks decide nothing: they keep an [`Event`] for the
//! polling thread, which may take its time to answer a rebalance. A rebalance is answered at once only while
//! the consumer closes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use weir_component::{Context, LogLimit};

use crate::consumer::statistics::{ClusterState, PartitionState, partition_states};
use crate::metrics::Metrics;
use crate::topics::{Place, TopicSet};

/// A message of librdkafka.
#[derive(Debug)]
pub(crate) enum Event {
    /// These partitions are ours from now on. To be answered.
    Assign(Vec<Place>),
    /// These partitions go to another member. To be answered. `lost`: they have gone already.
    Revoke { partitions: Vec<Place>, lost: bool },
    /// The state of brokers and group, and of the partitions.
    Statistics(ClusterState, Vec<PartitionState>),
    /// This topic does not exist.
    TopicMissing(usize),
}

/// The consumer's context.
pub(crate) struct KafkaContext {
    context: Context,
    metrics: Metrics,
    brokers: String,
    topics: TopicSet,
    events: Mutex<Vec<Event>>,
    /// The last error of the client, for the receiver's status.
    last_error: Mutex<Option<String>>,
    closing: AtomicBool,
    login: LogLimit,
    unreachable: LogLimit,
    unknown_topic: LogLimit,
    others: LogLimit,
}

impl KafkaContext {
    pub(crate) fn new(context: Context, metrics: Metrics, brokers: String, topics: TopicSet) -> KafkaContext {
        KafkaContext {
            context,
            metrics,
            brokers,
            topics,
            events: Mutex::default(),
            last_error: Mutex::default(),
            closing: AtomicBool::new(false),
            login: LogLimit::every_ms(10_000),
            unreachable: LogLimit::every_ms(10_000),
            unknown_topic: LogLimit::every_ms(30_000),
            others: LogLimit::every_ms(10_000),
        }
    }

    /// The events since the last call, in order.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on rebalances are answered at once: there is nothing left to save.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Adds an event.
    pub(crate) fn push_event(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl ConsumerContext for KafkaContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer =
                if assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answer {
                tracing::debug!(receiver = %self.context.id, %error, "a rebalance while closing");
            }
            return;
        }
        let elements = list.elements();
        let place =
            |element: &TopicPartitionListElem<'_>| self.topics.place(element.topic(), element.partition());
        let partitions = elements.iter().filter_map(place).collect();
        self.push_event(if assign {
            Event::Assign(partitions)
        } else {
            Event::Revoke { partitions, lost: consumer.assignment_lost() }
        });
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        weir_kafka::log(&self.context.id, level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cluster = ClusterState::of(&statistics, error);
        self.push_event(Event::Statistics(cluster, partition_states(&statistics, &self.topics)));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.metrics.errors.inc();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        let now = self.context.clock.now_ms();
        let (receiver, brokers, topics) = (&self.context.id, &self.brokers, &self.topics);
        match code {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                // The text has the topic's name, in `Subscribed topic not available: name: error`.
                let named = |name: &str| reason.split(": ").any(|part| part == name);
                let missing: Vec<usize> = topics
                    .iter()
                    .enumerate()
                    .filter(|(_, topic)| named(&topic.name))
                    .map(|(at, _)| at)
                    .collect();
                missing.iter().for_each(|topic| self.push_event(Event::TopicMissing(*topic)));
                if let Some(suppressed) = self.unknown_topic.allow(now) {
                    tracing::warn!(
                        %receiver, topic = missing.first().map_or(reason, |topic| topics.name(*topic)),
                        brokers, suppressed,
                        "the topic does not exist: waiting until somebody creates it"
                    );
                }
            }
            Some(RDKafkaErrorCode::Authentication) => {
                if let Some(suppressed) = self.login.allow(now) {
                    tracing::warn!(%receiver, brokers, reason, suppressed, "Kafka refuses the login: check `sasl`; retrying");
                }
            }
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::SSL,
            ) => {
                if let Some(suppressed) = self.unreachable.allow(now) {
                    tracing::warn!(%receiver, brokers, reason, suppressed, "Kafka cannot be reached: retrying");
                }
            }
            _ => {
                if let Some(suppressed) = self.others.allow(now) {
                    tracing::warn!(%receiver, brokers, %topics, %error, reason, suppressed, "Kafka reports an error: retrying");
                }
            }
        }
    }
}
