//! No code. Every crate of the workspace depends on this one; its `Cargo.toml` says why.
