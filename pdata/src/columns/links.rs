//! The `links` column: what a span follows from.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use super::views::{Buffers, Views, index, lists};
use crate::schema;

/// One link, as views.
pub(crate) struct Link {
    pub(crate) trace_id: Option<u128>,
    pub(crate) span_id: Option<u128>,
    pub(crate) ref_type: Option<u128>,
    pub(crate) service: Option<u128>,
    pub(crate) instance: Option<u128>,
    pub(crate) endpoint: Option<u128>,
    pub(crate) address: Option<u128>,
}

/// The `links` column.
pub(crate) struct Links {
    offsets: Vec<i32>,
    trace_id: Views,
    span_id: Views,
    ref_type: Views,
    service: Views,
    instance: Views,
    endpoint: Views,
    address: Views,
}

impl Links {
    pub(crate) fn new() -> Links {
        Links {
            offsets: vec![0],
            trace_id: Views::new(),
            span_id: Views::new(),
            ref_type: Views::new(),
            service: Views::new(),
            instance: Views::new(),
            endpoint: Views::new(),
            address: Views::new(),
        }
    }

    /// Room for the links of `spans` more spans.
    pub(crate) fn reserve(&mut self, spans: usize, links: usize) {
        self.offsets.reserve(spans);
        for column in [
            &mut self.trace_id,
            &mut self.span_id,
            &mut self.ref_type,
            &mut self.service,
            &mut self.instance,
            &mut self.endpoint,
            &mut self.address,
        ] {
            column.reserve(links);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.trace_id.len()
    }

    /// Ends the links of some spans, each after so many of all links.
    pub(crate) fn ends(&mut self, ends: impl Iterator<Item = usize>) {
        self.offsets.extend(ends.map(index));
    }

    /// Appends a link to the spans that are not yet ended.
    #[inline]
    pub(crate) fn push(&mut self, link: &Link) {
        self.trace_id.push(link.trace_id);
        self.span_id.push(link.span_id);
        self.ref_type.push(link.ref_type);
        self.service.push(link.service);
        self.instance.push(link.instance);
        self.endpoint.push(link.endpoint);
        self.address.push(link.address);
    }

    pub(crate) fn finish(self, buffers: &Buffers) -> Result<ArrayRef, ArrowError> {
        let columns = [
            self.trace_id,
            self.span_id,
            self.ref_type,
            self.service,
            self.instance,
            self.endpoint,
            self.address,
        ];
        let columns = columns
            .into_iter()
            .map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef))
            .collect::<Result<_, ArrowError>>()?;
        lists(schema::link_item(), columns, self.offsets, None)
    }
}
