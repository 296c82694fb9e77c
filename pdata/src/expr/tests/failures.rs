//! Rows on which an expression fails, and texts of any kind.

use super::*;

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

#[test]
fn lengths_below_zero_are_zero() {
    // DataFusion takes the sum of lengths without their sign for the room that it needs, and panics.
    let lengths = [-1, i64::MIN, 0, 3];
    let batch = RecordBatch::try_from_iter([
        ("a", text("view", &[Some("x"); 4])),
        ("n", Arc::new(Int64Array::from(lengths.to_vec())) as ArrayRef),
    ]);
    for function in ["lpad", "rpad", "repeat"] {
        let expr = Expr::parse(&format!("{function}(a, n) = ''")).unwrap();
        let mut failures = Failures::default();
        let empty = expr.filter(batch.as_ref().unwrap(), &mut failures).unwrap();
        assert_eq!(empty, BooleanArray::from(vec![true, true, true, false]), "{function}");
        assert_eq!(failures, Failures::default(), "{function}");
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
