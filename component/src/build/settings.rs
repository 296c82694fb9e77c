//! The section of a component, as its factory reads it.

use serde::de::DeserializeOwned;
use weir_config::{ComponentId, Diagnostic, Diagnostics, Document, Section};

/// The settings of one component, to be read by its factory.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    document: &'a Document,
    section: &'a Section,
}

impl<'a> Settings<'a> {
    /// The settings in `section` of `document`.
    #[must_use]
    pub fn new(document: &'a Document, section: &'a Section) -> Settings<'a> {
        Settings { document, section }
    }

    /// The component's id.
    #[must_use]
    pub fn id(&self) -> &'a ComponentId {
        &self.section.id
    }

    /// Reads the section as the component's own type.
    ///
    /// # Errors
    /// Every unknown key, missing key and wrong value, with its place.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Diagnostics> {
        self.document.read_section(self.section)
    }

    /// An error at `key` (a path within the section, such as `rules[2].when`; empty for the section itself).
    pub fn error_at(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        self.document.error_at(self.section, key, message)
    }
}
