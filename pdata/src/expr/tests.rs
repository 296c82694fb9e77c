use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;

const ENCODINGS: [&str; 4] = ["view", "utf8", "dictionary of views", "dictionary"];

fn text(encoding: &str, values: &[Option<&str>]) -> ArrayRef {
    let plain = || StringArray::from(values.to_vec());
    let views = || StringViewArray::from(values.to_vec());
    let keys = || Int32Array::from_iter(values.iter().enumerate().map(|(at, v)| v.map(|_| at as i32)));
    match encoding {
        "view" => Arc::new(views()),
        "utf8" => Arc::new(plain()),
        "dictionary of views" => Arc::new(DictionaryArray::new(keys(), Arc::new(views()))),
        _ => Arc::new(DictionaryArray::new(keys(), Arc::new(plain()))),
    }
}

/// Four rows; the last is null in every column.
fn batch(encoding: &str) -> RecordBatch {
    let time = TimestampNanosecondArray::from(vec![
        Some(1_749_088_705_000_000_000),
        Some(1_749_088_706_000_000_000),
        Some(1_749_088_707_000_000_000),
        None,
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("service", text(encoding, &[Some("pay"), Some("Order"), Some("stock"), None])),
        ("kind", text(encoding, &[Some("server"), Some("client"), Some("server"), None])),
        ("http.method", text(encoding, &[Some("GET"), Some("POST"), Some("GET"), None])),
        ("http.status_code", text(encoding, &[Some("200"), Some("1000"), Some("n/a"), None])),
        ("error", text(encoding, &[Some("true"), Some("false"), Some("maybe"), None])),
        ("user.id", text(encoding, &[Some("9007199254740993"), Some("9007199254740992"), Some("3.5"), None])),
        ("ÜberName", text(encoding, &[Some("a"), Some("b"), Some("c"), None])),
        ("duration_ns", Arc::new(Int64Array::from(vec![Some(5), Some(600), Some(0), None]))),
        ("value", Arc::new(Float64Array::from(vec![Some(0.5), Some(-1.0), Some(2.0), None]))),
        ("flags", Arc::new(UInt32Array::from(vec![Some(0), Some(1), Some(2), None]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None]))),
        ("time", Arc::new(time.with_timezone("UTC"))),
        (
            "odd",
            Arc::new(Float64Array::from(vec![
                Some(f64::NAN),
                Some(f64::INFINITY),
                Some(f64::NEG_INFINITY),
                None,
            ])),
        ),
        ("odd.text", text(encoding, &[Some("NaN"), Some("inf"), Some("-Infinity"), None])),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// Conditions, and the rows of `batch` for which they are true.
const CONDITIONS: &[(&str, &[usize])] = &[
    // Text of every encoding.
    ("kind = 'server'", &[0, 2]),
    ("'server' = kind", &[0, 2]),
    ("kind <> 'server'", &[1]),
    ("kind != 'server' OR kind IS NULL", &[1, 3]),
    ("service = http.method", &[]),
    ("service < 'pay'", &[1]),
    ("kind IN ('server', 'client')", &[0, 1, 2]),
    ("kind NOT IN ('server')", &[1]),
    ("service IN ('a','b','c','d','e','pay')", &[0]),
    ("service LIKE 'p%'", &[0]),
    ("service NOT LIKE '%o%'", &[0, 1]),
    ("service ILIKE 'o%'", &[1]),
    ("service ~ '^(pay|st)'", &[0, 2]),
    ("regexp_like(service, '^st')", &[2]),
    ("service BETWEEN 'n' AND 'q'", &[0]),
    ("service IS NULL", &[3]),
    ("service IS NOT NULL", &[0, 1, 2]),
    ("NOT kind = 'server'", &[1]),
    ("lower(service) = 'order'", &[1]),
    ("length(service) = 3", &[0]),
    ("service || '-' || kind = 'pay-server'", &[0]),
    ("concat(service, http.method) = 'payGET'", &[0]),
    ("starts_with(service, 'st')", &[2]),
    ("split_part(http.method, 'O', 1) = 'P'", &[1]),
    ("substr(service, 1, 2) = 'pa'", &[0]),
    ("coalesce(service, 'none') = 'none'", &[3]),
    ("CASE kind WHEN 'server' THEN duration_ns ELSE 1000 END > 100", &[1, 3]),
    ("kind IS DISTINCT FROM 'server'", &[1, 3]),
    // Names.
    ("http.method = 'GET'", &[0, 2]),
    ("\"http.method\" = 'GET'", &[0, 2]),
    ("\"http\".\"method\" = 'GET'", &[0, 2]),
    ("user.id = '3.5'", &[2]),
    ("ÜberName = 'b'", &[1]),
    ("HTTP.method = 'GET'", &[]),
    // Text as a number or a truth value.
    ("http.status_code >= 500", &[1]),
    ("http.status_code < 500", &[0]),
    ("500 <= http.status_code", &[1]),
    ("http.status_code = 200", &[0]),
    ("http.status_code = 200.0", &[0]),
    ("http.status_code <> 200", &[1]),
    ("NOT http.status_code = 200", &[1]),
    ("http.status_code = '200'", &[0]),
    ("http.status_code BETWEEN 200 AND 299", &[0]),
    ("http.status_code IN (200, 204)", &[0]),
    ("http.status_code IN (200, '1000')", &[0, 1]),
    ("http.status_code NOT IN (200)", &[1]),
    ("http.status_code + 1 = 201", &[0]),
    ("-http.status_code = -200", &[0]),
    ("http.status_code > duration_ns", &[0, 1]),
    ("abs(http.status_code) > 500", &[1]),
    ("CASE http.status_code WHEN 200 THEN true ELSE false END", &[0]),
    ("CAST(http.status_code AS INT) > 500", &[1]),
    ("http.status_code::double > 500", &[1]),
    ("user.id = 9007199254740993", &[0]),
    ("user.id > 3", &[0, 1, 2]),
    ("error = true", &[0]),
    ("error", &[0]),
    ("NOT error", &[1]),
    ("error AND kind = 'server'", &[0]),
    ("error IS NOT TRUE", &[1, 2, 3]),
    ("duration_ns >= '600'", &[1]),
    ("duration_ns IN ('5', 0)", &[0, 2]),
    // Numbers, truth values, times.
    ("duration_ns > 4 AND duration_ns < 10", &[0]),
    ("duration_ns BETWEEN 0 AND 5", &[0, 2]),
    ("duration_ns / 1e2 >= 6", &[1]),
    ("duration_ns % 2 = 1", &[0]),
    ("10 / duration_ns = 2", &[0]),
    ("value / flags = 1", &[2]),
    ("flags = 1", &[1]),
    ("flags > value", &[1]),
    ("value * 2 = 1", &[0]),
    ("round(value) = 2", &[2]),
    // `/` divides as floats, `//` without what is after the point.
    ("flags / 2 > 0.4 AND flags / 2 < 0.6", &[1]),
    ("http.status_code / 400 = 2.5", &[1]),
    ("duration_ns // 7 = 85", &[1]),
    ("div(duration_ns, 2) = 2", &[0]),
    ("div(-duration_ns, 2) = -2", &[0]),
    ("http.status_code // 300 = 3", &[1]),
    ("http.status_code // 300.5 = 3", &[1]),
    ("5 // flags IS NULL", &[0, 3]),
    ("9223372036854775807 // 2 = 4611686018427387903", &[0, 1, 2, 3]),
    // One odd value takes no other row with it.
    ("coalesce(http.status_code, 0) >= 200", &[0, 1]),
    ("coalesce(http.status_code, 0) = 0", &[2, 3]),
    ("coalesce(user.id, 0) = 3.5", &[2]),
    ("greatest(http.status_code, duration_ns) = 600", &[]),
    ("greatest(http.status_code, duration_ns) = 1000", &[1]),
    ("nullif(http.status_code, 200) IS NULL", &[0, 2, 3]),
    ("date_trunc('day', service) IS NULL", &[0, 1, 2, 3]),
    ("CAST(http.status_code AS BIGINT) <> 200", &[1]),
    ("CASE WHEN kind = 'server' THEN http.status_code ELSE 0 END > 100", &[0]),
    // The condition fails on row 2 as a whole, and is NULL there.
    ("to_timestamp(http.status_code) IS NULL", &[3]),
    // What is not finite is NULL.
    ("odd > 1", &[]),
    ("odd <> 1", &[]),
    ("odd IS NULL", &[0, 1, 2, 3]),
    ("odd.text > 1", &[]),
    ("CAST(odd.text AS DOUBLE) > 1", &[]),
    ("odd.text IS NULL", &[3]),
    ("odd + 1 > 1", &[]),
    ("ln(duration_ns - 5) IS NULL", &[0, 2, 3]),
    ("sqrt(value) > 0", &[0, 2]),
    ("value * 1e308 * 10 > 1", &[]),
    ("power(10, 400) > 1", &[]),
    ("CAST('NaN' AS DOUBLE) > 1", &[]),
    // SIMILAR TO is about the whole text.
    ("service SIMILAR TO 'pa'", &[]),
    ("service SIMILAR TO 'pay'", &[0]),
    ("service SIMILAR TO '(pay|st%)'", &[0, 2]),
    ("service SIMILAR TO 'p_y'", &[0]),
    ("service NOT SIMILAR TO 'p.y'", &[0, 1, 2]),
    ("service SIMILAR TO '[a-z]+'", &[0, 2]),
    // What an argument could make too long is NULL.
    ("lpad(service, duration_ns * 1000, 'x') IS NULL", &[0, 1, 3]),
    ("length(lpad(service, duration_ns)) = 5", &[0]),
    ("rpad(service, http.status_code * 10) IS NULL", &[1, 2, 3]),
    ("repeat(service, duration_ns * 4) IS NULL", &[1, 3]),
    ("repeat(service, 2) = 'paypay'", &[0]),
    ("replace(service, 'pay', 'sold') = 'sold'", &[0]),
    ("regexp_replace(service, 'p(a)y', 's\\1ld') = 'sald'", &[0]),
    ("regexp_replace(repeat(service, 800), '(.+)', repeat('\\1', 2000)) IS NULL", &[0, 1, 2, 3]),
    ("regexp_replace(repeat(service, 800), '(p)a', repeat('\\1', 2000)) IS NULL", &[3]),
    ("regexp_replace(repeat(service, 800), '', repeat('x', 1000), 'g') IS NULL", &[0, 1, 2, 3]),
    ("regexp_replace(repeat(service, 800), 'PAY', repeat('x', 200), 'gi') IS NULL", &[0, 3]),
    ("length(regexp_replace(repeat(service, 800), 'A', repeat('b', 40), 'gi')) = 33600", &[0]),
    ("ok", &[0, 2]),
    ("ok = false", &[1]),
    ("ok IS NOT TRUE", &[1, 3]),
    ("ok AND flags = 2", &[2]),
    ("time >= '2025-06-05T01:58:26Z'", &[1, 2]),
    ("time = TIMESTAMP '2025-06-05T01:58:25Z'", &[0]),
    ("time + interval '1 second' = '2025-06-05T01:58:26Z'", &[0]),
    ("extract(second from time) = 27", &[2]),
    ("date_trunc('minute', time) = '2025-06-05T01:58:00Z'", &[0, 1, 2]),
    ("1 = 1", &[0, 1, 2, 3]),
    ("true", &[0, 1, 2, 3]),
    ("NULL", &[]),
    // Columns that the batch lacks.
    ("operation = 'x'", &[]),
    ("operation IS NULL", &[0, 1, 2, 3]),
    ("gone.key > 5", &[]),
    ("gone.key", &[]),
    ("NOT gone.key = 'x' OR kind = 'client'", &[1]),
    ("coalesce(gone.key, service) = 'pay'", &[0]),
    ("segment_span_id = 0 OR kind = 'client'", &[1]),
    ("end_time > '2025-06-05T01:58:26Z'", &[]),
    ("lower(gone.key) LIKE 'a%'", &[]),
    ("gone.key + duration_ns > 1", &[]),
    ("gone.key IN (1, 2)", &[]),
    ("labels['zone'] = 'b'", &[]),
    ("date_trunc('hour', gone.key) IS NULL AND ok", &[0, 2]),
];

#[test]
fn conditions_hold_for_the_same_rows_in_every_encoding() {
    let mut wrong = Vec::new();
    for encoding in ENCODINGS {
        let batch = batch(encoding);
        for (condition, rows) in CONDITIONS {
            let result = Expr::parse_condition(condition)
                .and_then(|expr| expr.filter(&batch, &mut Failures::default()));
            let result = result.map(|truth| (0..4).filter(|row| truth.value(*row)).collect::<Vec<_>>());
            if result.as_deref() != Ok(*rows) {
                wrong.push(format!("{condition} ({encoding}): {result:?}, not {rows:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_filter_has_no_nulls() {
    let truth =
        Expr::parse("kind = 'server'").unwrap().filter(&batch("view"), &mut Failures::default()).unwrap();
    assert_eq!((truth.null_count(), truth.value(3)), (0, false));
}

#[test]
fn values_have_the_type_of_the_expression() {
    let batch = batch("dictionary of views");
    let value = |text: &str| Expr::parse(text).unwrap().evaluate(&batch, &mut Failures::default()).unwrap();
    assert_eq!(value("duration_ns + 1").as_ref(), &Int64Array::from(vec![Some(6), Some(601), Some(1), None]));
    assert_eq!(value("1").len(), 4);
    assert_eq!(value("gone").null_count(), 4);
    assert_eq!(value("service").data_type(), batch.column(0).data_type());
    let numbers = Expr::parse("http.status_code").unwrap().numbers(&batch, &mut Failures::default()).unwrap();
    assert_eq!(numbers, Float64Array::from(vec![Some(200.0), Some(1000.0), None, None]));
}

#[test]
fn a_batch_without_rows_or_columns_is_fine() {
    let empty = RecordBatch::new_empty(batch("view").schema());
    assert_eq!(
        Expr::parse("kind = 'server'").unwrap().filter(&empty, &mut Failures::default()).unwrap().len(),
        0
    );
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(
        Expr::parse("gone IS NULL").unwrap().filter(&bare, &mut Failures::default()).unwrap().true_count(),
        3
    );
}

#[test]
fn one_expression_serves_batches_of_changing_types() {
    let expr = Expr::parse_condition("customer.id >= 5").unwrap();
    let columns: [ArrayRef; 4] = [
        Arc::new(Int64Array::from(vec![4, 10])),
        Arc::new(StringViewArray::from(vec!["4", "10"])),
        Arc::new(Float64Array::from(vec![4.9, 10.0])),
        text("dictionary", &[Some("4"), Some("10")]),
    ];
    for _ in 0..10 {
        for column in &columns {
            let batch = RecordBatch::try_from_iter([("customer.id", column.clone())]).unwrap();
            assert_eq!(
                expr.filter(&batch, &mut Failures::default()).unwrap(),
                BooleanArray::from(vec![false, true])
            );
        }
    }
    let known = expr.0.compiled.read().unwrap().len();
    assert_eq!(known, 5, "one for each type and one for the missing column");
}

#[test]
fn what_is_compiled_is_bounded() {
    let expr = Expr::parse("a").unwrap();
    for width in 1..100 {
        let column: ArrayRef = arrow::array::new_null_array(&DataType::FixedSizeBinary(width), 1);
        let schema = Arc::new(Schema::new(vec![Field::new("a", column.data_type().clone(), true)]));
        expr.evaluate(&RecordBatch::try_new(schema, vec![column]).unwrap(), &mut Failures::default())
            .unwrap();
    }
    assert!(expr.0.compiled.read().unwrap().len() <= KEPT);
}

#[test]
fn a_dictionary_is_compared_without_unpacking_it() {
    let expr = Expr::parse("kind = 'server' AND http.method IN ('GET', 'PUT', 'POST', 'HEAD')").unwrap();
    expr.filter(&batch("dictionary of views"), &mut Failures::default()).unwrap();
    let known = expr.0.compiled.read().unwrap();
    let physical = known.last().unwrap().1.physical.to_string();
    assert!(!physical.contains("CAST(kind@"), "{physical}");
}

#[test]
fn names_are_the_columns_read() {
    let expr =
        Expr::parse("http.method = 'GET' AND user.id > 5 OR \"odd name\" IS NULL AND lower(Service) = 'a'");
    let names: Vec<String> = expr.unwrap().names().iter().cloned().collect();
    assert_eq!(names, ["Service", "http.method", "odd name", "user.id"]);
    assert_eq!(Expr::parse("  a.b =  1 ").unwrap().to_string(), "a.b =  1");
}

/// Expressions, and a part of the message that refuses them.
const REFUSED: &[(&str, &str)] = &[
    ("", "an expression is missing"),
    ("  ", "an expression is missing"),
    ("kind = = 'a'", "^ column 8"),
    ("kind = 'server", "Unterminated string literal"),
    ("kind 'server'", "the expression ends before `'server'`"),
    ("a b", "an operator is missing"),
    ("a.", "^ column 3"),
    ("(a = 1", "found: EOF"),
    ("a = 1; b", "`;`"),
    ("sum(a) > 1", "aggregate function `sum`"),
    ("COUNT(*) > 1", "aggregate function `count`"),
    ("row_number() OVER () > 1", "window function"),
    ("lower(a) OVER () = 'a'", "OVER"),
    ("a IN (SELECT 1)", "a subquery"),
    ("EXISTS (SELECT 1)", "a subquery"),
    ("(SELECT 1) = 1", "a subquery"),
    ("loweer(a) = 'a'", "did you mean `lower`?"),
    ("frobnicate(a)", "there is no function `frobnicate`"),
    ("now() > time", "depends on when it is called"),
    ("random() > 0.5", "depends on when it is called"),
    ("a = $1", "placeholder"),
    ("duration_ns > 'slow'", "'slow' is used as a number"),
    ("duration_ns", "a condition must give true or false"),
    ("duration_ns + 1", "a condition must give true or false"),
    ("lower(a, b, c) = 'a'", "lower"),
    ("a.*", "the expression ends before `.`"),
    ("service ~ 'pay('", "'pay(' is no regular expression: unclosed group"),
    ("service !~* '['", "is no regular expression"),
    ("regexp_like(service, '*')", "'*' is no regular expression: repetition operator missing expression"),
    ("a SIMILAR TO b", "the pattern of SIMILAR TO must be written as a text"),
    ("a SIMILAR TO '('", "'(' is no pattern of SIMILAR TO"),
    ("lpad(a, 2000000000) = 'x'", "`lpad` with 2000000000: at most 4096 are possible"),
    ("rpad(a, 1000 * 1000, 'x') = 'x'", "`rpad` with 1000000"),
    ("repeat(a, 2000000000) = 'x'", "`repeat` with 2000000000"),
    ("array_length(range(0, 1000000000000)) > 1", "the function `range`"),
    ("div(service, 'x') = 1", "'x' is used as a number"),
];

#[test]
fn what_cannot_work_is_refused_with_the_expression_shown() {
    let mut wrong = Vec::new();
    for (text, part) in REFUSED {
        let message = Expr::parse_condition(text).map_err(|error| error.to_string());
        if !message.as_ref().is_err_and(|message| message.contains(part) && message.contains(text.trim())) {
            wrong.push(format!("{text}: {message:?} does not contain {part:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_syntax_error_points_at_its_place() {
    let error = Expr::parse("kind = 'a' AND\n  status = = 'b'").unwrap_err();
    let message = error.to_string();
    assert!(message.ends_with("\n    status = = 'b'\n             ^ column 12 of line 2"), "{message}");
}

#[test]
fn deep_and_long_expressions_are_refused_or_work_but_never_overflow() {
    let nested = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
    let calls = format!("{}a{}", "lower(".repeat(25), ")".repeat(25));
    let negations = format!("{} a", "NOT ".repeat(5_000));
    let cases = format!("{}1{}", "CASE WHEN a = 1 THEN ".repeat(20), " END".repeat(20));
    let longest = vec!["a = 1"; 90].join(" AND ");
    let sums = vec!["a"; 5_000].join(" + ");
    let list = format!("a IN ({})", vec!["'x'"; 5_000].join(","));
    for (text, works) in [
        (nested, false),
        (negations, false),
        (sums, false),
        (longest, true),
        (list, true),
        (calls, true),
        (cases, true),
    ] {
        let parsed = Expr::parse(&text);
        let short = text.chars().take(40).collect::<String>();
        assert_eq!(parsed.is_ok(), works, "{short}: {parsed:?}");
        if let Ok(expr) = parsed {
            let batch = RecordBatch::try_from_iter([("a", text_column())]).unwrap();
            expr.evaluate(&batch, &mut Failures::default()).unwrap();
        }
    }
    assert!(Expr::parse(&"a".repeat(100_000)).is_err());
}

#[test]
fn nesting_is_refused_or_parsed_in_time() {
    let began = std::time::Instant::now();
    for open in [
        "(",
        "[",
        "{",
        "array[",
        "f(",
        "lower(",
        "lower(a => ",
        "CASE ",
        "CASE WHEN ",
        "NOT (",
        "-",
        "INTERVAL ",
        "CAST(",
        "EXTRACT(",
        "a IN (",
        "a = ANY(",
        "(a, (",
        "((a)::",
        "struct<",
        "map {",
        "a[",
        "a.b[",
        "{'x': ",
        "position(",
        "substring(",
        "TRY_CAST(a AS struct<",
        "timestamp ",
    ] {
        for depth in [5, 20, 31, 200] {
            let _ = Expr::parse(&open.repeat(depth));
            let _ = Expr::parse(&format!("{}a", open.repeat(depth)));
            let _ = Measure::parse(&format!("sum({}a)", open.repeat(depth)));
        }
        assert!(began.elapsed().as_secs() < 30, "{open} takes too long");
    }
}

fn text_column() -> ArrayRef {
    text("view", &[Some("1"), None])
}

#[test]
fn measures_have_a_function_an_argument_and_a_condition() {
    let cases: &[(&str, Function, Option<&str>, Option<&str>)] = &[
        ("count(where duration_ns > 500000000)", Function::Count, None, Some("duration_ns > 500000000")),
        ("count()", Function::Count, None, None),
        (" COUNT( * ) ", Function::Count, None, None),
        ("count(* WHERE status = 'error')", Function::Count, None, Some("status = 'error'")),
        ("count(peer)", Function::Count, Some("peer"), None),
        ("sum(order.amount)", Function::Sum, Some("order.amount"), None),
        ("min(duration_ns)", Function::Min, Some("duration_ns"), None),
        (
            "avg(duration_ns where kind = 'server' AND a IN (1, 2))",
            Function::Avg,
            Some("duration_ns"),
            Some("kind = 'server' AND a IN (1, 2)"),
        ),
        ("max(coalesce(a, b))", Function::Max, Some("coalesce(a, b)"), None),
        ("ratio(status = 'error')", Function::Ratio, Some("status = 'error'"), None),
        (
            "ratio(status = 'error' where kind = 'server')",
            Function::Ratio,
            Some("status = 'error'"),
            Some("kind = 'server'"),
        ),
        ("quantile(duration_ns, 0.95)", Function::Quantile(0.95), Some("duration_ns"), None),
        (
            "p99(duration_ns where kind = 'server')",
            Function::Quantile(0.99),
            Some("duration_ns"),
            Some("kind = 'server'"),
        ),
        ("distinct(user.id)", Function::Distinct, Some("user.id"), None),
        ("first(\"where\")", Function::First, Some("\"where\""), None),
        ("rate()", Function::Rate, None, None),
    ];
    for (text, function, argument, condition) in cases {
        let measure = Measure::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let parts =
            (measure.argument.as_ref().map(Expr::to_string), measure.condition.as_ref().map(Expr::to_string));
        assert_eq!(measure.function, *function, "{text}");
        assert_eq!((parts.0.as_deref(), parts.1.as_deref()), (*argument, *condition), "{text}");
    }
    let names = Measure::parse("avg(duration_ns where http.method = 'GET')").unwrap().names();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["duration_ns", "http.method"]);
}

#[test]
fn measures_that_make_no_sense_are_refused() {
    let cases: &[(&str, &str)] = &[
        ("", "a measure is written like"),
        ("duration_ns", "a measure is written like"),
        ("cuont()", "did you mean `count`?"),
        ("sum()", "`sum` needs an argument"),
        ("sum(a, b)", "takes one argument"),
        ("sum(*)", "*"),
        ("avg(a", "a `)` is missing"),
        ("avg(a) > 5", "the measure ends before `>`"),
        ("ratio(duration_ns)", "true or false"),
        ("count(where duration_ns)", "true or false"),
        ("count(where)", "an expression is missing"),
        ("count(where a = 1 where b = 2)", "a second `where`"),
        ("quantile(a)", "takes a value and a share"),
        ("quantile(a, 95)", "from 0 to 1"),
        ("avg(sum(a))", "aggregate function `sum`"),
    ];
    for (text, part) in cases {
        let message = Measure::parse(text).map_err(|error| error.to_string());
        assert!(message.as_ref().is_err_and(|message| message.contains(part)), "{text}: {message:?}");
    }
}

#[test]
fn a_row_on_which_a_function_fails_is_null_and_counted() {
    let expr = Expr::parse_condition("to_timestamp(at) > '2020-01-01T00:00:00Z'").unwrap();
    for encoding in ENCODINGS {
        let at =
            text(encoding, &[Some("2025-06-05T01:58:25Z"), Some("soon"), None, Some("2024-01-01T00:00:00Z")]);
        let batch = RecordBatch::try_from_iter([("at", at)]).unwrap();
        let mut failures = Failures::default();
        let truth = expr.filter(&batch, &mut failures).unwrap();
        assert_eq!(truth, BooleanArray::from(vec![true, false, false, true]), "{encoding}");
        assert_eq!(failures.rows, 1, "{encoding}");
        let message = failures.first.unwrap().to_string();
        assert!(message.contains("failed on a value") && message.contains("soon"), "{message}");
    }
}

/// Values that text, numbers and times are read from, and more that they are not.
const ODD_TEXTS: &[&str] = &[
    "",
    "x",
    "7",
    "-3",
    "2.5",
    "NaN",
    "inf",
    "true",
    "2025-06-05T01:58:25Z",
    "1e400",
    "99999999999999999999",
];

/// Expressions of values, with `$` for their parts.
const FORMS: &[&str] = &[
    "($ + $)",
    "($ - $)",
    "($ * $)",
    "($ / $)",
    "($ // $)",
    "($ % $)",
    "coalesce($, $)",
    "nullif($, $)",
    "greatest($, $)",
    "abs($)",
    "sqrt($)",
    "ln($)",
    "factorial($)",
    "round($)",
    "gcd($, $)",
    "lower($)",
    "concat($, $)",
    "repeat($, $)",
    "lpad($, $)",
    "chr($)",
    "substr($, $)",
    "split_part($, 'e', $)",
    "to_timestamp($)",
    "date_trunc('hour', $)",
    "CAST($ AS INT)",
    "CAST($ AS DOUBLE)",
    "CAST($ AS TIMESTAMP)",
    "CASE WHEN $ THEN $ ELSE $ END",
    "($ > $)",
    "($ = $)",
    "($ BETWEEN $ AND $)",
    "($ IN ($, $))",
    "($ AND $)",
    "($ OR $)",
    "(NOT $)",
    "($ IS NULL)",
    "($ LIKE $)",
    "($ ~ $)",
];

const LEAVES: &[&str] =
    &["t", "d", "n", "f", "b", "0", "1", "2.5", "'7'", "'x'", "NULL", "9223372036854775807"];

fn expression() -> impl Strategy<Value = String> {
    prop::sample::select(LEAVES).prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        (prop::sample::select(FORMS), prop::collection::vec(inner, 3)).prop_map(|(form, parts)| {
            let mut parts = parts.iter();
            let pieces = form.split('$').collect::<Vec<_>>();
            let mut text = pieces[0].to_owned();
            for piece in &pieces[1..] {
                text.push_str(parts.next().unwrap());
                text.push_str(piece);
            }
            text
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_value_does_not_depend_on_the_batch_that_it_came_in(
        expression in expression(),
        rows in prop::collection::vec(
            (
                prop::option::of(prop::sample::select(ODD_TEXTS)),
                prop::option::of(prop::sample::select(vec![0, 1, -1, 25, i64::MIN, i64::MAX])),
                prop::option::of(prop::sample::select(vec![0.0, 1.5, -2.0, f64::NAN, f64::INFINITY, 1e300])),
                any::<Option<bool>>(),
            ),
            1..24,
        ),
    ) {
        // Much of what is made at random has types that never fit.
        let Ok(expr) = Expr::parse(&expression) else { return Ok(()) };
        let texts: Vec<Option<&str>> = rows.iter().map(|row| row.0).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("t", text("view", &texts)),
            ("d", text("dictionary of views", &texts)),
            ("n", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1)))),
            ("f", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.2)))),
            ("b", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.3)))),
        ];
        let few = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        // The same rows again and again, 4,096 of them.
        let rows = (0..4096).map(|row| row % few.num_rows() as u32);
        let again = arrow::array::UInt32Array::from_iter_values(rows);
        let many = arrow::compute::take_record_batch(&few, &again).unwrap();
        let mut failures = Failures::default();
        let Ok(whole) = expr.evaluate(&many, &mut failures) else { return Ok(()) };
        let truth = expr.filter(&many, &mut Failures::default()).ok();
        let mut failed = 0;
        for row in 0..few.num_rows() {
            let alone = few.slice(row, 1);
            let mut failures = Failures::default();
            let value = expr.evaluate(&alone, &mut failures).unwrap();
            failed += failures.rows * (row..4096).step_by(few.num_rows()).count();
            for at in [row, row + (4095 - row) / few.num_rows() * few.num_rows()] {
                let (one, other) = (value.to_data(), whole.slice(at, 1).to_data());
                let shown =
                    |array: &dyn Array| arrow::util::display::array_value_to_string(array, 0).unwrap();
                prop_assert!(
                    one == other || shown(&value) == shown(&whole.slice(at, 1)),
                    "{expression}: {} alone, {} among others", shown(&value), shown(&whole.slice(at, 1))
                );
                if let Some(truth) = &truth {
                    let alone = expr.filter(&alone, &mut Failures::default()).unwrap().value(0);
                    prop_assert_eq!(truth.value(at), alone, "{}", expression);
                }
            }
        }
        prop_assert_eq!(failures.rows, failed, "{}", expression);
        let numbers = expr.numbers(&many, &mut Failures::default()).unwrap();
        prop_assert!(numbers.iter().flatten().all(f64::is_finite), "{expression}");
    }
}

const WORDS: &[&str] = &[
    "a",
    "http.method",
    "user",
    "duration_ns",
    "time",
    "'x'",
    "5",
    "0.5",
    "1e9",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "=",
    "<",
    "->",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
    "NULL",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "lower(",
    "CAST(",
    "AS",
    "INT",
    "INTERVAL",
    "SELECT",
    "FROM",
    "where",
    "count(",
    "::",
    "+",
    "-",
    "*",
    "/",
    "%",
    "~",
    "\"",
    "'",
    ";",
    "$1",
    "?",
    "@",
    "extract(",
    "array[",
];

proptest! {
    #[test]
    fn parsing_never_panics_on_arbitrary_text(text in any::<String>()) {
        let _ = Expr::parse(&text);
        let _ = Measure::parse(&text);
    }

    #[test]
    fn parsing_and_evaluating_never_panic_on_words_of_sql(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..12),
    ) {
        let text = words.join(" ");
        let _ = Measure::parse(&text);
        if let Ok(expr) = Expr::parse(&text) {
            let _ = expr.filter(&batch("dictionary of views"), &mut Failures::default());
        }
    }
}
