//! The Flask shop with the real SkyWalking Python agent.

use crate::clickhouse::client;
use crate::kafka::Kafka;
use crate::server::Server;
use anyhow::{Context, Result};
use serde_json::Value;

/// The topics that the shop's agent writes to, each with the shop's prefix before it.
const TOPICS: [&str; 4] =
    ["skywalking-segments", "skywalking-managements", "skywalking-logs", "skywalking-meters"];

/// The spans that the agent has made and Kafka has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Segments.
    pub segments: u64,
    /// Spans in them.
    pub spans: u64,
}

/// A running shop: `/fast`, `/slow`, `/fail` (status 500) and `/pay`, which calls `/stock`.
#[derive(Debug)]
pub struct Shop {
    server: Server,
    url: String,
    prefix: String,
}

impl Shop {
    /// Creates the agent's topics, with this prefix and so many partitions each, and starts the shop as
    /// `service`.
    pub async fn start(kafka: &Kafka, service: &str, prefix: &str, partitions: i32) -> Result<Self> {
        for topic in TOPICS {
            kafka.create_topic(&format!("{prefix}{topic}"), partitions, &[]).await?;
        }
        let arguments = ["--bootstrap", kafka.bootstrap(), "--service", service, "--topic-prefix", prefix];
        let (server, announced) = Server::start("shop.py", &arguments)?;
        Ok(Self { server, url: announced.text("url")?, prefix: prefix.to_owned() })
    }

    /// The topic of its segments.
    #[must_use]
    pub fn segments_topic(&self) -> String {
        format!("{}{}", self.prefix, TOPICS[0])
    }

    /// Sends one request, such as `/pay?order=7&customer=ada`; returns the status.
    pub async fn get(&self, path: &str) -> Result<u16> {
        let answer = client()?.get(format!("{}{path}", self.url)).send().await?;
        let status = answer.status().as_u16();
        answer.bytes().await?;
        Ok(status)
    }

    /// Sets how long `/slow` takes. Makes no span.
    pub async fn set_slow_ms(&self, milliseconds: u32) -> Result<()> {
        self.get(&format!("/control?slow_ms={milliseconds}")).await.map(drop)
    }

    /// Waits until Kafka has every span of every answered request; returns how many there are since the
    /// start.
    pub async fn flush(&self) -> Result<Sent> {
        let answer = client()?.get(format!("{}/flush", self.url)).send().await?.error_for_status()?;
        let counts: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let count = |name: &str| counts[name].as_u64().with_context(|| format!("no {name} in {counts}"));
        Ok(Sent { segments: count("segments")?, spans: count("spans")? })
    }

    /// Ends the shop; its agent sends what it still has.
    pub fn stop(mut self) -> Result<()> {
        self.server.stop()
    }
}
