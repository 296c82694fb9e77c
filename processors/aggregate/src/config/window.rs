//! The key `window`: one of four kinds, with the keys of that kind.

use chrono_tz::Tz;
use serde::Deserialize;
use weir_component::Check;
use weir_config::Duration;

use crate::window::signed_duration::Signed;
use crate::window::{Slices, Windows};

/// A day in milliseconds.
const DAY: i64 = 86_400_000;
/// The most slices that a sliding window may be made of.
const MOST_SLICES: i64 = 10_000;

/// One of four kinds, with the keys of that kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowConfig {
    tumbling: Option<Duration>,
    sliding: Option<Duration>,
    session: Option<Duration>,
    processing: Option<Duration>,
    max_session: Option<Duration>,
    slide: Option<Duration>,
    offset: Option<Signed>,
    time_zone: Option<String>,
}

impl WindowConfig {
    /// The windows. When something is wrong the result is any window.
    pub(crate) fn check(&self, check: &mut Check<'_>, lateness: Duration) -> Windows {
        let any = Windows::Event(Slices::tumbling(1, 0));
        let kinds = [
            ("tumbling", self.tumbling),
            ("sliding", self.sliding),
            ("session", self.session),
            ("processing", self.processing),
        ];
        let named: Vec<(&str, Duration)> =
            kinds.into_iter().filter_map(|(kind, length)| Some((kind, length?))).collect();
        let [(kind, length)] = named.as_slice() else {
            let message = "name one kind of window: tumbling, sliding, session or processing";
            check.wrong("window", message);
            return any;
        };
        let key = format!("window.{kind}");
        let size = check.millis(&key, *length);
        if length.is_zero() {
            check.wrong(&key, "must be more than 0s");
            return any;
        }
        for (key, there, kinds) in [
            ("slide", self.slide.is_some(), ["sliding"].as_slice()),
            ("offset", self.offset.is_some(), &["tumbling", "sliding"]),
            ("time_zone", self.time_zone.is_some(), &["tumbling"]),
            ("max_session", self.max_session.is_some(), &["session"]),
        ] {
            if there && !kinds.contains(kind) {
                let message = format!("a {kind} window has no {key}; it goes with {}", kinds.join(" and "));
                check.wrong(&format!("window.{key}"), message);
            }
        }
        match *kind {
            "sliding" => Windows::Event(sliding(check, self, size)),
            "session" => session(check, self, size.max(1), lateness),
            "processing" => Windows::Processing(Slices::tumbling(size.max(1), 0)),
            _ => Windows::Event(tumbling(check, self, *length, size)),
        }
    }
}

fn session(check: &mut Check<'_>, config: &WindowConfig, gap: i64, lateness: Duration) -> Windows {
    // Shorter, and where a session is cut could still change when it is cut.
    let lateness = i64::try_from(lateness.get().as_millis()).unwrap_or(i64::MAX);
    let least = gap.saturating_add(lateness).saturating_mul(2);
    let Some(longest) = config.max_session else {
        return Windows::Session { gap, longest: least.max(DAY) };
    };
    let key = "window.max_session";
    let millis = check.millis(key, longest);
    if millis < least {
        let message = format!(
            "must be at least twice `session` and `allowed_lateness` together, which is {least} ms: where a session is cut \
             must be certain before it is cut"
        );
        check.wrong(key, message);
    }
    Windows::Session { gap, longest: millis.max(least) }
}

fn sliding(check: &mut Check<'_>, config: &WindowConfig, size: i64) -> Slices {
    let Some(slide) = config.slide else {
        check.wrong("window", "a sliding window needs `slide`: from the start of one to that of the next");
        return Slices::tumbling(1, 0);
    };
    let millis = check.millis("window.slide", slide);
    if slide.is_zero() {
        check.wrong("window.slide", "must be more than 0s");
    }
    let offset = offset(check, config, millis, &format!("the slide, {slide}"));
    let slices = Slices::sliding(size.max(1), millis.max(1), offset);
    if slices.per_window() > MOST_SLICES {
        let message = format!(
            "makes {} slices of each window (the greatest common divisor of sliding and slide is the length of one); \
             at most {MOST_SLICES} are possible",
            slices.per_window()
        );
        check.wrong("window.slide", message);
    }
    slices
}

fn tumbling(check: &mut Check<'_>, config: &WindowConfig, length: Duration, size: i64) -> Slices {
    let offset = offset(check, config, size, &format!("the window's length, {length}"));
    let Some(name) = config.time_zone.as_deref() else { return Slices::tumbling(size.max(1), offset) };
    let Ok(zone) = name.parse::<Tz>() else {
        let message = format!("there is no time zone `{name}`; write a name such as UTC or Asia/Shanghai");
        check.wrong("window.time_zone", message);
        return Slices::tumbling(1, 0);
    };
    if matches!(zone, Tz::UTC | Tz::Etc__UTC) {
        return Slices::tumbling(size.max(1), offset);
    }
    if size % DAY != 0 {
        let message = format!(
            "a time zone goes with windows of whole days: where clocks change, {length} of local time are not unique; \
             shift shorter windows with `offset`"
        );
        check.wrong("window.time_zone", message);
    }
    if offset % DAY != 0 {
        let message = "with a time zone the offset is whole days: windows start at local midnight";
        check.wrong("window.offset", message);
    }
    Slices::days(zone, (size / DAY).max(1), offset / DAY)
}

fn offset(check: &mut Check<'_>, config: &WindowConfig, below: i64, what: &str) -> i64 {
    let offset = config.offset.unwrap_or_default();
    let millis = check.millis("window.offset", offset.length);
    if millis >= below && below > 0 {
        check.wrong("window.offset", format!("must be less than {what}, in both directions"));
    }
    if offset.negative { -millis } else { millis }
}
