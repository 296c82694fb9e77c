//! Reading the metrics of a request and their data points.

use std::ops::Range;

use weir_proto::wire::Reader;

use super::point::{Buckets, Exemplar, Metric, MetricType, Metrics, Number, Point};
use super::point_fields as field;
use super::scan::record::{Record, time};
use super::scan::{Items, Read, Refused, uint32};
use crate::decode::result::DecodeError;

impl Items for Metrics {
    type Lengths = [usize; 9];

    fn read(&mut self, record: &Record<'_>, reader: Reader<'_>, refused: &mut Refused) -> Read {
        record.allows("metrics", self.metrics.len(), 8)?;
        let first = (self.metadata.len(), self.points.len());
        let mut metric = self.read_metric(record, reader, refused)?;
        metric.metadata = first.0..self.metadata.len();
        metric.points = first.1..self.points.len();
        if let Some(reason) = metric.refused {
            refused.add(metric.points.len(), reason);
            self.points.truncate(first.1);
            return Ok(());
        }
        if !metric.points.is_empty() {
            self.metrics.push(metric);
        }
        Ok(())
    }

    fn lengths(&self) -> [usize; 9] {
        [
            self.metrics.len(),
            self.metadata.len(),
            self.points.len(),
            self.attributes.len(),
            self.bounds.len(),
            self.counts.len(),
            self.quantiles.len(),
            self.exemplars.len(),
            self.nested.len(),
        ]
    }

    fn truncate(&mut self, to: [usize; 9]) {
        let [metrics, metadata, points, attributes, bounds, counts, quantiles, exemplars, nested] = to;
        self.metrics.truncate(metrics);
        self.metadata.truncate(metadata);
        self.points.truncate(points);
        self.attributes.truncate(attributes);
        self.bounds.truncate(bounds);
        self.counts.truncate(counts);
        self.quantiles.truncate(quantiles);
        self.exemplars.truncate(exemplars);
        self.nested.truncate(nested);
    }

    fn len(&self) -> usize {
        self.metrics.len()
    }

    fn rows(&self, items: Range<usize>) -> usize {
        self.metrics[items].iter().map(|metric| metric.points.len()).sum()
    }
}

impl Metrics {
    fn read_metric(
        &mut self,
        record: &Record<'_>,
        mut reader: Reader<'_>,
        refused: &mut Refused,
    ) -> Result<Metric, DecodeError> {
        let first = self.points.len();
        let mut metric = Metric::default();
        while let Some(tag) = reader.next_tag()? {
            if let Some(data) = MetricType::ALL.into_iter().find(|data| data.tag() == tag) {
                if metric.data != Some(data) {
                    // The last of several types counts.
                    self.points.truncate(first);
                    (metric.temporality, metric.monotonic) = (0, false);
                }
                metric.data = Some(data);
                self.read_data(record, reader.message()?, &mut metric, data, refused)?;
                continue;
            }
            let read = match tag {
                field::NAME => record.text(&mut reader).map(|text| metric.name = text),
                field::DESCRIPTION => record.text(&mut reader).map(|text| metric.description = text),
                field::UNIT => record.text(&mut reader).map(|text| metric.unit = text),
                field::METADATA => record.attribute(reader.message()?, &mut self.metadata),
                other if field::RESERVED.contains(&(other >> 3)) => Ok(reader.skip_unknown(other, 0)?),
                other => Ok(reader.skip_unknown(other, field::METRIC)?),
            };
            metric.refused = metric.refused.or(super::scan::of_one_item(read)?);
        }
        Ok(metric)
    }

