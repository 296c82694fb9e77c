//! The limits of a rendering, and the reasons that it ends early.

use minijinja::Value;
use minijinja::value::ValueKind;

/// Most steps of one rendering: statements and parts of expressions.
const STEPS: usize = 10_000;
/// Most bytes of texts and lists that one rendering makes, all together; and that it compares or looks
/// through.
const MADE: usize = 256 << 10;
/// The weight of an item of a list or a map, without its content.
pub(crate) const ITEM: usize = 16;

/// Why a template gives no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// A name that is not there is used.
    #[error("undefined value: {0}")]
    Undefined(String),
    /// It takes too long.
    #[error("it takes more than {STEPS} steps")]
    Steps,
    /// It takes too much memory.
    #[error("it makes more than {} KiB of texts and lists", MADE >> 10)]
    Size,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// The text is full; no more is needed.
    #[error("the message is full")]
    Full,
}

impl Problem {
    /// Whether it is in the template whatever the names stand for: it costs too much.
    pub(crate) fn is_cost(&self) -> bool {
        matches!(self, Problem::Steps | Problem::Size)
    }
}

impl From<minijinja::Error> for Problem {
    fn from(error: minijinja::Error) -> Problem {
        let kind = error.kind();
        let detail = error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
        if kind == minijinja::ErrorKind::UndefinedError {
            Problem::Undefined(detail)
        } else {
            Problem::Failed(detail)
        }
    }
}

/// The rest that a rendering may still take.
#[derive(Debug)]
pub(crate) struct Allowance {
    steps: usize,
    made: usize,
    looked_at: usize,
}

impl Allowance {
    /// That of a rendering that begins.
    pub(super) fn whole() -> Allowance {
        Allowance { steps: STEPS, made: MADE, looked_at: MADE }
    }

    pub(super) fn step(&mut self) -> Result<(), Problem> {
        self.steps = self.steps.checked_sub(1).ok_or(Problem::Steps)?;
        Ok(())
    }

    /// How much may still be made.
    pub(crate) fn left(&self) -> usize {
        self.made
    }

    /// Takes what is made out of the allowance.
    pub(crate) fn charge(&mut self, weight: usize) -> Result<(), Problem> {
        self.made = self.made.checked_sub(weight).ok_or(Problem::Size)?;
        Ok(())
    }

    /// Whether so much may still be made.
    pub(crate) fn foresee(&self, weight: usize) -> Result<(), Problem> {
        if weight > self.made { Err(Problem::Size) } else { Ok(()) }
    }

    /// Lists and maps are looked through as a whole, by comparisons for instance.
    pub(crate) fn look_at(&mut self, value: &Value) -> Result<(), Problem> {
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return Ok(());
        }
        let weight = weight(value, self.looked_at);
        self.looked_at = self.looked_at.checked_sub(weight).ok_or(Problem::Steps)?;
        Ok(())
    }
}

/// The weight of a value with all that it holds, shared parts as often as they are there. Stops above `most`.
pub(crate) fn weight(value: &Value, most: usize) -> usize {
    let mut sum: usize = 0;
    match value.kind() {
        ValueKind::String | ValueKind::Bytes => {
            sum = value.as_str().map_or_else(|| value.len().unwrap_or(0), str::len);
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            let is_map = value.kind() == ValueKind::Map;
            for item in value.try_iter().into_iter().flatten() {
                sum = sum.saturating_add(ITEM);
                let room = most.saturating_sub(sum);
                sum = sum.saturating_add(weight(&item, room));
                if is_map && let Ok(held) = value.get_item(&item) {
                    sum = sum.saturating_add(weight(&held, most.saturating_sub(sum)));
                }
                if sum > most {
                    break;
                }
            }
        }
        _ => {}
    }
    sum
}
