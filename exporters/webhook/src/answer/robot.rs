//! Robots that answer 200 and say in the body whether they took the message.

use std::time::Duration;

use serde_json::Value;
use weir_component::ExportError;

use crate::config::Kind;

/// A robot that has had enough of us is left alone for this long.
const PAUSE: Duration = Duration::from_secs(60);

/// The outcome of a request to a robot that was answered with 2xx and this body. Other kinds have succeeded.
pub(crate) fn outcome(kind: Kind, body: &str) -> Result<(), ExportError> {
    let (name, code, text): (&str, &[&str], &[&str]) = match kind {
        Kind::Dingtalk => ("DingTalk", &["errcode"], &["errmsg"]),
        Kind::Wecom => ("WeCom", &["errcode"], &["errmsg"]),
        Kind::Feishu => ("Feishu", &["code", "StatusCode"], &["msg", "StatusMessage"]),
        _ => return Ok(()),
    };
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let field = |names: &[&str]| names.iter().find_map(|name| answer.get(*name)).cloned();
    let Some(code) = field(code).and_then(|code| code.as_i64()) else {
        // A login page of a proxy, for example.
        return Err(ExportError::retryable(format!("{name} did not answer with a code: {}", body.trim())));
    };
    let text = field(text).unwrap_or_default();
    // The text was escaped as JSON, and may hold anything.
    let text = text.as_str().unwrap_or_default().replace(char::is_control, " ");
    let reason = format!("{name} answered with code {code}: {text}");
    match (kind, code) {
        (_, 0) => Ok(()),
        // Too many messages.
        (Kind::Dingtalk, 130_101) | (Kind::Wecom, 45_009) | (Kind::Feishu, 11_232) => {
            Err(ExportError::Retryable { reason: format!("{reason}: too many messages"), after: Some(PAUSE) })
        }
        // Busy.
        (_, -1) => Err(ExportError::retryable(reason)),
        // The robot, its secret, its keyword or our address: the alarms are not at fault.
        (Kind::Dingtalk, 310_000 | 300_001 | 300_005 | 40_014)
        | (Kind::Wecom, 93_000)
        | (Kind::Feishu, 19_001 | 19_021 | 19_022 | 19_024) => Err(ExportError::Retryable {
            reason: format!(
                "{reason}: check `url`, `secret`, and the robot's keywords and list of addresses"
            ),
            after: Some(PAUSE),
        }),
        (Kind::Wecom, 45_002) => Err(ExportError::too_large(reason)),
        _ => Err(ExportError::permanent(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kind: Kind, body: &str) -> Option<Option<Duration>> {
        match outcome(kind, body) {
            Err(ExportError::Retryable { after, .. }) => Some(after),
            _ => None,
        }
    }

    #[test]
    fn zero_is_success_and_only_robots_have_codes() {
        assert!(outcome(Kind::Dingtalk, r#"{"errcode":0,"errmsg":"ok"}"#).is_ok());
        assert!(outcome(Kind::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#).is_ok());
        assert!(outcome(Kind::Feishu, r#"{"code":0,"data":{},"msg":"success"}"#).is_ok());
        let legacy = r#"{"Extra":null,"StatusCode":0,"StatusMessage":"success"}"#;
        assert!(outcome(Kind::Feishu, legacy).is_ok());
        for kind in [Kind::Generic, Kind::Slack, Kind::Pagerduty, Kind::Alertmanager] {
            assert!(outcome(kind, "ok").is_ok());
        }
    }

    #[test]
    fn a_robot_that_is_busy_or_not_ours_is_tried_again() {
        let busy = r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#;
        assert_eq!(after(Kind::Dingtalk, busy), Some(Some(PAUSE)));
        assert_eq!(after(Kind::Wecom, r#"{"errcode":45009,"errmsg":"freq"}"#), Some(Some(PAUSE)));
        assert_eq!(after(Kind::Feishu, r#"{"code":11232,"msg":"frequency"}"#), Some(Some(PAUSE)));
        assert_eq!(after(Kind::Wecom, r#"{"errcode":-1,"errmsg":"system busy"}"#), Some(None));
        assert_eq!(after(Kind::Wecom, "<html>"), Some(None));
        let sign = outcome(Kind::Feishu, r#"{"code":19021,"msg":"sign match fail"}"#).unwrap_err();
        assert!(sign.to_string().contains("check `url`, `secret`"), "{sign}");
    }

    #[test]
    fn what_a_robot_refuses_is_refused() {
        let bad = outcome(Kind::Feishu, r#"{"code":9499,"msg":"Bad Request"}"#);
        assert!(matches!(bad, Err(ExportError::Permanent { .. })));
        let long = outcome(Kind::Wecom, r#"{"errcode":45002,"errmsg":"content size out of limit"}"#);
        assert!(matches!(long, Err(ExportError::TooLarge { .. })));
    }

    #[test]
    fn what_a_robot_says_does_not_move_the_cursor() {
        let said = outcome(Kind::Dingtalk, r#"{"errcode":1,"errmsg":"\u001b[2Jno"}"#).unwrap_err();
        assert!(!said.to_string().contains('\u{1b}'), "{said:?}");
    }
}
