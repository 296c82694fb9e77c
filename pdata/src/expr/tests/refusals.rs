//! Expressions that are refused, and the texts of the errors.

use super::*;

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
    // Their planning would take minutes.
    let chain = vec!["a"; 190].join(" - ");
    let parts = vec![format!("({})", vec!["a"; 20].join(" - ")); 8].join(" - ");
    let list = format!("a IN ({})", vec!["'x'"; 5_000].join(","));
    for (text, works) in [
        (nested, false),
        (negations, false),
        (sums, false),
        (chain, false),
        (vec!["a"; 33].join(" || "), true),
        (vec!["a"; 34].join(" || "), false),
        (parts, true),
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
