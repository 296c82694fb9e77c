//! The member `ot` of a trace state, where OpenTelemetry keeps thresholds and randomness:
//! `ot=rv:10000000000000;th:3,vendor=value`.

use crate::threshold::{Randomness, Threshold};

/// The most members of a trace state, and the most bytes of the value of `ot`.
const MEMBERS: usize = 32;
const VALUE: usize = 256;

/// The values of `ot` that are about sampling. One that is not well formed is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sampling {
    /// `th`.
    pub(crate) threshold: Option<Threshold>,
    /// `rv`.
    pub(crate) randomness: Option<Randomness>,
}

/// Reads a trace state.
pub(crate) fn read(state: &str) -> Sampling {
    let mut found = Sampling::default();
    let value = members(state).find_map(|(key, value)| (key == "ot").then_some(value));
    for (key, value) in value.into_iter().flat_map(fields) {
        match key {
            "th" => found.threshold = Threshold::parse(value),
            "rv" => found.randomness = Randomness::parse(value),
            _ => {}
        }
    }
    found
}

/// Writes `state` with this threshold, and this randomness if any, in place of what it has. The member `ot`
/// comes first, because it was changed last. What does not fit the bounds of a trace state is left out at its
/// end.
pub(crate) fn write(state: &str, threshold: &str, randomness: Option<&str>, out: &mut String) {
    out.clear();
    out.push_str("ot=");
    if let Some(randomness) = randomness {
        out.push_str("rv:");
        out.push_str(randomness);
        out.push(';');
    }
    out.push_str("th:");
    out.push_str(threshold);
    let value = members(state).find_map(|(key, value)| (key == "ot").then_some(value));
    for (key, value) in value.into_iter().flat_map(fields).filter(|(key, _)| !["th", "rv"].contains(key)) {
        if out.len() - "ot=".len() + key.len() + value.len() + 2 > VALUE {
            break;
        }
        out.push(';');
        out.push_str(key);
        out.push(':');
        out.push_str(value);
    }
    for (key, value) in members(state).filter(|(key, _)| *key != "ot").take(MEMBERS - 1) {
        out.push(',');
        out.push_str(key);
        out.push('=');
        out.push_str(value);
    }
}

/// The members, keys and values.
fn members(state: &str) -> impl Iterator<Item = (&str, &str)> {
    state.split(',').filter_map(|member| member.trim().split_once('='))
}

/// The fields of the value of `ot`.
fn fields(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|field| field.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(state: &str) -> (Option<String>, Option<String>) {
        let Sampling { threshold, randomness } = read(state);
        (threshold.map(Threshold::digits), randomness.map(Randomness::digits))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn written(state: &str, threshold: &str, randomness: Option<&str>) -> String {
        let mut out = String::new();
        write(state, threshold, randomness, &mut out);
        out
    }

    /// Those of the tests of the Collector's package `sampling`.
    #[test]
    fn what_the_collector_reads_is_read() {
        assert_eq!(of("ot=th:2"), (some("2"), None));
        assert_eq!(of("ot=th:abcdefabcdefab"), (some("abcdefabcdefab"), None));
        assert_eq!(of("ot=th:1000"), (some("1"), None));
        assert_eq!(of("ot=extra:stuff;th:2"), (some("2"), None));
        assert_eq!(of("ot=x1y2z3:1-2-3;y1:y_1;xy:-;th:50"), (some("5"), None));
        assert_eq!(of("ot=rv:22222222222222;extra:stuff"), (None, some("22222222222222")));
        assert_eq!(of("a=b, ot=rv:10000000000000;th:3;a:b;c:d ,c=d"), (some("3"), some("10000000000000")));
        for state in
            ["", "th:2", "ot=", "ot=th:$", "ot=th:14.5", "ot=th:-1", "ot=th:ffffffffffffffff", "ot=rv:3;p:2"]
        {
            assert_eq!(of(state), (None, None), "{state}");
        }
    }

    #[test]
    fn what_is_written_is_what_the_collector_writes() {
        assert_eq!(written("", "3", None), "ot=th:3");
        assert_eq!(written("ot=rv:abcdefabcdefab", "3", Some("abcdefabcdefab")), "ot=rv:abcdefabcdefab;th:3");
        assert_eq!(written("ot=a:b", "3", Some("00000000000003")), "ot=rv:00000000000003;th:3;a:b");
        assert_eq!(written("x=1,ot=th:8;a:b,y=2=3", "e", None), "ot=th:e;a:b,x=1,y=2=3");
    }

    #[test]
    fn the_bounds_of_a_trace_state_are_kept() {
        let many: Vec<String> = (0..40).map(|n| format!("k{n}=v")).collect();
        let state = written(&many.join(","), "8", None);
        assert_eq!(state.split(',').count(), 32);
        assert!(state.ends_with("k30=v"));
        let long = format!("ot=x:{};y:1", "_".repeat(254));
        assert_eq!(written(&long, "8", None), "ot=th:8");
    }
}
