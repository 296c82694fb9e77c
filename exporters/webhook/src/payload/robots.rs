//! Messages of chat robots: DingTalk, WeCom, Feishu and Slack.

use serde_json::{Value, json};

use super::mention::Mention;
use super::text::{Line, Text, Wording, cut, every_byte};
use crate::alarm::Alarm;

/// DingTalk's markdown has no bound of its own; requests have 20,000 bytes.
const DINGTALK: usize = 16_000;
/// WeCom's markdown.
const WECOM: usize = 4096;
/// Feishu's requests have 20 KB.
const FEISHU: usize = 16_000;
/// A section of Slack, in characters; a byte is at most one.
const SLACK: usize = 3000;

/// `msgtype: markdown` of DingTalk.
pub(crate) fn dingtalk(wording: &Wording, mention: &Mention, alarms: &[Alarm]) -> Value {
    let Text { title, lines } = wording.text(alarms);
    let mut text = format!("### {}", without_tags(&without_markup(&title)));
    for line in &lines {
        // One line break is none in markdown.
        text.push_str("\n\n");
        text.push_str(&shown(line, &without_tags));
    }
    let mut text = cut(text, DINGTALK);
    // A mention is shown where the text has it.
    let named: Vec<String> =
        mention.mobiles.iter().chain(&mention.users).map(|who| format!("@{who}")).collect();
    if !named.is_empty() {
        text.push_str("\n\n");
        text.push_str(&named.join(" "));
    }
    json!({
        "msgtype": "markdown",
        "markdown": {"title": cut(title, 200), "text": text},
        "at": {"atMobiles": mention.mobiles, "atUserIds": mention.users, "isAtAll": mention.all},
    })
}

/// `msgtype: markdown` of WeCom.
pub(crate) fn wecom(wording: &Wording, mention: &Mention, alarms: &[Alarm]) -> Value {
    let Text { title, lines } = wording.text(alarms);
    let color = match worst(alarms) {
        "high" => "warning",
        "resolved" => "info",
        _ => "comment",
    };
    let mut text =
        format!("<font color=\"{color}\">{}</font>", without_tags(&without_markup(&cut(title, 500))));
    for line in &lines {
        text.push('\n');
        text.push_str(&shown(line, &without_tags));
    }
    let everyone = mention.all.then_some("all");
    let named: String =
        mention.users.iter().map(String::as_str).chain(everyone).map(|who| format!("<@{who}>")).collect();
    let mut text = cut(text, WECOM - (named.len() + 1).min(WECOM / 2));
    if !named.is_empty() {
        text.push('\n');
        text.push_str(&named);
    }
    json!({"msgtype": "markdown", "markdown": {"content": text}})
}

/// `msg_type: interactive` of Feishu, a card, signed when `signed` has the seconds and the signature.
pub(crate) fn feishu(
    wording: &Wording,
    mention: &Mention,
    alarms: &[Alarm],
    signed: Option<(i64, String)>,
) -> Value {
    let Text { title, lines } = wording.text(alarms);
    let template = match worst(alarms) {
        "high" => "red",
        "mid" => "orange",
        "low" => "yellow",
        _ => "green",
    };
    let escaped = |text: &str| text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;");
    let lines: Vec<String> = lines.iter().map(|line| shown(line, &escaped)).collect();
    let mut text = cut(lines.join("\n"), FEISHU);
    let everyone = mention.all.then_some("all");
    for who in mention.users.iter().map(String::as_str).chain(everyone) {
        text.push_str(&format!("\n<at id={who}></at>"));
    }
    let mut body = json!({
        "msg_type": "interactive",
        "card": {
            "schema": "2.0",
            "header": {"title": {"tag": "plain_text", "content": cut(title, 500)}, "template": template},
            "body": {"elements": [{"tag": "markdown", "content": text}]},
        },
    });
    if let (Some((seconds, sign)), Some(body)) = (signed, body.as_object_mut()) {
        body.insert("timestamp".to_owned(), seconds.to_string().into());
        body.insert("sign".to_owned(), sign.into());
    }
    body
}

/// A message of a Slack incoming webhook.
pub(crate) fn slack(wording: &Wording, alarms: &[Alarm]) -> Value {
    let Text { title, lines } = wording.text(alarms);
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let title = escaped(&without_markup(&cut(title, 500)));
    let lines: Vec<String> = lines.iter().map(|line| shown(line, &escaped)).collect();
    let text = cut(format!("*{title}*\n{}", lines.join("\n")), SLACK);
    json!({
        "text": title,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}],
    })
}

