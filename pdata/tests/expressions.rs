//! Expressions: any text is refused, or evaluated on any columns without a panic.

#![allow(clippy::unwrap_used)]

use weir_pdata::expr::{Expr, Failures};
use weir_pdata::json::JsonLines;
use weir_pdata::{Demand, Projection};

#[test]
fn fuzz_expressions() {
    let lines = [
        r#"{"signal":"traces","time":1749088705000,"duration_ns":70000000,"service":"pay","status":"error","attributes":{"a":"x","n":-3}}"#,
        r#"{"signal":"traces","time":0,"attributes":{"a":"9223372036854775808","n":"NaN"}}"#,
    ];
    let projection = Projection::of(&Demand::everything().and(Demand::names(["a", "n", "http.status_code"])));
    let batch = JsonLines::read(lines.map(str::as_bytes), &projection).batches.remove(0).1;
    let seeds = [
        "http.status_code >= 500 AND service = 'pay'",
        "CASE WHEN duration_ns // 1000000 > 5 THEN 'slow' ELSE coalesce(a, 'none') END",
        "a SIMILAR TO '(x|y)%' OR a ~ '^[a-z]+$' OR a LIKE '_%'",
        "cast(n AS bigint) % 7 BETWEEN -3 AND 3 AND NOT status IN ('ok', 'error')",
        "substr(upper(concat(a, '-', service)), 2, 3) || to_char(time, '%H')",
        "\"service\" IS NOT DISTINCT FROM NULL",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens = [
        "NULL",
        "'",
        "\"",
        "((((",
        "))))",
        " AND ",
        " OR ",
        "NOT ",
        " / 0",
        "-9223372036854775808",
        "1e308",
        " IN (",
        "CASE ",
        " END",
        "cast(",
        " AS ",
        "interval '1 day'",
        "timestamp '2026-01-01'",
        "repeat('x', 99999)",
        "lpad(a, n)",
        "::int",
        "[1]",
        "{}",
        "--",
        "/*",
        " LIKE '%",
        " ~ '(a*)*b'",
        "date_trunc('hour', time)",
        "abs(",
        "round(",
        "power(n, ",
    ];
    weir_fuzz::fuzz("expressions", &seeds, &tokens, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let mut failures = Failures::default();
        if let Ok(expr) = Expr::parse(text)
            && let Ok(column) = expr.evaluate(&batch, &mut failures)
        {
            assert_eq!(column.len(), batch.num_rows(), "{text}");
        }
        if let Ok(condition) = Expr::parse_condition(text)
            && let Ok(rows) = condition.filter(&batch, &mut failures)
        {
            assert_eq!(rows.len(), batch.num_rows(), "{text}");
        }
    });
}
