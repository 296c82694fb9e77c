//! Rules of the topic: any record is a rule, or refused, and a rule is evaluated without a panic.

use serde_json::json;
use weir_pdata::Ack;

use super::{BOUNDS, test_context, windows};
use crate::evaluation::evaluator::Evaluator;
use crate::rule_source::rule_book::RuleBook;

#[test]
fn fuzz_classic_rules() {
    let seeds = [
        r#"r1 {"service":"pay","operator_name":"/pay","maxThresholdHigh":2000,"avgThresholdLow":"300","alarmTemplate":"{{ service }} {{ max }}"}"#,
        r#"r2 {"service":"*","operatorName":"","maxThresholdMedium":"1e3","other":[1,{"a":null}]}"#,
        "r3 ",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens = [
        "null",
        "\"\"",
        "\"*\"",
        "-1",
        "1e400",
        "\"NaN\"",
        "{{",
        "}}",
        "{% for x in y %}",
        "{% endfor %}",
        " | round(99)",
        "{{ 1/0 }}",
        "{{ range(99999999) }}",
        "\"operatorName\":",
        "\u{feff}",
        "\"\\ud800\"",
        "[[[[",
        ",",
    ];
    let line = json!({"signal": "windows", "operator": "aggregate", "window_start": 0, "window_end": 60_000,
        "service": "pay", "operation": "/pay", "count": 3, "avg": 5.0e9, "max": 9_000_000_000_i64});
    weir_fuzz::fuzz("classic_rules", &seeds, &tokens, |bytes| {
        let at = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let (key, value) = bytes.split_at(at);
        let mut book = RuleBook::new(Vec::new(), None, 5);
        let applied = book.apply(Some(key), value.get(1..).filter(|value| !value.is_empty()));
        book.publish();
        if applied.is_ok() {
            let mut evaluator = Evaluator::new(book.shared(), BOUNDS, &test_context());
            let batch = windows(std::slice::from_ref(&line), Ack::none());
            let alarms = evaluator.evaluate(batch.as_columns().unwrap());
            assert!(weir_alarms::to_batch(&alarms.alarms).is_ok());
        }
    });
}
