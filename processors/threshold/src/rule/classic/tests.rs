use super::*;
use proptest::prelude::*;

fn put(key: Option<&str>, value: &str) -> (Arc<Rule>, Classic) {
    let Record::Put { rule, .. } = read(key.map(str::as_bytes), Some(value.as_bytes())).unwrap() else {
        panic!("removed")
    };
    let Kind::Classic(classic) = rule.kind.clone() else { panic!("not classic") };
    (rule, classic)
}

fn error(key: Option<&[u8]>, value: Option<&str>) -> String {
    read(key, value.map(str::as_bytes)).unwrap_err().to_string()
}

#[test]
fn a_full_rule_is_read() {
    let (rule, classic) = put(
        Some("r1"),
        r#"{"service":"pay","operatorName":"/pay","maxThresholdHigh":2000,"maxThresholdMid":"1500","maxThresholdLow":1000.5,
           "avgThresholdHigh":" 500 ","avgThresholdMid":null,"avgThresholdLow":"","alarmTemplate":"${service} slow","createTime":1}"#,
    );
    assert_eq!(&*rule.name, "r1");
    assert_eq!(classic.endpoint, Endpoint { service: Some("pay".into()), operation: Some("/pay".into()) });
    let limit =
        |measure, high, mid, low| Limit { measure, side: Side::Above, at: PerSeverity { high, mid, low } };
    assert_eq!(
        classic.limits,
        [
            limit("max_duration_ns", Some(2e9), Some(1.5e9), Some(1.0005e9)),
            limit("avg_duration_ns", Some(5e8), None, None)
        ]
    );
    assert_eq!(rule.message, Message::parse("${service} slow").unwrap());
}

#[test]
fn a_byte_order_mark_before_the_object_is_passed_over() {
    let (rule, classic) = put(None, "\u{feff}{\"service\":\"pay\",\"maxThresholdHigh\":2}");
    assert_eq!((&*rule.name, classic.limits[0].at.high), ("pay|*", Some(2e6)));
    assert!(error(None, Some("\u{feff}[]")).contains("it is a list"));
}

#[test]
fn success_rates_and_traffic_have_thresholds_too() {
    let (_, classic) = put(
        None,
        r#"{"service":"pay","successRateThresholdHigh":"95%","successRateThresholdMid":0.99,"successRateThresholdLow":"1",
           "minTrafficThresholdMid":100,"maxTrafficThresholdHigh":"50000"}"#,
    );
    let limit = |measure, side, high, mid, low| Limit { measure, side, at: PerSeverity { high, mid, low } };
    assert_eq!(
        classic.limits,
        [
            limit("success_rate", Side::Below, Some(0.95), Some(0.99), Some(1.0)),
            limit("count", Side::Below, None, Some(100.0), None),
            limit("count", Side::Above, Some(50_000.0), None, None),
        ]
    );
}

