//! Templates that are written to hurt: whoever may write a rule must not be able to stop the program.
//!
//! The test runs itself again in a process with an address space of 600 MB, where what takes too much memory
//! ends the process.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_alarms::Message;

/// Templates that a site could write, by mistake or to hurt.
fn hostile() -> Vec<String> {
    let mut templates: Vec<String> = [
        "{{ service | indent(9000000000) }}",
        "{% filter indent(9000000000) %}a{% endfilter %}",
        "{{ '%9000000000d' | format(1) }}",
        "{{ service | format(1) }}",
        "{{ 'a' * 9000000000 }}",
        "{{ service * 99000000 }}",
        "{{ [service] * 99000000 }}",
        "{{ [service] | batch(9000000000, 'x') }}",
        "{{ [service] | slice(9000000000) }}",
        "{{ range(100000) | list | join('xxxxxxxx') }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ 2 ** 126 * 2 ** 126 }}",
        "{{ 1 // 0 }}{{ 1 % 0 }}",
        "{{ -170141183460469231731687303715884105728 // -1 }}",
        "{{ value | round(2147483647) }}{{ value | round(-2147483647) }}",
        "{{ value | int(base=0) }}{{ service | int(base=99) }}",
        "{{ service | replace('', service) | replace('', service) | replace('', service) | replace('', service) }}",
        "{{ service | split('') | join(service) | split('') | join(service) | split('') | join(service) }}",
        "{% for a in [1] recursive %}{{ loop([a, a]) }}{% endfor %}",
        "{% set a = [1] %}{{ a }}",
        "{% with a = service %}{{ a }}{% endwith %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% include 'a' %}",
        "{{ debug() }}",
        "{{ namespace(a=service) }}",
        "{{ dict(a=service) }}",
        "{{ labels | map('indent', 9000000000) | list }}",
        "{{ [service] | map('batch', 9000000000, 'x') | list }}",
        "{{ service[::0] }}",
        "{{ service[::-9223372036854775808] }}",
        "{{ service is divisibleby(0) }}",
    ]
    .map(str::to_owned)
    .into();
    // Each loop doubles a text, or a list whose parts are shared.
    let nest = |value: &str, inside: &str, depth: usize| {
        let mut template = "{% for a in [service] %}".to_owned();
        template += &format!("{{% for a in [{value}] %}}").repeat(depth);
        template + inside + &"{% endfor %}".repeat(depth + 1)
    };
    for depth in [20, 40, 60] {
        templates.push(nest("a ~ a", "{{ a | length }}", depth));
        templates.push(nest("a + a", "{{ a | length }}", depth));
        templates.push(nest("[a, a]", "{{ a == a }}", depth));
        templates.push(nest("(a, a)", "{{ a is eq(a) }}", depth));
        templates.push(nest("{'a': a, 'b': a}", "{{ a | string | length }}", depth));
    }
    templates.push(format!("{{{{ {} }}}}", vec!["'aaaa' * 99999999"; 100].join(" ~ ")));
    templates.push(format!("{{{{ [{}] | length }}}}", vec!["'aaaa' * 99999999"; 100].join(", ")));
    templates.push(format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000)));
    templates.push(format!("{{{{ {}1 }}}}", "not ".repeat(1000)));
    templates.push(format!("{{{{ {}1 }}}}", "-".repeat(4000)));
    templates.push(format!("{{{{ 1{} }}}}", " + 1".repeat(1000)));
    templates.push(format!("{{{{ {}1 }}}}", "(-".repeat(1000)));
    templates.push(format!("{{{{1{}}}}}", "+1".repeat(2000)));
    templates.push(format!("{{{{1{}}}}}", "**1".repeat(1300)));
    templates.push(format!("{{{{1{}}}}}", "[0]".repeat(1300)));
    templates.push(format!("{{{{ {}a }}}}", "a if b else ".repeat(330)));
    templates.push(format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(330)));
    templates.push(format!("{{{{ a{} }}}}", "|d".repeat(2000)));
    templates.push(format!("{{{{ a{} }}}}", ".b".repeat(2000)));
    templates.push(format!("{{{{ {}{} }}}}", "[".repeat(140), "]".repeat(140)));
    templates.push(format!("{}{}", "{% if 1 %}".repeat(180), "{% endif %}".repeat(180)));
    templates
}

fn try_all() {
    let text = "x".repeat(100_000);
    let context = json!({"service": text, "value": 2300.5, "count": 7, "labels": {"a": text, "b": "c"}});
    for template in hostile() {
        // When the process ends here, this is the template that did it.
        eprintln!("{template:.100}");
        let began = Instant::now();
        if let Ok(message) = Message::parse(&template) {
            let _ = message.names();
            let rendered = message.render(|| context.as_object().unwrap().clone(), || "default".to_owned());
            assert!(rendered.text.len() < 9000, "{template}: {} bytes", rendered.text.len());
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{template} took {took:?}");
    }
}

#[test]
fn hostile_templates_take_neither_memory_nor_time() {
    if std::env::var_os("WEIR_TEST_HOSTILE").is_some() {
        // On a stack as small as that of the threads which render.
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        return thread.spawn(try_all).unwrap().join().unwrap();
    }
    let this = std::env::current_exe().unwrap();
    let limited = Command::new("sh")
        .args(["-c", r#"ulimit -v 600000 && exec "$0" --exact hostile_templates_take_neither_memory_nor_time --nocapture"#])
        .arg(this)
        .env("WEIR_TEST_HOSTILE", "1")
        .output()
        .unwrap();
    let said = [limited.stdout, limited.stderr].concat();
    assert!(limited.status.success(), "{}: {}", limited.status, String::from_utf8_lossy(&said));
}
