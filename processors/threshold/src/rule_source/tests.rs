//! Rules that change, and which of them are in force.

use weir_component::{WindowSchema, WindowSources};

use super::rule_book::{Applied, MAX_UNKNOWN, Refused, RuleBook};
use crate::rule::classic::{self, ClassicError, Record};
use crate::rule::glob::Glob;

fn book() -> RuleBook {
    RuleBook::new(Vec::new(), None, 5)
}

fn put(book: &mut RuleBook, key: &str, service: &str, operation: &str, max: i64) -> Result<Applied, Refused> {
    let value = serde_json::json!({"service": service, "operatorName": operation, "maxThresholdHigh": max});
    let applied = book.apply(Some(key.as_bytes()), Some(value.to_string().as_bytes()));
    book.publish();
    applied
}

fn winners(book: &RuleBook, service: &str, operation: &str) -> Vec<String> {
    let set = book.shared().load();
    set.classic("aggregate", Some(service), Some(operation)).map(|(rule, _)| rule.name.to_string()).collect()
}

#[test]
fn the_most_specific_classic_rule_wins() {
    let mut book = book();
    put(&mut book, "any", "*", "*", 1).unwrap();
    put(&mut book, "operation", "*", "/pay", 1).unwrap();
    put(&mut book, "service", "pay", "", 1).unwrap();
    put(&mut book, "both", "pay", "/pay", 1).unwrap();
    assert_eq!(winners(&book, "pay", "/pay"), ["both"]);
    assert_eq!(winners(&book, "pay", "/other"), ["service"]);
    assert_eq!(winners(&book, "shop", "/pay"), ["operation"]);
    assert_eq!(winners(&book, "shop", "/"), ["any"]);
    book.apply(Some(b"both"), None).unwrap();
    book.publish();
    assert_eq!(winners(&book, "pay", "/pay"), ["service"]);
}

#[test]
fn two_rules_for_one_endpoint_both_evaluate_it() {
    let mut book = book();
    put(&mut book, "b", "pay", "/pay", 1).unwrap();
    put(&mut book, "a", "pay", "/pay", 2).unwrap();
    assert_eq!(winners(&book, "pay", "/pay"), ["a", "b"]);
}

#[test]
fn classic_rules_can_be_kept_to_some_operators() {
    let mut book = RuleBook::new(Vec::new(), Some(Glob::new("aggregate/7*")), 5);
    put(&mut book, "a", "*", "*", 1).unwrap();
    let set = book.shared().load();
    assert_eq!(set.classic("aggregate/7s", None, None).count(), 1);
    assert_eq!(set.classic("aggregate/60s", None, None).count(), 0);
}

#[test]
fn every_accepted_change_adds_one_to_the_epoch_and_nothing_else_does() {
    let mut book = book();
    assert_eq!(book.shared().load().epoch, 1);
    assert_eq!(put(&mut book, "a", "pay", "", 1), Ok(Applied::Changed));
    assert_eq!(book.shared().load().epoch, 2);
    assert_eq!(put(&mut book, "a", "pay", "", 1), Ok(Applied::Same));
    assert_eq!(book.apply(Some(b"b"), None), Ok(Applied::Same), "there was no such rule");
    assert!(book.apply(Some(b"a"), Some(b"{")).is_err());
    book.publish();
    assert_eq!(book.shared().load().epoch, 2);
    put(&mut book, "a", "pay", "", 2).unwrap();
    book.apply(Some(b"a"), None).unwrap();
    book.publish();
    assert_eq!(book.shared().load().epoch, 4);
    book.publish_first();
    assert_eq!(book.shared().load().epoch, 1);
}

#[test]
fn a_bad_version_leaves_the_last_good_one() {
    let mut book = book();
    put(&mut book, "a", "pay", "", 1).unwrap();
    assert!(book.apply(Some(b"a"), Some(b"not json")).is_err());
    book.publish();
    assert_eq!(winners(&book, "pay", "/pay"), ["a"]);
}

