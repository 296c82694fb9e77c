//! The meters of a stream, of which only one says whose they are: records that each can be read by itself.

use prost::Message as _;
use weir_pdata::Format;
use weir_proto::skywalking::MeterData;
use weir_server::{Refusal, Room};

use crate::held::Held;
use crate::intake::Report;

/// The tag of a collection's meters: field 1, with its length before it.
const METER: u8 = 0x0a;

/// Gathers the meters of one stream. Those that come together are one collection. A collection that follows
/// another one begins with what the earlier meters said about all.
#[derive(Default)]
pub(crate) struct Meters {
    said: Said,
    /// Whether the last record takes further meters.
    is_open: bool,
    entry: Vec<u8>,
}

/// What a meter says about itself and those behind it. The bytes of this message are those of a `MeterData`
/// that says nothing else.
#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(bytes = "vec", tag = "3")]
    service: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    instance: Vec<u8>,
    #[prost(int64, tag = "5")]
    timestamp: i64,
}

impl Meters {
    /// Adds a `MeterData` to the report, and the room that it takes. One that cannot be read is a record of
    /// its own, so that it is rejected without the others.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn add(&mut self, report: &mut Report, meter: &[u8], room: Room) -> Result<(), Refusal> {
        let is_good = MeterData::decode(meter).is_ok();
        report.make_way(Format::SkyWalkingMeters, meter.len()).await?;
        let goes_on = is_good && self.is_open && report.is_open();
        self.entry.clear();
        self.entry.push(METER);
        let said = if goes_on { 0 } else { self.said.encoded_len() };
        prost::encoding::encode_varint((said + meter.len()) as u64, &mut self.entry);
        if !goes_on {
            // What the meter says itself follows, and counts.
            self.entry.extend(self.said.encode_to_vec());
        }
        self.entry.extend_from_slice(meter);
        if goes_on {
            report.go_on(&self.entry, room);
        } else {
            report.add(Format::SkyWalkingMeters, &self.entry, Held::Own(room)).await?;
        }
        self.is_open = is_good;
        self.hear(meter);
        Ok(())
    }

    fn hear(&mut self, meter: &[u8]) {
        let Ok(Said { service, instance, timestamp }) = Said::decode(meter) else { return };
        if !service.is_empty() {
            self.said.service = service;
        }
        if !instance.is_empty() {
            self.said.instance = instance;
        }
        if timestamp != 0 {
            self.said.timestamp = timestamp;
        }
    }
}
