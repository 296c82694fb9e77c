//! When entries hold, and what becomes of files that change.

use super::*;
use serde_json::json;

fn calendar(text: &str) -> Result<Calendar, String> {
    let entries = parse(Path::new("calendar.yaml"), text.to_owned())?;
    Ok(Calendar(vec![Source { entries, ..Source::default() }]))
}

fn hides(calendar: &Calendar, at: &str) -> bool {
    let alarm = Alarm::of(&json!({"rule": "slow", "service": "pay"}));
    let at = DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis();
    calendar.hides(&alarm, at).is_some()
}

#[test]
fn a_window_holds_once_in_its_time_zone() {
    let calendar = calendar(
        "maintenance:\n  - {name: switch, match: {service: pay}, from: 2026-12-01T22:00, to: 2026-12-02T02:00, time_zone: Asia/Shanghai}\n",
    )
    .unwrap();
    for (at, expected) in [
        ("2026-12-01T21:59:59+08:00", false),
        ("2026-12-01T22:00:00+08:00", true),
        ("2026-12-01T17:59:59Z", true),
        ("2026-12-01T18:00:00Z", false),
    ] {
        assert_eq!(hides(&calendar, at), expected, "{at}");
    }
}

/// 2026-12-05 is a Saturday.
#[test]
fn a_window_that_returns_begins_on_its_days_and_may_pass_midnight() {
    let calendar =
        calendar("maintenance:\n  - {name: nightly, from: \"23:00\", to: \"01:30\", days: [fri, sat]}\n")
            .unwrap();
    for (at, expected) in [
        ("2026-12-04T22:59:59Z", false),
        ("2026-12-04T23:00:00Z", true),
        ("2026-12-05T01:29:59Z", true),
        ("2026-12-05T01:30:00Z", false),
        ("2026-12-06T01:00:00Z", true),
        ("2026-12-06T23:30:00Z", false),
        ("2026-12-04T01:00:00Z", false),
    ] {
        assert_eq!(hides(&calendar, at), expected, "{at}");
    }
}

/// Clocks in Berlin go from 2:00 to 3:00 on 2026-03-29.
#[test]
fn a_time_of_day_is_that_of_the_clock_on_the_wall() {
    let calendar = calendar(
        "maintenance:\n  - {name: nightly, from: \"04:00\", to: \"05:00\", time_zone: Europe/Berlin}\n",
    )
    .unwrap();
    assert!(hides(&calendar, "2026-03-28T03:30:00Z"));
    assert!(hides(&calendar, "2026-03-29T02:30:00Z"));
    assert!(!hides(&calendar, "2026-03-29T03:30:00Z"));
}

#[test]
fn a_silence_ends_and_says_whose_it_is() {
    let calendar = calendar(
        "silences:\n  - {id: s1, match: {rule: slow}, until: 2026-12-01T00:00:00Z, comment: known, by: zhang}\n",
    )
    .unwrap();
    assert!(hides(&calendar, "2026-11-30T23:59:59Z") && !hides(&calendar, "2026-12-01T00:00:00Z"));
    let alarm = Alarm::of(&json!({"rule": "slow"}));
    assert_eq!(calendar.hides(&alarm, 0), Some("silence s1: known by zhang"));
    assert_eq!(calendar.hides(&Alarm::of(&json!({"rule": "other"})), 0), None);
}

#[test]
fn mistakes_are_named_with_their_entry() {
    for (text, why) in [
        (
            "maintenance: [{name: a, from: \"22:00\", to: 2026-12-01T22:00}]",
            "maintenance `a`: `from` and `to` must",
        ),
        ("maintenance: [{name: a, from: \"22\", to: \"23\"}]", "`22` is no time"),
        ("maintenance: [{name: a, from: 2026-12-01T22:00, to: 2026-12-01T22:00}]", "not after"),
        ("maintenance: [{name: a, from: \"22:00\", to: \"23:00\", days: [someday]}]", "`someday` is no day"),
        ("silences: [{id: s, until: 2026-12-01T22:00:00Z}]", "silence `s`: `match` is missing"),
        ("silence: []", "unknown key `silence`"),
    ] {
        let problem = calendar(text).map(drop).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
}

/// A folder stands for a file that cannot be read now.
#[test]
fn a_file_that_cannot_be_read_hides_what_it_hid_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calendar.yaml");
    let mut calendar = Calendar::of(&[path.display().to_string()]);
    let silence = "silences: [{id: s, match: {rule: slow}, until: 2026-12-01T22:00:00Z}]\n";
    std::fs::write(&path, silence).unwrap();
    assert!(calendar.reload().is_empty() && calendar.reload().is_empty());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!((calendar.reload().len(), calendar.reload().len()), (1, 0), "told once");
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "silences: []\n").unwrap();
    calendar.reload();
    calendar.reload();
    assert!(!hides(&calendar, "2026-11-01T00:00:00Z"));
}

#[test]
fn a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calendar.yaml");
    let mut calendar = Calendar::of(&[path.display().to_string()]);
    assert!(calendar.reload().is_empty(), "there may be no file yet");
    let silence = "silences: [{id: s, match: {rule: slow}, until: 2026-12-01T22:00:00Z}]\n";
    std::fs::write(&path, silence).unwrap();
    assert!(calendar.reload().is_empty() && calendar.reload().is_empty());
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
    std::fs::write(&path, "silences: [{id: s").unwrap();
    let problems = [calendar.reload(), calendar.reload(), calendar.reload()].concat();
    assert!(problems.len() == 1, "told once: {problems:?}");
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
    std::fs::remove_file(&path).unwrap();
    calendar.reload();
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"), "it may be replaced just now");
    calendar.reload();
    assert!(!hides(&calendar, "2026-11-01T00:00:00Z"));
}

/// An editor empties the file and writes it; what is hidden stays hidden meanwhile.
#[test]
fn a_file_that_is_being_written_is_not_read_by_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calendar.yaml");
    let silence = "silences: [{id: s, match: {rule: slow}, until: 2026-12-01T22:00:00Z}]\n";
    std::fs::write(&path, silence).unwrap();
    let mut calendar = Calendar::of(&[path.display().to_string()]);
    calendar.reload();
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"), "at the start it is read at once");
    for half in ["", "silences: []\n", "# again\nsilences: []\n"] {
        std::fs::write(&path, half).unwrap();
        calendar.reload();
        assert!(hides(&calendar, "2026-11-01T00:00:00Z"), "{half}");
    }
    std::fs::write(&path, silence).unwrap();
    calendar.reload();
    calendar.reload();
    assert!(hides(&calendar, "2026-11-01T00:00:00Z"));
}
