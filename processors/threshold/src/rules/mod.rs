//! The rules in force, and how they change.
//!
//! * A [`RuleSet`] never changes. [`SharedRules`] holds the newest one; the trunk takes it up at a window boundary.
//! * The [`RuleBook`] is where rules are kept. Every accepted change adds one to the epoch of the next set that it
//!   publishes. What is not a rule is refused, and the last good version of that rule stays.

pub(crate) mod client;
pub(crate) mod rule_book;
pub(crate) mod rule_set;
#[cfg(test)]
mod tests;
pub(crate) mod topic_reader;
