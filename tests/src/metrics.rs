//! Reads a Prometheus text page.

use crate::clickhouse::client;
use anyhow::{Context, Result};

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The full name, `_total` or `_bucket` included.
    pub name: String,
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads `http://<address>/metrics`.
    pub async fn scrape(address: &str) -> Result<Self> {
        let answer = client()?.get(format!("http://{address}/metrics")).send().await?.error_for_status()?;
        Self::parse(&answer.text().await?)
    }

    /// Reads a page; an error names the line that is not Prometheus text.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("bad metric line {line:?}")));
        Ok(Self(samples.collect::<Result<_>>()?))
    }

    /// The sum of all samples of this name that have all these labels; `None` if there is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            sample.labels.iter().any(|(key, found)| key == name && found == value)
        };
        let matching =
            |sample: &&Sample| sample.name == name && labels.iter().all(|label| has(sample, label));
        let mut values = self.0.iter().filter(matching).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }
}

fn sample(line: &str) -> Result<Sample> {
    let name_end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"").context("a label without a value")?;
            let (value, after) = quoted(after).context("a label without an end")?;
            labels.push((key.to_owned(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next().context("no value")?;
    Ok(Sample { name: name.to_owned(), labels, value: value.parse()? })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_takes_the_samples_with_all_given_labels() {
        let page = "# HELP a b\nhits_total{path=\"/a\",code=\"200\"} 3\nhits_total{path=\"/b\\\"},\",code=\"200\"} 4\nup 1\n";
        let metrics = Metrics::parse(page).unwrap();
        assert_eq!(metrics.sum("hits_total", &[("code", "200")]), Some(7.0));
        assert_eq!(metrics.sum("hits_total", &[("path", "/b\"},")]), Some(4.0));
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        assert_eq!(metrics.sum("down", &[]), None);
    }

    #[test]
    fn a_line_that_is_not_a_metric_is_an_error() {
        assert!(Metrics::parse("hits{path=\"/a} 1").is_err());
    }
}
