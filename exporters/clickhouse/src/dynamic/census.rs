//! Counting keys that have no column, by service, with the types that their values fit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, RecordBatch};
use prometheus_client::metrics::counter::Counter;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema::{ATTRIBUTE_KEY, ATTRIBUTE_LEVEL, ATTRIBUTES};
use weir_pdata::text::TextColumn;

use crate::convert::cell::ColumnReader;
use crate::dynamic::key_type::Fits;
use crate::schema::columns::TableColumns;

/// Pairs of a service and a key that are counted between two writings, at most.
const MOST: usize = 50_000;
/// Longer keys are not counted: they get no column.
const LONGEST: usize = 256;
/// Counts that one batch takes room for, at most: services times keys, 16 bytes each.
const MOST_CELLS: usize = 1 << 20;

/// The keys that were seen since they were last taken.
pub(crate) struct Census {
    seen: Mutex<Seen>,
    uncounted: Counter,
}

/// Keys by service.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) by_service: HashMap<Box<str>, HashMap<Box<str>, Count>>,
    pairs: usize,
}

/// How often a key was seen, and the types that all of its values fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) count: u64,
    pub(crate) fits: Fits,
}

impl Count {
    const NONE: Count = Count { count: 0, fits: Fits::ANY };

    fn add(&mut self, other: Count) {
        self.count += other.count;
        self.fits = self.fits.and(other.fits);
    }
}

impl Seen {
    /// Adds counts. Says how many of them found no room.
    fn add(&mut self, service: &str, key: &str, count: Count) -> u64 {
        if let Some(known) = self.by_service.get_mut(service).and_then(|keys| keys.get_mut(key)) {
            known.add(count);
            return 0;
        }
        if self.pairs >= MOST || key.len() > LONGEST {
            return count.count;
        }
        self.by_service.entry(service.into()).or_default().insert(key.into(), count);
        self.pairs += 1;
        0
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs == 0
    }
}

impl Census {
    pub(crate) fn new(uncounted: Counter) -> Census {
        Census { seen: Mutex::default(), uncounted }
    }

    /// Counts the attributes of these spans that this table has no column for. What it has one for is in
    /// columns already.
    pub(crate) fn count(&self, rows: &RecordBatch, table: &TableColumns) {
        let mut counts = BatchCounts::new(rows);
        if let Some(lists) = rows.column_by_name(ATTRIBUTES).and_then(AttributeColumn::new) {
            counts.count_lists(&lists);
        }
        for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            let metadata = field.metadata();
            let is_of_spans = metadata.get(ATTRIBUTE_LEVEL).is_some_and(|level| level == "span");
            if let Some(key) = metadata.get(ATTRIBUTE_KEY)
                && is_of_spans
                && array.null_count() < array.len()
                && table.find(field.name()).is_none()
            {
                counts.count_column(key, &ColumnReader::new(array));
            }
        }
        let mut uncounted = 0;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (service, keys) in counts.services.iter().zip(&counts.counts) {
            for (key, count) in counts.names.iter().zip(keys).filter(|(_, count)| count.count > 0) {
                uncounted += seen.add(service, key, *count);
            }
        }
        drop(seen);
        self.uncounted.inc_by(uncounted);
    }

    /// What was seen.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The counts of one batch: of each service one for each key.
struct BatchCounts<'a> {
    /// Of each row the number of its service.
    rows: Vec<usize>,
    services: Vec<&'a str>,
    names: Vec<&'a str>,
    counts: Vec<Vec<Count>>,
}

