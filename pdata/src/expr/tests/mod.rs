//! Values of expressions, in every encoding of text.

mod failures;
mod measures;
mod refusals;

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
