//! `auth` of a protocol: who may send.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::memcmp;
use openssl::sha::sha256;
use serde::Deserialize;
use weir_config::Secret;

use crate::Problem;

/// Who may send. One of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthKeys {
    /// Tokens.
    #[serde(default)]
    bearer: Option<BearerKeys>,
    /// Users.
    #[serde(default)]
    basic: Option<BasicKeys>,
}

/// `auth.bearer`: `authorization: Bearer <token>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BearerKeys {
    /// The token.
    #[serde(default)]
    token: Option<Secret>,
    /// A file with tokens, one a line.
    #[serde(default)]
    token_file: Option<String>,
}

/// `auth.basic`: `authorization: Basic <user:password>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicKeys {
    /// The user.
    #[serde(default)]
    username: String,
    /// The user's password.
    #[serde(default)]
    password: Option<Secret>,
    /// A file with users, one `user:password` a line.
    #[serde(default)]
    users_file: Option<String>,
}

/// Whom requests are taken from.
#[derive(Clone, Debug)]
pub struct Auth {
    /// In small letters.
    scheme: &'static str,
    /// What may stand behind the scheme.
    accepted: Digests,
}

/// Digests of secrets: they are of one length, whatever is compared.
#[derive(Clone)]
pub struct Digests(Vec<[u8; 32]>);

impl Digests {
    /// Of these texts.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Digests {
        Digests(texts.into_iter().map(|text| sha256(text.as_bytes())).collect())
    }

    /// Whether this is one of them. Takes the same time for all of one length.
    #[must_use]
    pub fn has(&self, given: &[u8]) -> bool {
        let digest = sha256(given);
        self.0.iter().fold(false, |found, accepted| found | memcmp::eq(accepted, &digest))
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Auth {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong: the key, and why.
    pub fn read(keys: &AuthKeys) -> Result<Auth, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: String| problems.push((format!("auth{key}"), why));
        let (scheme, accepted) = match (&keys.bearer, &keys.basic) {
            (Some(bearer), None) => {
                let mut tokens: Vec<String> =
                    bearer.token.iter().map(|token| token.expose().to_owned()).collect();
                if let Some(file) = &bearer.token_file {
                    match lines(file) {
                        Ok(lines) => tokens.extend(lines),
                        Err(why) => wrong(".bearer.token_file", why),
                    }
                } else if tokens.is_empty() {
                    wrong(".bearer", "names no token: write `token` or `token_file`".to_owned());
                }
                if tokens.iter().any(String::is_empty) {
                    wrong(".bearer.token", "is empty: everybody knows that".to_owned());
                }
                ("bearer", tokens)
            }
            (None, Some(basic)) => {
                let mut users = Vec::new();
                match (&basic.password, basic.username.as_str()) {
                    (None, "") if basic.users_file.is_some() => {}
                    (None, "") => wrong(
                        ".basic",
                        "names no user: write `username` and `password`, or `users_file`".to_owned(),
                    ),
                    (None, _) => wrong(".basic.username", "there is a user, but no password".to_owned()),
                    (Some(_), name) if name.is_empty() || name.contains(':') => {
                        wrong(".basic.username", "must be a name without a colon".to_owned());
                    }
                    (Some(password), _) if password.is_empty() => {
                        wrong(".basic.password", "is empty: everybody knows that".to_owned());
                    }
                    (Some(password), name) => users.push(format!("{name}:{}", password.expose())),
                }
                if let Some(file) = &basic.users_file {
                    match lines(file) {
                        Ok(lines) if lines.iter().all(|line| line.contains(':')) => users.extend(lines),
                        Ok(_) => {
                            let right = "write `user:password`, one a line";
                            wrong(
                                ".basic.users_file",
                                format!("`{file}` has a line without a colon; {right}"),
                            );
                        }
                        Err(why) => wrong(".basic.users_file", why),
                    }
                }
                ("basic", users.into_iter().map(|user| STANDARD.encode(user)).collect())
            }
            (Some(_), Some(_)) => {
                wrong(
                    "",
                    "`bearer` and `basic` exclude each other: requests have one authorization".to_owned(),
                );
                ("", Vec::new())
            }
            (None, None) => {
                wrong("", "names no way to be known: write `bearer` or `basic`".to_owned());
                ("", Vec::new())
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Auth { scheme, accepted: Digests::new(accepted.iter().map(String::as_str)) })
    }

    /// Whether a request with this header `authorization` is taken. Takes the same time for all of one
    /// length.
    #[must_use]
    pub fn accepts(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, given)) = header.and_then(|header| header.split_once_at_space()) else {
            return false;
        };
        self.accepted.has(given) && scheme.eq_ignore_ascii_case(self.scheme.as_bytes())
    }

    /// The way of the answer's header `www-authenticate`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.scheme == "basic" { "Basic" } else { "Bearer" }
    }
}

/// Splitting a header at its first space.
trait SplitAtSpace {
    fn split_once_at_space(&self) -> Option<(&[u8], &[u8])>;
}

impl SplitAtSpace for [u8] {
    fn split_once_at_space(&self) -> Option<(&[u8], &[u8])> {
        let at = self.iter().position(|byte| *byte == b' ')?;
        Some((self.get(..at)?, self.get(at + 1..)?.trim_ascii()))
    }
}

/// The lines of a file that are not empty.
fn lines(file: &str) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(format!("`{file}` is empty")) } else { Ok(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Auth, Vec<String>> {
        let read = Auth::read(&serde_json::from_str(json).unwrap());
        read.map_err(|problems| problems.into_iter().map(|(key, _)| key).collect())
    }

    #[test]
    fn a_token_is_taken_whole_and_only_behind_its_scheme() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "second\n\n third \n").unwrap();
        let auth = serde_json::json!({"bearer": {"token": "first", "token_file": file.path()}});
        let auth = read(&auth.to_string()).unwrap();
        for good in ["Bearer first", "bearer second", "BEARER  third"] {
            assert!(auth.accepts(Some(good.as_bytes())), "{good}");
        }
        for bad in ["first", "Basic first", "Bearer firs", "Bearer first2", "Bearer ", "Bearer", ""] {
            assert!(!auth.accepts(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!auth.accepts(None));
    }

    #[test]
    fn users_are_known_by_name_and_password() {
        let auth = read(r#"{"basic": {"username": "Aladdin", "password": "open sesame"}}"#).unwrap();
        // The example of RFC 7617.
        assert!(auth.accepts(Some(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
        assert!(!auth.accepts(Some(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ")));
        assert!(!auth.accepts(Some(b"Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
    }

    #[test]
    fn what_lets_everybody_in_is_an_error() {
        for (json, key) in [
            ("{}", "auth"),
            (r#"{"bearer": {"token": "a"}, "basic": {"username": "a", "password": "b"}}"#, "auth"),
            (r#"{"bearer": {}}"#, "auth.bearer"),
            (r#"{"bearer": {"token": ""}}"#, "auth.bearer.token"),
            (r#"{"bearer": {"token_file": "/nonexistent"}}"#, "auth.bearer.token_file"),
            (r#"{"basic": {}}"#, "auth.basic"),
            (r#"{"basic": {"username": "a"}}"#, "auth.basic.username"),
            (r#"{"basic": {"username": "a:b", "password": "c"}}"#, "auth.basic.username"),
            (r#"{"basic": {"username": "a", "password": ""}}"#, "auth.basic.password"),
        ] {
            assert_eq!(read(json).err().unwrap(), [key], "{json}");
        }
    }
}
