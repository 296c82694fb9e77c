//! The `events` column: what happened within a span.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use super::keys::Keys;
use super::text::Text;
use super::times::times;
use super::views::{Buffers, TextAttributes, Views, index, lists};
use crate::schema;

/// The `events` column.
pub(crate) struct Events {
    offsets: Vec<i32>,
    time: Vec<i64>,
    name: Views,
    attributes: TextAttributes,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { offsets: vec![0], time: Vec::new(), name: Views::new(), attributes: TextAttributes::new() }
    }

    /// Room for the events of `spans` more spans.
    pub(crate) fn reserve(&mut self, spans: usize, events: usize) {
        self.offsets.reserve(spans);
        self.time.reserve(events);
        self.name.reserve(events);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.time.len()
    }

    /// Ends the events of some spans, each after so many of all events.
    pub(crate) fn ends(&mut self, ends: impl Iterator<Item = usize>) {
        self.offsets.extend(ends.map(index));
    }

    /// Appends an event to the spans that are not yet ended: when, its name as a view, its attributes as they
    /// lie in `bytes`.
    #[inline]
    pub(crate) fn push(
        &mut self,
        keys: &mut Keys<'_>,
        bytes: &[u8],
        time: i64,
        name: Option<u128>,
        attributes: impl Iterator<Item = (Text, Text)>,
    ) {
        self.time.push(time);
        self.name.push(name);
        for (key, value) in attributes {
            self.attributes.push(keys.of(key).index, value.view(bytes));
        }
        self.attributes.end();
    }

    pub(crate) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let name = Arc::new(buffers.text(self.name)?) as ArrayRef;
        let columns = vec![times(self.time)?, name, self.attributes.finish(keys, buffers)?];
        lists(schema::span_event_item(), columns, self.offsets, None)
    }
}