/// The severity of the worst that fires; `resolved` when none does.
fn worst(alarms: &[Alarm]) -> &str {
    let severities = ["high", "mid", "low"];
    let fires =
        |severity: &&str| alarms.iter().any(|alarm| alarm.is_firing() && alarm.text("severity") == *severity);
    severities
        .into_iter()
        .find(|severity| fires(severity))
        .unwrap_or_else(|| if alarms.iter().any(Alarm::is_firing) { "low" } else { "resolved" })
}

/// A line as a robot shows it, whose special characters `escaped` takes care of.
fn shown(line: &Line, escaped: &dyn Fn(&str) -> String) -> String {
    escaped(&format!("{}{}", without_markup(&line.text), without_markup_in_link(&line.link)))
}

/// An address with the same meaning in which nothing is markup.
fn without_markup_in_link(link: &str) -> String {
    let mut out = String::with_capacity(link.len());
    for (at, c) in link.char_indices() {
        let is_second = c == '_' && link[..at].ends_with('_');
        if is_second || c.is_whitespace() || c.is_control() || "*`~[]()<>\"\\|".contains(c) {
            out.push_str(&every_byte(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Values must not mention everyone, and these robots know no escape.
fn without_tags(text: &str) -> String {
    text.replace('<', "＜").replace('>', "＞")
}

/// Values must not be links, pictures, code, or other than the text beside them. Not all robots know escapes:
/// what begins markup is parted from what follows, or has the look of it.
fn without_markup(text: &str) -> String {
    let text = text.replace('*', "∗").replace('`', "ˋ").replace("~~", "~ ~").replace("__", "_ _");
    let text = text.replace("](", "] (").replace("]:", "] :").replace("][", "] [");
    if text.trim_start().starts_with(['#', '>', '-', '+', '=']) { format!("\u{200b}{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_no_links_pictures_code_or_headings() {
        for (value, shown) in [
            ("[click](http://x)", "[click] (http://x)"),
            ("![p](http://x/y.png)", "![p] (http://x/y.png)"),
            ("[a][b] [b]: http://x", "[a] [b] [b] : http://x"),
            ("**bold** `code` ~~gone~~", "∗∗bold∗∗ ˋcodeˋ ~ ~gone~ ~"),
            ("# heading", "\u{200b}# heading"),
            ("max_duration_ns is 2 s", "max_duration_ns is 2 s"),
        ] {
            assert_eq!(without_markup(value), shown);
        }
        assert_eq!(without_tags("<@all>"), "＜@all＞");
    }

    /// A name such as `__init__` in a link, and what a page's own address may have.
    #[test]
    fn a_link_leads_where_it_should() {
        let link = "https://g.example.com/d/x?var={{ service }}&q=*~~[a](b)#h";
        let wording = Wording { link: Some(weir_alarms::Message::parse(link).unwrap()), ..wording() };
        let alarm = [Alarm::of(&json!({"rule": "slow", "service": "__init__", "severity": "high"}))];
        let none = Mention::default();
        let bodies = [
            dingtalk(&wording, &none, &alarm)["markdown"]["text"].clone(),
            wecom(&wording, &none, &alarm)["markdown"]["content"].clone(),
            feishu(&wording, &none, &alarm, None)["card"]["body"]["elements"][0]["content"].clone(),
            slack(&wording, &alarm)["blocks"][0]["text"]["text"].clone(),
        ];
        for body in bodies {
            let line = body.as_str().unwrap().lines().find(|line| line.starts_with("https://")).unwrap();
            let line = line.replace("&amp;", "&").replace("&#38;", "&");
            let url = reqwest::Url::parse(&line).unwrap();
            let pairs: Vec<(String, String)> =
                url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            let expected = [("var", "__init__"), ("q", "*~~[a](b)")];
            assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "{line}");
            assert!(
                !line.contains(['*', '[', '(']) && !line.contains("__") && !line.contains("~~"),
                "{line}"
            );
        }
    }

    fn wording() -> Wording {
        Wording { text: None, link: None, zone: chrono_tz::Tz::UTC }
    }
}
