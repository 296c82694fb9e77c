//! The fields of metrics and their data points.

use weir_proto::wire::{bytes, fixed64, message, varint};

pub(crate) const NAME: u32 = bytes(1);
pub(crate) const DESCRIPTION: u32 = bytes(2);
pub(crate) const UNIT: u32 = bytes(3);
pub(crate) const METADATA: u32 = message(12);
/// Fields 4, 6 and 8 are reserved: they are skipped.
pub(crate) const RESERVED: [u32; 3] = [4, 6, 8];
pub(crate) const METRIC: u32 = 12;

pub(crate) const POINTS: u32 = message(1);
pub(crate) const TEMPORALITY: u32 = varint(2);
pub(crate) const MONOTONIC: u32 = varint(3);

pub(crate) const START: u32 = fixed64(2);
pub(crate) const TIME: u32 = fixed64(3);
/// Of number points, and of summaries.
pub(crate) const NUMBER_ATTRIBUTES: u32 = message(7);
pub(crate) const NUMBER_FLAGS: u32 = varint(8);
pub(crate) const AS_DOUBLE: u32 = fixed64(4);
pub(crate) const NUMBER_EXEMPLARS: u32 = message(5);
pub(crate) const AS_INT: u32 = fixed64(6);
pub(crate) const NUMBER: u32 = 8;

pub(crate) const COUNT: u32 = fixed64(4);
pub(crate) const SUM: u32 = fixed64(5);
pub(crate) const QUANTILES: u32 = message(6);
pub(crate) const QUANTILE: u32 = fixed64(1);
pub(crate) const QUANTILE_VALUE: u32 = fixed64(2);
pub(crate) const QUANTILE_FIELDS: u32 = 2;
pub(crate) const SUMMARY: u32 = 8;

pub(crate) const BUCKET_COUNTS: u32 = bytes(6);
pub(crate) const BUCKET_COUNT: u32 = fixed64(6);
pub(crate) const BOUNDS: u32 = bytes(7);
pub(crate) const BOUND: u32 = fixed64(7);
pub(crate) const EXEMPLARS: u32 = message(8);
pub(crate) const ATTRIBUTES: u32 = message(9);
pub(crate) const FLAGS: u32 = varint(10);
pub(crate) const MIN: u32 = fixed64(11);
pub(crate) const MAX: u32 = fixed64(12);
pub(crate) const HISTOGRAM: u32 = 12;

pub(crate) const EXP_ATTRIBUTES: u32 = message(1);
pub(crate) const SCALE: u32 = varint(6);
pub(crate) const ZERO_COUNT: u32 = fixed64(7);
pub(crate) const POSITIVE: u32 = message(8);
pub(crate) const NEGATIVE: u32 = message(9);
pub(crate) const EXP_FLAGS: u32 = varint(10);
pub(crate) const EXP_EXEMPLARS: u32 = message(11);
pub(crate) const EXP_MIN: u32 = fixed64(12);
pub(crate) const EXP_MAX: u32 = fixed64(13);
pub(crate) const ZERO_THRESHOLD: u32 = fixed64(14);
pub(crate) const EXPONENTIAL: u32 = 14;

pub(crate) const OFFSET: u32 = varint(1);
pub(crate) const EXP_COUNTS: u32 = bytes(2);
pub(crate) const EXP_COUNT: u32 = varint(2);
pub(crate) const BUCKETS: u32 = 2;

pub(crate) const EXEMPLAR_TIME: u32 = fixed64(2);
pub(crate) const EXEMPLAR_DOUBLE: u32 = fixed64(3);
pub(crate) const EXEMPLAR_SPAN_ID: u32 = bytes(4);
pub(crate) const EXEMPLAR_TRACE_ID: u32 = bytes(5);
pub(crate) const EXEMPLAR_INT: u32 = fixed64(6);
pub(crate) const EXEMPLAR_ATTRIBUTES: u32 = message(7);
pub(crate) const EXEMPLAR: u32 = 7;
/// Field 1 of exemplars and of points but exponential ones is reserved: it is skipped.
pub(crate) const LABELS: u32 = 1;
