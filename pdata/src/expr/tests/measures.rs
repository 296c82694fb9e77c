//! Measures: a function, an argument, a condition.

use super::*;

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
