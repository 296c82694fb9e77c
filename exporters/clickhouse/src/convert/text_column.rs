//! Texts of a column, as they are or with a dictionary.

use arrow::array::{Array, DictionaryArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Int32Type;
use weir_pdata::text::TextColumn;

use crate::convert::cell::{Cell, ColumnBatch, ColumnReader};
use crate::native::dictionary::Dictionary;
use crate::native::frames::Frames;

/// Writes the rows of one batch as texts. Without a value they are empty.
pub(super) fn write_texts(source: Option<&ColumnReader<'_>>, rows: usize, frames: &mut Frames) {
    if let Some(TextColumn::View(array)) = source.and_then(ColumnReader::text) {
        return write_views(array, frames);
    }
    for row in 0..rows {
        match source.map_or(Cell::Null, |source| source.cell(row)) {
            Cell::Text(text) => frames.text(text.as_bytes()),
            other => frames.display(&other),
        }
    }
}

fn write_views(array: &StringViewArray, frames: &mut Frames) {
    let (views, buffers) = (array.views(), array.data_buffers());
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return frames.views(views.iter().copied(), buffers);
    };
    let mut views = &views[..];
    for_each_word(nulls.inner(), |word, count| {
        let (now, later) = views.split_at(count);
        views = later;
        let there = |at: usize| u128::from(word >> at & 1).wrapping_neg();
        frames.views(now.iter().enumerate().map(|(at, view)| view & there(at)), buffers);
    });
}

/// Calls `with` with all bits, in words of 64 of which the last may have fewer.
pub(super) fn for_each_word(bits: &BooleanBuffer, mut with: impl FnMut(u64, usize)) {
    for (at, word) in bits.bit_chunks().iter_padded().enumerate() {
        with(word, (bits.len() - 64 * at).min(64));
    }
}

/// Adds the rows of all batches. Without a value they are empty.
pub(super) fn add_texts(column_batches: &[ColumnBatch<'_>], dictionary: &mut Dictionary) {
    for (source, rows) in column_batches {
        let text = source.as_ref().and_then(ColumnReader::text);
        let keyed = text.and_then(|text| text.dictionary());
        if let Some((array, _)) = keyed
            && add_distinct(array, dictionary).is_some()
        {
            continue;
        }
        for row in 0..*rows {
            let number = match source.as_ref().map_or(Cell::Null, |source| source.cell(row)) {
                Cell::Text(text) => dictionary.number(text.as_bytes()),
                other => dictionary.number(other.to_string().as_bytes()),
            };
            dictionary.push(number);
        }
    }
}

/// Adds the texts of a dictionary, each looked up once. `None`: it has entries without a text, and nothing
/// was added.
fn add_distinct(array: &DictionaryArray<Int32Type>, dictionary: &mut Dictionary) -> Option<()> {
    const UNUSED: u32 = u32::MAX;
    const USED: u32 = u32::MAX - 1;
    let texts = TextColumn::new(array.values()).filter(|_| array.values().null_count() == 0)?;
    let keys = array.keys();
    let mut numbers = dictionary.spare();
    numbers.resize(array.values().len(), UNUSED);
    let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
    match nulls {
        None => keys.values().iter().for_each(|key| numbers[*key as usize] = USED),
        Some(nulls) => {
            let there = keys.values().iter().zip(nulls.inner());
            there.filter(|(_, there)| *there).for_each(|(key, _)| numbers[*key as usize] = USED);
        }
    }
    for (at, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number == USED) {
        *number = dictionary.number(texts.get(at).unwrap_or_default().as_bytes());
    }
    match nulls {
        None => dictionary.extend(keys.values().iter().map(|key| numbers[*key as usize])),
        Some(nulls) => {
            let missing = dictionary.number(b"");
            let number = |(row, key): (usize, &i32)| {
                if nulls.is_valid(row) { numbers[*key as usize] } else { missing }
            };
            dictionary.extend(keys.values().iter().enumerate().map(number));
        }
    }
    dictionary.keep(numbers);
    Some(())
}
