//! The rules in force, and how they change.
//!
//! * A [`rule_set::RuleSet`] never changes. [`rule_set::SharedRules`] holds the newest one. The trunk uses it
//!   from a window boundary on.
//! * The [`rule_book::RuleBook`] keeps all rules. Every accepted change adds one to the epoch of the next set
//!   that it publishes. A record that is no rule is refused, and the last good version of that rule stays.

pub(crate) mod client;
pub(crate) mod files;
pub(crate) mod rule_book;
pub(crate) mod rule_index;
pub(crate) mod rule_set;
#[cfg(test)]
mod tests;
pub(crate) mod topic_reader;
