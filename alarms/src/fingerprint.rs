//! The identity of an alarm, the same in every run and on every machine.

use weir_pdata::Fnv;

use crate::Labels;

/// A text that no other names and labels have: each part with its length.
#[must_use]
pub fn series_key(names: [&str; 2], labels: &Labels) -> String {
    let mut key = String::new();
    let labels = labels.iter().flat_map(|(name, value)| [&**name, value.as_str()]);
    for part in names.into_iter().chain(labels) {
        key.push_str(&part.len().to_string());
        key.push(':');
        key.push_str(part);
    }
    key
}

/// 16 hex digits: FNV-1a (64 bits).
#[must_use]
pub fn fingerprint(bytes: impl IntoIterator<Item = u8>) -> String {
    format!("{:016x}", Fnv::of(bytes).get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_series_have_the_same_key() {
        let pay = [("service".into(), "pay".to_owned())];
        assert_eq!(series_key(["slow", "aggregate"], &pay), "4:slow9:aggregate7:service3:pay");
        assert_ne!(series_key(["a", "bc"], &[]), series_key(["ab", "c"], &[]));
    }

    #[test]
    fn fingerprints_are_fnv_1a() {
        // Offset basis and test vector of the reference:
        // https://datatracker.ietf.org/doc/html/draft-eastlake-fnv
        assert_eq!(fingerprint([]), "cbf29ce484222325");
        assert_eq!(fingerprint(*b"foobar"), "85944171f73967e8");
    }
}
