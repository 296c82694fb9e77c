//! The part of MQE, the language of SkyWalking's alarm rules, that conditions over windows can say.

use super::metric::{Compared, Scope};

/// What an expression asks of the windows of a period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// For one window, in SQL.
    pub(super) condition: String,
    pub(super) scope: Scope,
    pub(super) of: Of,
}

/// For how many windows of the period the condition has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The last one.
    Last,
    /// So many, anywhere in the period.
    Some(u32),
    /// All.
    All,
}

/// Reads an expression. `period` is in windows.
///
/// # Errors
/// What cannot be said by a rule of Weir.
pub(super) fn read(text: &str, period: u32) -> Result<Asked, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0, period };
    let asked = reader.alternatives()?;
    match reader.tokens.get(reader.at) {
        None => Ok(asked),
        Some(token) => Err(format!("`{token}` is not understood there")),
    }
}

/// The words and signs of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<String>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => rest
                .get(1..)
                .and_then(|rest| rest.find(first))
                .map(|end| end + 2)
                .ok_or("a text has no end")?,
            c if c.is_alphanumeric() || c == '_' || c == '.' => {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len())
            }
            _ => {
                let two =
                    ["&&", "||", ">=", "<=", "==", "!=", "=~", "!~"].iter().any(|two| rest.starts_with(two));
                if two { 2 } else { first.len_utf8() }
            }
        };
        let (token, behind) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = behind.trim_start();
    }
    Ok(tokens)
}

struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
    period: u32,
}

