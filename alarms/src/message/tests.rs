use super::*;
use proptest::prelude::*;
use serde_json::json;

fn render(template: &str) -> Rendered {
    let context = json!({"service": "pay", "value": 2300, "http": {"route": "/pay"}, "labels": {"a.b": "c"}});
    let context = || context.as_object().unwrap().clone();
    Message::parse(template).unwrap().render(context, || "default".to_owned())
}

#[test]
fn both_kinds_of_placeholder_are_filled() {
    assert_eq!(render("{{ service }} is slow: {{ value }}").text, "pay is slow: 2300");
    assert_eq!(render("${service} is slow: ${ value } ${http.route}").text, "pay is slow: 2300 /pay");
    assert_eq!(render("{{ labels['a.b'] }}").text, "c");
}

#[test]
fn what_is_no_placeholder_stays() {
    assert_eq!(render("costs $5 ${1} ${} ${a-b} ${open").text, "costs $5 ${1} ${} ${a-b} ${open");
    assert_eq!(render("支付 ${service}").text, "支付 pay");
    assert_eq!(render("${a ${service} b}").text, "${a pay b}");
}

#[test]
fn an_unknown_name_gives_the_rest_and_is_told() {
    let rendered = render("${service}: ${nonsense}!");
    assert_eq!(rendered.text, "pay: !");
    assert!(rendered.problem.unwrap().contains("undefined"));
    assert_eq!(render("{{ a.b.c }}!").text, "!");
}

#[test]
fn a_template_that_fails_gives_the_default() {
    let rendered = render("{{ 1 / 0 }}");
    assert_eq!(rendered.text, "default");
    assert!(rendered.problem.is_some());
    let none = Message::default().render(|| panic!("nothing to fill in"), || "default".to_owned());
    assert_eq!(none, Rendered { text: "default".to_owned(), cut: false, problem: None });
}

#[test]
fn what_costs_too_much_is_rejected_or_gives_the_default() {
    let loops = |list: &str| {
        format!("{{% for a in {list} %}}{}", "{% for b in 'aaaaaaaaaaaaaaaa' | list %}".repeat(5))
            + &"{% endfor %}".repeat(6)
    };
    assert!(matches!(Message::parse(&loops("'aaaaaaaaaaaaaaaa'|list")), Err(MessageError::Costly(_))));
    let rendered = render(&loops("labels"));
    assert_eq!(rendered.text, "default");
    assert!(rendered.problem.unwrap().contains("10000 steps"));
}

#[test]
fn what_a_template_can_do() {
    for (template, text) in [
        (
            "{{ value / 1000 }} {{ (value * 1.5) | round(1) }} {{ '%.2f' | format(value / 7) }}",
            "2.3 3450.0 328.57",
        ),
        (
            "{{ value // 1000 }} {{ value % 1000 }} {{ 2 ** 10 }} {{ -value }} {{ value - 1 }}",
            "2 300 1024 -2300 2299",
        ),
        ("{{ service | upper }} {{ service ~ '-' ~ value }} {{ service + '!' }}", "PAY pay-2300 pay!"),
        ("{% if value > 2000 and service == 'pay' %}high{% elif value %}low{% else %}no{% endif %}", "high"),
        (
            "{{ 'slow' if value >= 2300 else 'quick' }} {{ 'p' in service }} {{ 'x' not in service }}",
            "slow True True",
        ),
        (
            "{% for k, v in labels | dictsort %}{{ loop.index }}/{{ loop.length }} {{ k }}={{ v }}{% endfor %}",
            "1/1 a.b=c",
        ),
        (
            "{% for a in [1, 2, 3] if a != 2 %}{{ a }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}",
            "1, 3",
        ),
        (
            "{{ nonsense | default('?') }} {{ nonsense is defined }} {{ service[:2] }} {{ [1, 2, 3][-2:] }}",
            "? False pa [2, 3]",
        ),
        (
            "{{ service | replace('p', 'b') }} {{ ['a', 'b'] | join('/') }} {{ service | length }}",
            "bay a/b 3",
        ),
        ("{# a comment #}{{- service -}} \n", "pay"),
        ("{{ http['route'] }} {{ {'a': 1}.a }} {{ (1, 2)[0] }} {{ none }}", "/pay 1 1 None"),
    ] {
        assert_eq!(
            render(template),
            Rendered { text: text.to_owned(), cut: false, problem: None },
            "{template}"
        );
    }
}

