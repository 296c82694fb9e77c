//! Columns of few names, such as kinds and statuses.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::views::{dictionary, index};

/// Names that a column may have, made once.
pub(crate) type FixedNames = LazyLock<Arc<StringViewArray>>;

/// Makes [`FixedNames`].
pub(crate) fn fixed_names(names: impl IntoIterator<Item = &'static str>) -> Arc<StringViewArray> {
    Arc::new(StringViewArray::from_iter_values(names))
}

/// A value of a column of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The known name with this index.
    Fixed(i32),
    /// An enum number without a name.
    Unknown(i32),
    /// No value.
    Null,
}

/// Text of an enum number that has no name.
pub(crate) fn unknown(number: i32) -> String {
    format!("unknown({number})")
}

/// No name.
const NULL: i32 = -1;

/// A dictionary column over a few known names, and `unknown(N)` as needed.
#[derive(Debug)]
pub(crate) struct Names {
    /// [`NULL`] for those that are missing.
    keys: Vec<i32>,
    nulls: usize,
    known: &'static Arc<StringViewArray>,
    unknown: HashMap<i32, i32, foldhash::fast::RandomState>,
    unknown_in_order: Vec<i32>,
}

impl Names {
    pub(crate) fn new(known: &'static FixedNames) -> Names {
        Names { keys: Vec::new(), nulls: 0, known, unknown: HashMap::default(), unknown_in_order: Vec::new() }
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.keys.reserve(more);
    }

    #[allow(dead_code, reason = "for decoders that build row after row")]
    #[inline]
    pub(crate) fn push(&mut self, name: Name) {
        let key = self.key(name);
        self.keys.push(key);
    }

    /// Appends some. In one go when the iterator knows how many there are.
    #[inline]
    pub(crate) fn extend(&mut self, names: impl Iterator<Item = Name>) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.extend(names.map(|name| self.key(name)));
        self.keys = keys;
    }

    #[inline]
    fn key(&mut self, name: Name) -> i32 {
        match name {
            Name::Fixed(index) => index,
            Name::Unknown(number) => self.unknown(number),
            Name::Null => {
                self.nulls += 1;
                NULL
            }
        }
    }

    fn unknown(&mut self, number: i32) -> i32 {
        let next = index(self.known.len() + self.unknown_in_order.len());
        let Names { unknown, unknown_in_order, .. } = self;
        *unknown.entry(number).or_insert_with(|| {
            unknown_in_order.push(number);
            next
        })
    }

    pub(crate) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = (self.nulls > 0).then(|| {
            let there = BooleanBuffer::collect_bool(self.keys.len(), |at| self.keys[at] != NULL);
            self.keys.iter_mut().filter(|key| **key == NULL).for_each(|key| *key = 0);
            NullBuffer::new(there)
        });
        if self.unknown_in_order.is_empty() {
            return dictionary(self.keys, nulls, Arc::clone(self.known) as ArrayRef);
        }
        let mut values = StringViewBuilder::new();
        for name in self.known.iter().flatten() {
            values.append_value(name);
        }
        let mut label = String::new();
        for number in self.unknown_in_order {
            label.clear();
            // Writing to a String does not fail.
            let _ = write!(label, "unknown({number})");
            values.append_value(&label);
        }
        dictionary(self.keys, nulls, Arc::new(values.finish()))
    }
}
