//! Whom the message of a robot calls.

/// People, by what the tool knows them by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mention {
    pub(crate) all: bool,
    pub(crate) users: Vec<String>,
    pub(crate) mobiles: Vec<String>,
}
