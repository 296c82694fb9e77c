//! How many items a payload has, decoded or not.

use crate::{Encoded, Format, Payload, otlp};

impl Payload {
    /// Spans, log records or data points, also of requests of OTLP that are not decoded. Of other records
    /// that are not decoded, these.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Payload::Columns(_) => self.len(),
            Payload::Encoded(encoded) => encoded
                .items
                .get_or(|| (0..encoded.records.len()).map(|record| encoded.items_of(record)).sum()),
        }
    }
}

impl Encoded {
    /// Its records have become so many rows: these are the items of records that are no requests of OTLP,
    /// unless they were counted before.
    pub fn learn_items(&self, rows: usize) {
        if !self.is_otlp() {
            self.items.get_or(|| rows);
        }
    }

    fn is_otlp(&self) -> bool {
        Format::otlp(self.format.signal()) == Some(self.format)
    }

    /// Spans, log records or data points of one record. A record that is no request of OTLP, or cannot be
    /// read, counts as one.
    #[must_use]
    pub fn items_of(&self, record: usize) -> usize {
        if !self.is_otlp() {
            return 1;
        }
        self.record(record).and_then(|request| otlp::count(self.format, request).ok()).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use arrow::buffer::Buffer;

    use super::*;
    use crate::ItemCount;

    /// Requests of one resource, with one scope, with so many logs that are empty.
    fn request(logs: u8) -> Vec<u8> {
        let scope: Vec<u8> = (0..logs).flat_map(|_| [0x12, 0]).collect();
        let resource = [&[0x12, 2 * logs][..], &scope].concat();
        [&[0x0a, 2 * logs + 2][..], &resource].concat()
    }

    #[test]
    fn items_of_requests_are_counted_once_for_all_clones() {
        let records = [request(2), request(3), vec![0xff]];
        let encoded = Encoded::concat(Format::OtlpLogs, records.iter().map(Vec::as_slice)).unwrap();
        assert_eq!([0, 1, 2].map(|record| encoded.items_of(record)), [2, 3, 1]);
        let clone = Encoded { arena: Buffer::from_vec(Vec::<u8>::new()), ..encoded.clone() };
        assert_eq!(Payload::Encoded(encoded).items(), 6);
        assert_eq!(Payload::Encoded(clone).items(), 6, "not counted again: its bytes are gone");
        let known = Encoded { items: ItemCount::known(7), ..Encoded::concat(Format::OtlpLogs, []).unwrap() };
        assert_eq!(Payload::Encoded(known).items(), 7);
    }

    #[test]
    fn records_of_other_formats_count_as_themselves() {
        let encoded = Encoded::concat(Format::SkyWalkingSegment, [&b"one"[..], b"two"]).unwrap();
        assert_eq!((encoded.items.get(), Payload::Encoded(encoded).items()), (None, 2));
    }

    #[test]
    fn records_that_are_decoded_count_as_their_rows() {
        let encoded = Encoded::concat(Format::SkyWalkingSegment, [&b"one"[..], b"two"]).unwrap();
        let elsewhere = encoded.items.clone();
        encoded.learn_items(9);
        assert_eq!((elsewhere.get(), Payload::Encoded(encoded).items()), (Some(9), 9));
    }
}
