//! The id of a request.

use crate::alarm::Alarm;

/// The id of a request with these alarms: the same whenever the same alarms are sent, by whichever Weir.
/// A hash (FNV-1a, 128 bits) of each alarm's fingerprint, state and time.
pub(crate) fn id<'a>(alarms: impl Iterator<Item = &'a Alarm>) -> String {
    let mut hash = Fnv::default();
    for alarm in alarms {
        for text in ["fingerprint", "state"].map(|name| alarm.text(name)) {
            hash.add(&(text.len() as u64).to_le_bytes());
            hash.add(text.as_bytes());
        }
        let time = alarm.millis("time").unwrap_or_default().saturating_mul(1_000_000);
        hash.add(&time.to_le_bytes());
    }
    format!("msg_{:032x}", hash.0)
}

/// FNV-1a with 128 bits: <https://www.rfc-editor.org/rfc/rfc9923>.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn alarms(rows: &[(&str, &str, i64)]) -> Vec<Alarm> {
        let alarm = |(fingerprint, state, time): &(&str, &str, i64)| {
            Alarm::of(&json!({"fingerprint": fingerprint, "state": state, "time": time}))
        };
        rows.iter().map(alarm).collect()
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Fnv::default();
        hash.add(b"foobar");
        assert_eq!(hash.0, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn the_id_follows_fingerprint_state_and_time_and_nothing_else() {
        let id_of = |rows: &[(&str, &str, i64)]| id(alarms(rows).iter());
        for other in [("f", "resolved", 1), ("g", "firing", 1), ("f", "firing", 2)] {
            assert_ne!(id_of(&[("f", "firing", 1)]), id_of(&[other]));
        }
        assert_ne!(id_of(&[("fg", "x", 0)]), id_of(&[("f", "gx", 0)]));
    }
}