impl Reader<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        let token = self.peek().to_owned();
        self.at += 1;
        token
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        match self.take() {
            token if token == wanted => Ok(()),
            token if token.is_empty() => Err(format!("it ends where `{wanted}` should be")),
            token => Err(format!("`{token}` is not understood where `{wanted}` should be")),
        }
    }

    fn alternatives(&mut self) -> Result<Asked, String> {
        let mut asked = self.all()?;
        while self.peek() == "||" {
            self.at += 1;
            asked = self.joined(asked, "OR", Reader::all)?;
        }
        Ok(asked)
    }

    fn all(&mut self) -> Result<Asked, String> {
        let mut asked = self.unit()?;
        while self.peek() == "&&" {
            self.at += 1;
            asked = self.joined(asked, "AND", Reader::unit)?;
        }
        Ok(asked)
    }

    /// Two conditions are one for each window only where both are asked of the same windows.
    fn joined(
        &mut self,
        mut one: Asked,
        word: &str,
        next: fn(&mut Self) -> Result<Asked, String>,
    ) -> Result<Asked, String> {
        let other = next(self)?;
        if one.scope != other.scope {
            return Err("it compares what belongs to services with what belongs to others".to_owned());
        }
        let is_exact = one.of == other.of
            && match one.of {
                Of::Last => true,
                Of::All => word == "AND" || self.period == 1,
                Of::Some(_) => self.period == 1,
            };
        if !is_exact {
            return Err("its parts may hold in different minutes".to_owned());
        }
        one.condition = format!("({} {word} {})", one.condition, other.condition);
        Ok(one)
    }

    fn unit(&mut self) -> Result<Asked, String> {
        if self.peek() == "(" {
            self.at += 1;
            let asked = self.alternatives()?;
            self.expect(")")?;
            return Ok(asked);
        }
        let name = self.take();
        if self.peek() != "(" {
            let Compared { condition, scope } = self.comparison(&name)?;
            let of = if self.period == 1 { Of::Last } else { Of::All };
            return Ok(Asked { condition, scope, of });
        }
        self.at += 1;
        match name.as_str() {
            "sum" => {
                let name = self.take();
                let Compared { condition, scope } = self.comparison(&name)?;
                self.expect(")")?;
                let sign = self.take();
                let number = self.number()?;
                let least = match sign.as_str() {
                    ">=" => number,
                    ">" => number + 1.0,
                    _ => return Err(format!("the sum is compared with `{sign}`, and not with `>=`")),
                };
                let least = Some(least).filter(|least| *least >= 1.0 && least.fract() == 0.0 && *least < 1e6);
                let least = least.ok_or("the sum is compared with no number of minutes")? as u32;
                let of = if least == self.period { Of::All } else { Of::Some(least) };
                Ok(Asked { condition, scope, of })
            }
            "latest" | "min" | "max" => {
                let metric = self.metric()?;
                self.expect(")")?;
                let sign = self.take();
                let Compared { condition, scope } = metric.compared(&sign, self.number()?)?;
                let of = match (name.as_str(), sign.as_str()) {
                    ("latest", _) => Of::Last,
                    ("min", ">" | ">=") | ("max", "<" | "<=") => Of::All,
                    ("min", "<" | "<=") | ("max", ">" | ">=") => Of::Some(1),
                    _ => return Err(format!("`{name}` is compared with `{sign}`")),
                };
                let of = if self.period == 1 { Of::Last } else { of };
                Ok(Asked { condition, scope, of })
            }
            _ => Err(format!("there is no `{name}( )` over windows")),
        }
    }

    fn comparison(&mut self, name: &str) -> Result<Compared, String> {
        let metric = self.metric_of(name)?;
        let sign = self.take();
        metric.compared(&sign, self.number()?)
    }

    fn metric(&mut self) -> Result<super::metric::Metric, String> {
        let name = self.take();
        self.metric_of(&name)
    }

    fn metric_of(&mut self, name: &str) -> Result<super::metric::Metric, String> {
        let mut percentiles = Vec::new();
        if self.peek() == "{" {
            self.at += 1;
            let label = self.take();
            self.expect("=")?;
            let value = self.take();
            self.expect("}")?;
            if label != "p" && label != "percentile" {
                return Err(format!("there is no label `{label}` in windows"));
            }
            percentiles =
                value.trim_matches(['\'', '"']).split(',').map(|one| one.trim().to_owned()).collect();
        }
        super::metric::Metric::of(name, percentiles)
    }

    fn number(&mut self) -> Result<f64, String> {
        let token = self.take();
        let number =
            token.parse().map_err(|_| format!("`{token}` is not understood where a number should be"))?;
        match self.peek() {
            "+" | "-" | "*" | "/" | "%" => Err("it calculates".to_owned()),
            _ => Ok(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_said_is_said_in_sql() {
        for (text, period, condition, of) in [
            ("sum(service_resp_time > 1000) >= 3", 10, "avg_duration_ns > 1000000000", Of::Some(3)),
            ("sum(service_resp_time > 1000) > 9", 10, "avg_duration_ns > 1000000000", Of::All),
            ("service_sla < 8000", 1, "success_rate < 0.8", Of::Last),
            ("max(endpoint_cpm) < 10", 5, "count < 10", Of::All),
            ("min(endpoint_cpm) < 10", 5, "count < 10", Of::Some(1)),
            (
                "sum(service_percentile{p='50,75,90,95,99'} > 1000) >= 3",
                10,
                "p99_duration_ns > 1000000000",
                Of::Some(3),
            ),
            ("latest(service_percentile{p='50'}) < 1.5", 2, "p50_duration_ns < 1500000", Of::Last),
            (
                "(service_resp_time > 1 && service_cpm >= 2) || service_sla <= 9999",
                1,
                "((avg_duration_ns > 1000000 AND count >= 2) OR success_rate <= 0.9999)",
                Of::Last,
            ),
        ] {
            let asked = read(text, period).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((asked.condition.as_str(), asked.of), (condition, of), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_has_a_reason() {
        for (text, period, why) in [
            ("avg(service_resp_time) > 1000", 10, "there is no `avg( )` over windows"),
            ("service_resp_time * 2 > 1000", 1, "`*`"),
            ("service_resp_time > 1000 * 2", 1, "it calculates"),
            ("service_apdex < 9000", 1, "`service_apdex`"),
            ("jvm_cpu > 90", 1, "`jvm_cpu`"),
            ("sum(service_resp_time > 1) >= 2 && sum(service_sla < 1) >= 2", 10, "different minutes"),
            ("service_resp_time > 1 && endpoint_cpm > 1", 1, "belongs to services"),
            ("sum(service_resp_time > 1) == 2", 10, "`==`"),
            ("service_percentile{p='75'} > 1", 1, "75"),
            ("service_resp_time > ", 1, "where a number should be"),
            ("service_resp_time{a='b'} > 1", 1, "no label `a`"),
            ("baseline(service_resp_time, upper) > 1", 1, "there is no `baseline( )`"),
            ("service_sla < '8000", 1, "a text has no end"),
        ] {
            let wrong = read(text, period).unwrap_err();
            assert!(wrong.contains(why), "{text}: {wrong}");
        }
    }
}