#[test]
fn arithmetic_that_has_no_result_gives_the_default() {
    for template in
        ["{{ value // 0 }}", "{{ 9 ** 999 }}", "{{ service * 2 }}", "{{ service - 1 }}", "{{ 5 % 0.0 }}"]
    {
        let rendered = render(template);
        assert_eq!(rendered.text, "default", "{template}");
        assert!(rendered.problem.is_some(), "{template}");
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let rendered =
        render(&format!("a{{% for a in labels %}}{}{{% endfor %}}", "{{ service }}支".repeat(250)));
    assert!(rendered.text.len() < 5000, "it is not cut: {}", rendered.text.len());
    let many = "{% for a in '0123456789' | list %}支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支支{% endfor %}".repeat(10);
    let rendered = render(&format!("a{many}"));
    assert!(rendered.text.len() <= MAX_MESSAGE + '…'.len_utf8());
    assert!(rendered.cut);
    assert!(rendered.text.starts_with("a支支") && rendered.text.ends_with("支…"));
}

#[test]
fn bad_templates_are_rejected_with_the_reason() {
    assert!(matches!(Message::parse("{{ service"), Err(MessageError::Syntax(_))));
    assert!(matches!(Message::parse("{{ service | nonsense }}"), Err(MessageError::Unknown(_))));
    assert!(matches!(Message::parse("{{ nonsense() }}"), Err(MessageError::Unknown(_))));
    assert!(matches!(Message::parse("{{ 'a' * 100 }}"), Err(MessageError::Unknown(_))));
    let error = Message::parse("{{ service | indent(2) }}").unwrap_err().to_string();
    assert!(error.contains("the filter `indent`; there are abs, "), "{error}");
    assert!(matches!(Message::parse(r#"{{ "\ud800" }}"#), Err(MessageError::Syntax(_))));
    assert_eq!(Message::parse(&"x".repeat(MAX_TEMPLATE + 1)), Err(MessageError::TooLong));
    assert_eq!(Message::parse("{%- set a = 1 %}"), Err(MessageError::NotAvailable("set")));
    assert!(Message::parse("{% if value > 10 %}high{% endif %}").is_ok());
}

#[test]
fn a_problem_names_its_line_when_there_are_several() {
    let error = Message::parse("{{ service }}\n{{ value").unwrap_err().to_string();
    assert!(error.ends_with("(line 2)"), "{error}");
    assert!(!Message::parse("{{ value").unwrap_err().to_string().contains("line"));
}

#[test]
fn values_are_not_templates() {
    let context = || [("service".to_owned(), json!("{{ 1 + 1 }}"))].into_iter().collect();
    let rendered = Message::parse("${service}").unwrap().render(context, String::new);
    assert_eq!(rendered.text, "{{ 1 + 1 }}");
}

proptest! {
    #[test]
    fn arbitrary_templates_never_panic_and_are_short(template in "[${}% a-z.*|'\"()0-9]{0,60}") {
        if let Ok(message) = Message::parse(&template) {
            let rendered =
                message.render(|| [("a".to_owned(), json!(1))].into_iter().collect(), String::new);
            prop_assert!(rendered.text.len() <= MAX_MESSAGE + '…'.len_utf8());
        }
    }
}

#[test]
fn names_are_those_that_the_template_reads() {
    let message = Message::parse("${service} {{ hit.value | round }} {% if x > 1 %}{% endif %}").unwrap();
    assert_eq!(message.names().into_iter().collect::<Vec<_>>(), ["hit.value", "service", "x"]);
    assert!(Message::default().names().is_empty());
}
