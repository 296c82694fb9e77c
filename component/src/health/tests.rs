use std::time::{Duration, Instant};

use super::*;

fn recoverable(text: &str) -> Status {
    Status::RecoverableError(text.to_owned())
}

#[test]
fn another_text_of_the_same_error_does_not_begin_it_again() {
    let health = Health::default();
    health.report(Status::Ok);
    health.report(recoverable("one"));
    let first = health.read();
    health.report(recoverable("two"));
    let second = health.read();
    assert_eq!((second.since, second.status), (first.since, recoverable("two")));
    health.report(Status::Ok);
    assert!(health.read().since >= first.since);
}

#[test]
fn the_last_error_stays_when_it_is_over() {
    let health = Health::default();
    assert!(health.read().last_error.is_none());
    health.report(recoverable("away"));
    health.report(Status::Ok);
    let reading = health.read();
    assert_eq!((reading.status, reading.has_worked), (Status::Ok, true));
    assert_eq!(reading.last_error.map(|(text, _)| text).as_deref(), Some("away"));
}

#[test]
fn a_status_may_have_begun_before_it_is_reported() {
    let (health, now) = (Health::default(), Instant::now());
    health.report_since(recoverable("away"), now + Duration::from_secs(3));
    assert_eq!(health.read().since, now + Duration::from_secs(3));
    assert!(!health.read().has_worked);
}

#[test]
fn no_status_follows_a_fatal_error() {
    let health = Health::default();
    health.report(Status::FatalError("panicked".to_owned()));
    health.report(Status::Ok);
    assert_eq!(health.read().status, Status::FatalError("panicked".to_owned()));
}

#[test]
fn a_recoverable_error_beside_a_permanent_one_hides_it_neither_before_nor_after() {
    let health = Health::default();
    let permanent = Status::PermanentError("the reader ended".to_owned());
    health.report(permanent.clone());
    health.report(recoverable("the disk is full"));
    assert_eq!(health.read().status, permanent);
    health.recovered();
    assert_eq!(health.read().status, permanent);
    health.report(Status::Ok);
    health.report(recoverable("the disk is full"));
    health.recovered();
    assert_eq!(health.read().status, Status::Ok);
}