#[test]
fn names_of_the_configuration_cannot_be_taken() {
    let rule = classic::read(Some(b"mine"), Some(br#"{"service":"a"}"#)).unwrap();
    let Record::Put { rule, .. } = rule else { panic!("removed") };
    let mut book = RuleBook::new(vec![(*rule).clone()], None, 5);
    assert_eq!(put(&mut book, "mine", "b", "", 1), Err(Refused::NameTaken));
}

#[test]
fn the_number_of_rules_is_bounded_and_known_ones_can_still_change() {
    let mut book = book();
    for key in ["a", "b", "c", "d", "e"] {
        put(&mut book, key, key, "", 1).unwrap();
    }
    assert_eq!(put(&mut book, "f", "f", "", 1), Err(Refused::TooMany(5)));
    assert_eq!(put(&mut book, "e", "e", "", 2), Ok(Applied::Changed));
}

#[test]
fn a_rule_for_windows_that_do_not_exist_is_taken_and_reported() {
    let mut book = book();
    let labels = vec!["service".to_owned(), "http.route".to_owned()];
    let columns = [labels.clone(), vec!["max_duration_ns".to_owned()]].concat();
    let operators = vec![WindowSchema { operator: "aggregate".into(), labels, columns }];
    book.expect_windows(WindowSources { operators, others: false });
    for (key, value, reason) in [
        ("a", r#"{"service":"pay","maxThresholdHigh":1}"#, None),
        (
            "b",
            r#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":1}"#,
            Some("is grouped by `operation`"),
        ),
        ("c", r#"{"service":"pay","avgThresholdLow":1}"#, Some("column `avg_duration_ns`; did you mean")),
        ("d", r#"{"service":"*"}"#, None),
    ] {
        assert_eq!(book.apply(Some(key.as_bytes()), Some(value.as_bytes())), Ok(Applied::Changed));
        let idle = book.take_idle();
        let said = idle.first().map(|(rule, why)| (&**rule, why.as_str()));
        match (reason, said) {
            (None, None) => {}
            (Some(reason), Some((rule, why))) => assert!(rule == key && why.contains(reason), "{why}"),
            (expected, found) => panic!("{key}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn an_unknown_key_is_reported_once_and_not_more_than_can_be_kept() {
    let mut book = book();
    let mut read = |key: &str, value: &str| {
        book.apply(Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
        book.take_unknown()
    };
    assert_eq!(read("r", r#"{"service":"a","remark":"x"}"#), [("remark".to_owned(), "r".into())]);
    assert_eq!(read("r", r#"{"service":"a","remark":"y"}"#), []);
    assert_eq!(read("s", r#"{"service":"a","remark":"x","by":1}"#), [("by".to_owned(), "s".into())]);
    let many: String = (0..1_500).map(|n| format!(r#","k{n}":1"#)).collect();
    assert_eq!(read("t", &format!(r#"{{"service":"a"{many}}}"#)).len(), MAX_UNKNOWN - 2);
}

#[test]
fn a_rule_without_key_is_the_one_whose_key_names_its_endpoint() {
    let mut book = book();
    let rule = br#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":1}"#;
    assert_eq!(book.apply(None, Some(rule)), Ok(Applied::Changed));
    assert_eq!(book.apply(Some(b"pay|/pay"), Some(rule)), Ok(Applied::Same));
    let other = br#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":2}"#;
    assert_eq!(book.apply(None, Some(other)), Ok(Applied::Changed));
    assert_eq!(book.counts().2, 1);
    assert!(matches!(book.apply(None, None), Err(Refused::NotARule(ClassicError::Nothing))));
    assert_eq!(book.apply(Some(b"pay|/pay"), None), Ok(Applied::Changed));
    assert_eq!(book.counts().2, 0);
}

#[test]
fn a_set_in_use_does_not_change() {
    let mut book = book();
    let before = book.shared().load();
    put(&mut book, "a", "*", "*", 1).unwrap();
    assert!(!before.has_classic() && book.shared().load().has_classic());
}