#[test]
fn without_key_the_endpoint_is_the_name() {
    assert_eq!(&*put(None, r#"{"service":"pay","operator_name":"/pay"}"#).0.name, "pay|/pay");
    assert_eq!(&*put(None, r#"{"service":"pay"}"#).0.name, "pay|*");
    assert_eq!(&*put(Some(""), r#"{"service":"*","operatorName":""}"#).0.name, "*|*");
}

#[test]
fn the_operation_has_two_names_and_they_must_agree() {
    let pay = Endpoint { service: Some("s".into()), operation: Some("/pay".into()) };
    let every = Endpoint { service: Some("s".into()), operation: None };
    for (keys, endpoint) in [
        (r#""operator_name":"/pay""#, &pay),
        (r#""operatorName":"/pay""#, &pay),
        (r#""operator_name":"/pay","operatorName":"/pay""#, &pay),
        (r#""operator_name":"*""#, &every),
        (r#""operator_name":null,"operatorName":"*""#, &every),
        (r#""createTime":1,"remark":"x","operateTime":2,"opened":true"#, &every),
    ] {
        assert_eq!(put(None, &format!(r#"{{"service":"s",{keys}}}"#)).1.endpoint, *endpoint, "{keys}");
    }
    for (keys, reason) in [
        (r#""operator_name":"/a","operatorName":"/b""#, "`operator_name` is `/a` and `operatorName` is `/b`"),
        (r#""operator_name":null,"operatorName":"/b""#, "`operator_name` is `*` and `operatorName` is `/b`"),
        (r#""operator_name":"/a","operator_name":"/a""#, "duplicate field"),
        (r#""operator_name":7"#, "expected a string"),
        (r#""operationName":"/a""#, "no `operator_name`, but `operationName`"),
        (r#""operator":"/a""#, "no `operator_name`, but `operator`"),
        (r#""Operator-Name":"/a""#, "no `operator_name`, but `Operator-Name`"),
        (r#""operaterName":"/a""#, "no `operator_name`, but `operaterName`"),
        (r#""OPERATION":"/a""#, "no `operator_name`, but `OPERATION`"),
        (r#""operator_nmae":"/a""#, "no `operator_name`, but `operator_nmae`"),
        (r#""endpoint":"/a""#, "no `operator_name`, but `endpoint`"),
    ] {
        let found = error(None, Some(&format!(r#"{{"service":"s",{keys}}}"#)));
        assert!(found.contains(reason), "{keys}: {found}");
    }
}

#[test]
fn keys_that_mean_nothing_are_given_back() {
    let value = br#"{"service":"s","operator_name":"/a","operator":"zhang","maxThresholdHihg":5,"maxThresholdHigh":6}"#;
    let Ok(Record::Put { unknown, .. }) = read(None, Some(value)) else { panic!("no rule") };
    assert_eq!(unknown, ["maxThresholdHihg", "operator"]);
}

#[test]
fn a_template_that_would_stop_the_program_is_no_rule() {
    let found = error(None, Some(r#"{"service":"a","alarmTemplate":"{{ service | indent(9000000000) }}"}"#));
    assert!(found.contains("alarmTemplate: ") && found.contains("indent"), "{found}");
}

#[test]
fn a_star_empty_or_null_stands_for_any() {
    for value in [
        r#"{"service":"*","operatorName":"*"}"#,
        r#"{"service":"","operatorName":""}"#,
        r#"{"service":null}"#,
    ] {
        assert_eq!(put(None, value).1.endpoint, Endpoint { service: None, operation: None }, "{value}");
    }
}

#[test]
fn a_null_value_removes() {
    assert_eq!(read(Some(b"r1"), None), Ok(Record::Remove("r1".into())));
    assert_eq!(read(None, None), Err(ClassicError::Nothing));
    assert_eq!(read(Some(b""), None), Err(ClassicError::Nothing));
}

#[test]
fn bad_records_are_rejected_with_the_reason() {
    for (value, reason) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("null", "invalid type: null"),
        ("[]", "it is a list"),
        (r#" ["a"]"#, "it is a list"),
        ("{}", "missing field `service`"),
        (r#"{"service":7}"#, "expected a string"),
        (r#"{"service":"a","service":"b"}"#, "duplicate field"),
        (r#"{"service":"a","maxThresholdHigh":-1}"#, "milliseconds from 0"),
        (r#"{"service":"a","maxThresholdHigh":"500ms"}"#, "500ms"),
        (r#"{"service":"a","maxThresholdHigh":"NaN"}"#, "milliseconds"),
        (r#"{"service":"a","maxThresholdHigh":"inf"}"#, "milliseconds"),
        (r#"{"service":"a","maxThresholdHigh":1e308}"#, "milliseconds"),
        (r#"{"service":"a","maxThresholdHigh":true}"#, "milliseconds"),
        (r#"{"service":"a","maxThresholdHigh":[1]}"#, "milliseconds"),
        (r#"{"service":"a","successRateThresholdLow":95}"#, "a share from 0 to 1"),
        (r#"{"service":"a","successRateThresholdLow":"101%"}"#, "a share from 0 to 1"),
        (r#"{"service":"a","successRateThresholdLow":-0.1}"#, "a share from 0 to 1"),
        (r#"{"service":"a","minTrafficThresholdLow":"1%"}"#, "a number of events from 0"),
        (r#"{"service":"a","alarmTemplate":"{{ x"}"#, "alarmTemplate: the message template is not valid"),
        (r#"{"service":"a"} x"#, "trailing characters"),
    ] {
        let found = error(Some(b"k"), Some(value));
        assert!(found.contains(reason), "{value}: {found}");
    }
    assert!(error(Some(&[0xff]), Some("{}")).contains("not UTF-8"));
    assert!(error(None, Some(&" ".repeat(MAX_RECORD + 1))).contains("at most"));
    assert!(read(None, Some(b"{\"service\":\"\xff\"}")).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let _ = read(key.as_deref(), value.as_deref());
    }

    #[test]
    fn arbitrary_values_in_a_rule_never_panic(service in ".*", template in "[${}% a-z.*|'\"()0-9]{0,60}", threshold in ".{0,8}") {
        let value = serde_json::json!({"service": service, "alarmTemplate": template, "maxThresholdHigh": threshold});
        let _ = read(None, Some(value.to_string().as_bytes()));
    }
}