    fn read_data(
        &mut self,
        record: &Record<'_>,
        mut reader: Reader<'_>,
        metric: &mut Metric,
        data: MetricType,
        refused: &mut Refused,
    ) -> Read {
        let known = match data {
            MetricType::Gauge | MetricType::Summary => 1,
            MetricType::Sum => 3,
            MetricType::Histogram | MetricType::ExponentialHistogram => 2,
        };
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::POINTS => {
                    record.allows("data points", self.points.len() + refused.rows, 8)?;
                    let point = reader.message()?;
                    self.read_row(refused, |metrics| metrics.read_point(record, point, data))?;
                }
                field::TEMPORALITY if known > 1 => metric.temporality = reader.int32()?,
                field::MONOTONIC if known > 2 => metric.monotonic = reader.varint()? != 0,
                other => reader.skip_unknown(other, known)?,
            }
        }
        Ok(())
    }

    fn read_point(&mut self, record: &Record<'_>, reader: Reader<'_>, data: MetricType) -> Read {
        let first = (self.attributes.len(), self.exemplars.len());
        let (bounds, quantiles) = (self.bounds.len(), self.quantiles.len());
        let mut point = Point::default();
        match data {
            MetricType::Gauge | MetricType::Sum => self.read_number(record, reader, &mut point)?,
            MetricType::Histogram => self.read_histogram(record, reader, &mut point)?,
            MetricType::ExponentialHistogram => self.read_exponential(record, reader, &mut point)?,
            MetricType::Summary => self.read_summary(record, reader, &mut point)?,
        }
        point.attributes = first.0..self.attributes.len();
        point.exemplars = first.1..self.exemplars.len();
        point.bounds = bounds..self.bounds.len();
        point.quantiles = quantiles..self.quantiles.len();
        self.points.push(point);
        Ok(())
    }

    fn read_number(&mut self, record: &Record<'_>, mut reader: Reader<'_>, point: &mut Point) -> Read {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::NUMBER_ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::AS_DOUBLE => point.value = Number::Float(double(&mut reader)?),
                field::AS_INT => point.value = Number::Int(reader.fixed64()?.cast_signed()),
                field::NUMBER_EXEMPLARS => self.read_exemplar(record, reader.message()?)?,
                field::NUMBER_FLAGS => point.flags = uint32(&mut reader)?,
                other if other >> 3 == field::LABELS => reader.skip_unknown(other, 0)?,
                other => point.read_times(other, &mut reader, field::NUMBER)?,
            }
        }
        Ok(())
    }

    fn read_histogram(&mut self, record: &Record<'_>, mut reader: Reader<'_>, point: &mut Point) -> Read {
        let counts = self.counts.len();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::MIN => point.min = Some(double(&mut reader)?),
                field::MAX => point.max = Some(double(&mut reader)?),
                field::BUCKET_COUNTS => {
                    let mut packed = reader.message()?;
                    while !packed.rest().is_empty() {
                        self.counts.push(packed.fixed64()?);
                    }
                }
                field::BUCKET_COUNT => self.counts.push(reader.fixed64()?),
                field::BOUNDS => {
                    let mut packed = reader.message()?;
                    while !packed.rest().is_empty() {
                        self.bounds.push(double(&mut packed)?);
                    }
                }
                field::BOUND => self.bounds.push(double(&mut reader)?),
                field::EXEMPLARS => self.read_exemplar(record, reader.message()?)?,
                field::FLAGS => point.flags = uint32(&mut reader)?,
                other if other >> 3 == field::LABELS => reader.skip_unknown(other, 0)?,
                other => point.read_totals(other, &mut reader, field::HISTOGRAM)?,
            }
        }
        point.positive.counts = counts..self.counts.len();
        Ok(())
    }

    fn read_exponential(&mut self, record: &Record<'_>, mut reader: Reader<'_>, point: &mut Point) -> Read {
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::EXP_ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::SCALE => point.scale = sint32(&mut reader)?,
                field::ZERO_COUNT => point.zero_count = reader.fixed64()?,
                field::POSITIVE => self.read_buckets(record, reader.message()?, &mut point.positive)?,
                field::NEGATIVE => self.read_buckets(record, reader.message()?, &mut point.negative)?,
                field::EXP_FLAGS => point.flags = uint32(&mut reader)?,
                field::EXP_EXEMPLARS => self.read_exemplar(record, reader.message()?)?,
                field::EXP_MIN => point.min = Some(double(&mut reader)?),
                field::EXP_MAX => point.max = Some(double(&mut reader)?),
                field::ZERO_THRESHOLD => point.zero_threshold = double(&mut reader)?,
                other => point.read_totals(other, &mut reader, field::EXPONENTIAL)?,
            }
        }
        Ok(())
    }

    /// Reads buckets; those of a second message of the same sign follow the first ones.
    fn read_buckets(&mut self, record: &Record<'_>, mut reader: Reader<'_>, buckets: &mut Buckets) -> Read {
        if buckets.counts.end != self.counts.len() {
            record.allows("bucket counts", self.counts.len(), 1)?;
            let first = self.counts.len();
            self.counts.extend_from_within(buckets.counts.clone());
            buckets.counts = first..self.counts.len();
        }
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::OFFSET => buckets.offset = sint32(&mut reader)?,
                field::EXP_COUNTS => {
                    let mut packed = reader.message()?;
                    while !packed.rest().is_empty() {
                        self.counts.push(packed.varint()?);
                    }
                }
                field::EXP_COUNT => self.counts.push(reader.varint()?),
                other => reader.skip_unknown(other, field::BUCKETS)?,
            }
        }
        buckets.counts.end = self.counts.len();
        Ok(())
    }

    fn read_summary(&mut self, record: &Record<'_>, mut reader: Reader<'_>, point: &mut Point) -> Read {
        point.sum = Some(0.0);
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::NUMBER_ATTRIBUTES => record.attribute(reader.message()?, &mut self.attributes)?,
                field::QUANTILES => {
                    record.allows("quantiles", self.quantiles.len(), 8)?;
                    self.quantiles.push(read_quantile(reader.message()?)?);
                }
                field::NUMBER_FLAGS => point.flags = uint32(&mut reader)?,
                other if other >> 3 == field::LABELS => reader.skip_unknown(other, 0)?,
                other => point.read_totals(other, &mut reader, field::SUMMARY)?,
            }
        }
        Ok(())
    }

    fn read_exemplar(&mut self, record: &Record<'_>, mut reader: Reader<'_>) -> Read {
        record.allows("exemplars", self.exemplars.len(), 8)?;
        let first = self.nested.len();
        let mut exemplar = Exemplar::default();
        while let Some(tag) = reader.next_tag()? {
            match tag {
                field::EXEMPLAR_TIME => exemplar.time = time(&mut reader)?,
                field::EXEMPLAR_DOUBLE => exemplar.value = Number::Float(double(&mut reader)?),
                field::EXEMPLAR_INT => exemplar.value = Number::Int(reader.fixed64()?.cast_signed()),
                field::EXEMPLAR_SPAN_ID => exemplar.span_id = record.bytes(&mut reader)?,
                field::EXEMPLAR_TRACE_ID => exemplar.trace_id = record.bytes(&mut reader)?,
                field::EXEMPLAR_ATTRIBUTES => record.attribute(reader.message()?, &mut self.nested)?,
                other if other >> 3 == field::LABELS => reader.skip_unknown(other, 0)?,
                other => reader.skip_unknown(other, field::EXEMPLAR)?,
            }
        }
        exemplar.attributes = first..self.nested.len();
        self.exemplars.push(exemplar);
        Ok(())
    }
}

