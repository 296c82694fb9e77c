//! Bounds on what one configuration may be. All are far above any real configuration; they stop mistakes and
//! bombs.

/// Longest text of one source, bytes (4 MiB).
pub const MAX_SOURCE_BYTES: usize = 4 << 20;
/// Deepest nesting of maps and lists.
pub const MAX_DEPTH: usize = 64;
/// Most nodes that anchors and aliases (`*name`) of one source add to those that are written there. What is
/// written is bounded by its length.
pub const MAX_NODES: usize = 100_000;
/// Most bytes of scalar text that they add, and in all of `${env:...}` (16 MiB).
pub const MAX_TEXT_BYTES: usize = 16 << 20;
/// Most diagnostics reported for one section.
pub const MAX_DIAGNOSTICS: usize = 200;
/// Longest key of a map, characters.
pub const MAX_KEY_CHARS: usize = 512;
