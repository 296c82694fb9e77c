use weir_pdata::Ack;

use super::{BOUNDS, brief, rows, test_context, window, windows};
use crate::evaluation::evaluator::Evaluator;
use crate::rule_source::rule_book::RuleBook;

struct Rules {
    book: RuleBook,
    evaluator: Evaluator,
}

impl Rules {
    fn new() -> Rules {
        let book = RuleBook::new(Vec::new(), None, 100);
        let evaluator = Evaluator::new(book.shared(), BOUNDS, &test_context());
        Rules { book, evaluator }
    }

    fn put(&mut self, key: &str, value: &str) {
        self.book.apply(Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
        self.book.publish();
    }

    fn evaluate(&mut self, lines: &[serde_json::Value]) -> Vec<serde_json::Value> {
        let batch = windows(lines, Ack::none());
        let alarms = self.evaluator.evaluate(batch.as_columns().unwrap());
        let columns = weir_alarms::to_batch(&alarms.alarms).unwrap();
        let batch = weir_pdata::EventBatch::columns(
            weir_pdata::Signal::Alarms,
            columns,
            weir_pdata::Origin::default(),
            Ack::none(),
        );
        rows(&[weir_component::LaneMessage::Batch(batch)])
    }

    fn short(&mut self, lines: &[serde_json::Value]) -> Vec<String> {
        self.evaluate(lines).iter().map(brief).collect()
    }
}

#[test]
fn few_successes_little_and_much_traffic_raise_alarms() {
    let rule = r#"{"service":"*","successRateThresholdHigh":"90%","successRateThresholdLow":0.99,
        "minTrafficThresholdMid":10,"maxTrafficThresholdMid":1000}"#;
    for (success, count, alarm) in [
        (0.89, 100, Some(("high", "success_rate", 0.9))),
        (0.9, 100, Some(("low", "success_rate", 0.99))),
        (0.99, 100, None),
        (1.0, 9, Some(("mid", "count", 10.0))),
        (1.0, 10, None),
        (1.0, 1000, None),
        (1.0, 1001, Some(("mid", "count", 1000.0))),
        (0.5, 5, Some(("high", "success_rate", 0.9))),
    ] {
        let mut rules = Rules::new();
        rules.put("r", rule);
        let mut line = window("pay", 7, 1, 1);
        line["success_rate"] = success.into();
        line["count"] = count.into();
        let alarms = rules.evaluate(&[line]);
        let of = |alarm: &serde_json::Value| {
            let text = |name: &str| alarm[name].as_str().unwrap().to_owned();
            (text("severity"), text("measure"), alarm["threshold"].as_f64().unwrap())
        };
        let expected =
            alarm.map(|(severity, measure, threshold)| (severity.to_owned(), measure.to_owned(), threshold));
        assert_eq!(alarms.first().map(of), expected, "{success} {count}");
    }
}

#[test]
fn the_longest_or_the_mean_above_its_threshold_holds_and_equal_does_not() {
    let mut rules = Rules::new();
    rules
        .put("r", r#"{"service":"*","maxThresholdHigh":2000,"avgThresholdMid":"500","maxThresholdLow":100}"#);
    for (max, avg, severity) in
        [(2001, 1, "high"), (2000, 501, "mid"), (2000, 500, "low"), (2500, 600, "high"), (101, 1, "low")]
    {
        let mut rules = Rules {
            evaluator: Evaluator::new(rules.book.shared(), BOUNDS, &test_context()),
            book: Rules::new().book,
        };
        assert_eq!(
            rules.short(&[window("pay", 7, max, avg)]),
            [format!("firing {severity} pay 7")],
            "{max} {avg}"
        );
    }
    assert!(rules.short(&[window("pay", 7, 100, 100)]).is_empty());
}

#[test]
fn the_alarm_names_what_was_above() {
    let mut rules = Rules::new();
    rules.put("r", r#"{"service":"pay","operatorName":"/pay","avgThresholdMid":500}"#);
    let fired = rules.evaluate(&[window("pay", 7, 9000, 600)]);
    assert_eq!(fired[0]["measure"], "avg_duration_ns");
    assert_eq!((fired[0]["value"].as_f64(), fired[0]["threshold"].as_f64()), (Some(6e8), Some(5e8)));
    assert_eq!(
        fired[0]["message"],
        "mid: r: operation=/pay service=pay avg_duration_ns 600 ms, threshold 500 ms"
    );
}

#[test]
fn a_more_specific_rule_takes_over_and_the_alarm_of_the_other_resolves() {
    let mut rules = Rules::new();
    rules.put("any", r#"{"service":"*","maxThresholdHigh":1000}"#);
    assert_eq!(rules.short(&[window("pay", 7, 2000, 1), window("shop", 7, 2000, 1)]).len(), 2);
    rules.put("exempt", r#"{"service":"pay","operatorName":"/pay"}"#);
    assert_eq!(
        rules.short(&[window("pay", 14, 2000, 1), window("shop", 14, 2000, 1)]),
        ["resolved high pay 7"]
    );
}

#[test]
fn a_changed_threshold_moves_the_alarm_and_keeps_its_beginning() {
    let mut rules = Rules::new();
    rules.put("r", r#"{"service":"pay","maxThresholdLow":1000}"#);
    rules.evaluate(&[window("pay", 7, 2000, 1)]);
    rules.put("r", r#"{"service":"pay","maxThresholdLow":1000,"maxThresholdHigh":1500}"#);
    let moved = rules.evaluate(&[window("pay", 14, 2000, 1)]);
    assert_eq!(moved.iter().map(brief).collect::<Vec<_>>(), ["resolved low pay 14", "firing high pay 14"]);
    assert_eq!(moved[1]["starts_at"], 7000);
}