impl<'a> BatchCounts<'a> {
    fn new(batch: &'a RecordBatch) -> BatchCounts<'a> {
        let texts = batch.column_by_name("service").and_then(TextColumn::new);
        let (mut services, mut numbers): (Vec<&str>, HashMap<&str, usize>) = (Vec::new(), HashMap::new());
        let mut rows = Vec::with_capacity(batch.num_rows());
        let mut last: Option<(&str, usize)> = None;
        for row in 0..batch.num_rows() {
            let service = texts.and_then(|texts| texts.get(row)).unwrap_or_default();
            let number = match last {
                Some((before, number)) if before == service => number,
                _ => *numbers.entry(service).or_insert_with(|| {
                    services.push(service);
                    services.len() - 1
                }),
            };
            last = Some((service, number));
            rows.push(number);
        }
        let counts = vec![Vec::new(); services.len()];
        BatchCounts { rows, services, names: Vec::new(), counts }
    }

    /// Makes room for the counts of these keys. Returns where they begin. Where that would be too much, as
    /// many keys of many services, the batch is counted as of no service.
    fn begin(&mut self, names: impl Iterator<Item = &'a str>) -> usize {
        let begin = self.names.len();
        self.names.extend(names);
        if self.services.len() > 1 && self.services.len().saturating_mul(self.names.len()) > MOST_CELLS {
            let mut all = vec![Count::NONE; begin];
            for counts in &self.counts {
                all.iter_mut().zip(counts).for_each(|(known, count)| known.add(*count));
            }
            (self.services, self.counts) = (vec![""], vec![all]);
            self.rows.fill(0);
        }
        self.counts.iter_mut().for_each(|counts| counts.resize(self.names.len(), Count::NONE));
        begin
    }

    fn count_lists(&mut self, lists: &AttributeColumn<'a>) {
        let Some((keys, names)) = lists.keys() else { return };
        let known = keys.iter().copied().max().map_or(0, |most| usize::try_from(most).unwrap_or(0) + 1);
        let begin = self.begin((0..known).map(|number| names.get(number).unwrap_or_default()));
        for (row, service) in self.rows.iter().enumerate() {
            let counts = &mut self.counts[*service][begin..];
            for entry in lists.range(row) {
                let key = keys.get(entry).and_then(|key| usize::try_from(*key).ok());
                let Some(count) = key.and_then(|key| counts.get_mut(key)) else { continue };
                count.count += 1;
                // Most are texts, which the first value says.
                if !count.fits.is_text() {
                    count.fits = count.fits.and(Fits::of(&lists.value(entry)));
                }
            }
        }
    }

    fn count_column(&mut self, key: &'a str, values: &ColumnReader<'a>) {
        let begin = self.begin(std::iter::once(key));
        for (row, service) in self.rows.iter().enumerate() {
            let cell = values.cell(row);
            if cell == crate::convert::cell::Cell::Null {
                continue;
            }
            let count = &mut self.counts[*service][begin];
            count.add(Count { count: 1, fits: Fits::of_cell(&cell) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weir_component::testkit::json_batch;
    use weir_pdata::{Ack, Signal};

    fn counted(census: &Census) -> Vec<(String, String, u64, &'static str)> {
        let mut all = Vec::new();
        for (service, keys) in census.take().by_service {
            for (key, count) in keys {
                all.push((service.to_string(), key.to_string(), count.count, count.fits.key_type().name()));
            }
        }
        all.sort();
        all
    }

    fn rows(rows: &[Value]) -> RecordBatch {
        json_batch(Signal::Traces, rows, Ack::none()).as_columns().unwrap().clone()
    }

    #[test]
    fn many_services_with_many_keys_take_bounded_memory() {
        let census = Census::new(Counter::default());
        let span = |n: usize| json!({"service": format!("s{n}"), "attributes": {format!("k{n}"): "1"}});
        let spans: Vec<Value> = (0..2_000).map(span).collect();
        let spans = rows(&spans);
        let mut counts = BatchCounts::new(&spans);
        counts.count_lists(&AttributeColumn::new(spans.column_by_name(ATTRIBUTES).unwrap()).unwrap());
        assert!(counts.counts.iter().map(Vec::len).sum::<usize>() <= MOST_CELLS);
        census.count(&spans, &TableColumns::default());
        let found = counted(&census);
        assert_eq!(found.len(), 2_000);
        assert_eq!(found[0], (String::new(), "k0".to_owned(), 1, "integer"));
    }

    #[test]
    fn keys_are_counted_by_service_with_the_type_of_all_values() {
        let census = Census::new(Counter::default());
        let spans = rows(&[
            json!({"service": "a", "attributes": {"n": "1", "t": "x", "m": "1"}}),
            json!({"service": "a", "attributes": {"n": "2.5", "m": "y"}}),
            json!({"service": "b", "attributes": {"n": "7"}}),
        ]);
        census.count(&spans, &TableColumns::default());
        census.count(&spans, &TableColumns::default());
        let of = |service: &str, key: &str, count, kind| (service.to_owned(), key.to_owned(), count, kind);
        let expected = [
            of("a", "m", 4, "text"),
            of("a", "n", 4, "float"),
            of("a", "t", 2, "text"),
            of("b", "n", 2, "integer"),
        ];
        assert_eq!(counted(&census), expected);
        assert_eq!(counted(&census), []);
    }

    #[test]
    fn what_finds_no_room_is_told() {
        let uncounted = Counter::default();
        let census = Census::new(uncounted.clone());
        let keys = |from: usize| -> Value {
            (from..from + 30_000)
                .map(|key| (format!("k{key}"), json!("v")))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        for from in [0, 30_000] {
            census
                .count(&rows(&[json!({"service": "a", "attributes": keys(from)})]), &TableColumns::default());
        }
        assert_eq!(uncounted.get(), 10_000);
        census.count(&rows(&[json!({"service": "a", "attributes": {"k7": "v"}})]), &TableColumns::default());
        let counted = counted(&census);
        assert_eq!(counted.len(), MOST);
        assert!(counted.contains(&("a".to_owned(), "k7".to_owned(), 2, "text")));
    }
}
