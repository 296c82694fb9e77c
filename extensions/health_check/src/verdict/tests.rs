use std::time::{Duration, Instant};

use weir_component::health::{Health, HealthBoard, HealthGroup, Status};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A program with one pipeline, everything in it working.
struct Program {
    board: HealthBoard,
    receiver: Health,
    exporter: Health,
    start: Instant,
}

impl Program {
    fn running() -> Program {
        let (board, receiver, exporter) = (HealthBoard::default(), Health::default(), Health::default());
        let components = vec![
            ("receiver:file".to_owned(), receiver.clone()),
            ("exporter:nop".to_owned(), exporter.clone()),
        ];
        let extensions = HealthGroup { name: "extensions".to_owned(), components: Vec::new() };
        board.show(vec![extensions, HealthGroup { name: "pipeline:main".to_owned(), components }]);
        [board.program(), &receiver, &exporter].into_iter().for_each(|health| health.report(Status::Ok));
        Program { board, receiver, exporter, start: Instant::now() }
    }

    fn asked(&self, asked: Asked<'_>, after: Duration, rules: ComponentHealth) -> Verdict {
        // 2026-01-01T00:00:00Z at the start.
        let clock_ms = 1_767_225_600_000 + i64::try_from(after.as_millis()).unwrap();
        verdict(&self.board, rules, asked, Now { instant: self.start + after, clock_ms }).unwrap()
    }

    fn after(&self, after: Duration) -> (bool, String) {
        let verdict = self.asked(Asked::default(), after, ComponentHealth::default());
        (verdict.is_healthy, verdict.body["status"].as_str().unwrap().to_owned())
    }
}

fn failing() -> Status {
    Status::RecoverableError("connection refused".to_owned())
}

#[test]
fn a_recoverable_error_counts_when_it_has_lasted() {
    let program = Program::running();
    assert_eq!(program.after(MINUTE), (true, "StatusOK".to_owned()));
    program.exporter.report_since(failing(), program.start + MINUTE);
    assert_eq!(program.after(2 * MINUTE), (true, "StatusRecoverableError".to_owned()));
    assert!(program.after(6 * MINUTE - Duration::from_millis(1)).0);
    assert_eq!(program.after(6 * MINUTE), (false, "StatusRecoverableError".to_owned()));
    program.exporter.report(Status::Ok);
    assert_eq!(program.after(7 * MINUTE), (true, "StatusOK".to_owned()));
}

#[test]
fn a_component_that_has_never_worked_is_not_healthy_meanwhile() {
    let program = Program::running();
    let (health, start) = (Health::default(), program.start);
    let components = vec![("receiver:skywalking_kafka".to_owned(), health.clone())];
    program.board.show(vec![HealthGroup { name: "pipeline:main".to_owned(), components }]);
    assert_eq!(program.after(MINUTE), (false, "StatusStarting".to_owned()));
    health.report_since(failing(), start + MINUTE);
    assert_eq!(program.after(MINUTE), (false, "StatusRecoverableError".to_owned()));
    health.report(Status::Ok);
    assert!(program.after(2 * MINUTE).0);
    health.report_since(failing(), start + 3 * MINUTE);
    assert!(program.after(4 * MINUTE).0, "it has worked");
}

#[test]
fn a_permanent_error_counts_at_once() {
    let program = Program::running();
    program.receiver.report(Status::PermanentError("the clock is behind".to_owned()));
    assert_eq!(program.after(Duration::ZERO), (false, "StatusPermanentError".to_owned()));
}

#[test]
fn errors_can_be_left_out() {
    let program = Program::running();
    let rules = ComponentHealth {
        include_recoverable_errors: false,
        include_permanent_errors: false,
        ..ComponentHealth::default()
    };
    program.receiver.report(Status::PermanentError("the clock is behind".to_owned()));
    program.exporter.report(failing());
    assert!(program.asked(Asked::default(), 60 * MINUTE, rules).is_healthy);
}

#[test]
fn start_and_stop_are_said_before_anything_else() {
    let program = Program::running();
    program.exporter.report(failing());
    program.board.program().report(Status::Stopping);
    assert_eq!(program.after(MINUTE), (false, "StatusStopping".to_owned()));
    program.board.program().report(Status::FatalError("a lane panicked".to_owned()));
    let verdict = program.asked(Asked::default(), MINUTE, ComponentHealth::default());
    assert!(verdict.is_fatal && !verdict.is_healthy);
    assert_eq!(verdict.body["error"], "a lane panicked");
    assert_eq!(HealthBoard::default().program().read().status, Status::Starting);
}

#[test]
fn each_component_is_shown_with_its_time_and_its_last_error() {
    let program = Program::running();
    program.exporter.report_since(failing(), program.start + MINUTE);
    program.exporter.report_since(Status::Ok, program.start + 2 * MINUTE);
    program.receiver.report_since(failing(), program.start + 3 * MINUTE);
    let asked = Asked { is_verbose: true, pipeline: Some("main") };
    let body = program.asked(asked, 4 * MINUTE, ComponentHealth::default()).body;
    let pipeline = &body["components"]["pipeline:main"];
    let receiver = &pipeline["components"]["receiver:file"];
    assert_eq!(receiver["status"], "StatusRecoverableError");
    assert_eq!(receiver["status_time"], "2026-01-01T00:03:00.000Z");
    assert_eq!(receiver["error"], "connection refused");
    let exporter = &pipeline["components"]["exporter:nop"];
    assert_eq!(
        (&exporter["status"], &exporter["last_error"]),
        (&"StatusOK".into(), &"connection refused".into())
    );
    assert_eq!(pipeline["status"], "StatusRecoverableError");
    assert!(body["components"].get("extensions").is_none(), "only this pipeline: {body}");
    let asked = Asked { is_verbose: false, pipeline: Some("other") };
    let now = Now { instant: program.start, clock_ms: 0 };
    assert!(verdict(&program.board, ComponentHealth::default(), asked, now).is_none());
}
