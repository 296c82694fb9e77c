//! Lanes whose windows are added up.

/// Which lanes' windows are added up: those of lanes with the same shard. 0 unless a gateway reads only part
/// of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u32);