impl Point {
    /// Reads a field that all points have under the same number; `fields`: the last number of its message.
    #[inline]
    fn read_times(&mut self, tag: u32, reader: &mut Reader<'_>, fields: u32) -> Read {
        match tag {
            field::START => self.start = time(reader)?,
            field::TIME => self.time = time(reader)?,
            other => reader.skip_unknown(other, fields)?,
        }
        Ok(())
    }

    /// Reads a field that points of several numbers have under the same number.
    #[inline]
    fn read_totals(&mut self, tag: u32, reader: &mut Reader<'_>, fields: u32) -> Read {
        match tag {
            field::COUNT => self.count = reader.fixed64()?,
            field::SUM => self.sum = Some(double(reader)?),
            other => self.read_times(other, reader, fields)?,
        }
        Ok(())
    }
}

fn read_quantile(mut reader: Reader<'_>) -> Result<(f64, f64), DecodeError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(tag) = reader.next_tag()? {
        match tag {
            field::QUANTILE => quantile = double(&mut reader)?,
            field::QUANTILE_VALUE => value = double(&mut reader)?,
            other => reader.skip_unknown(other, field::QUANTILE_FIELDS)?,
        }
    }
    Ok((quantile, value))
}

fn double(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    Ok(f64::from_bits(reader.fixed64()?))
}

/// A `sint32` value, in zigzag.
fn sint32(reader: &mut Reader<'_>) -> Result<i32, DecodeError> {
    let bits = uint32(reader)?;
    Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
}
