//! Paths with few distinct values: what identifies a thing becomes `{id}`.

use std::collections::HashSet;

/// Most parts of a path that are kept.
const MOST_PARTS: usize = 10;
/// The longest part that is a name.
const MOST_NAME: usize = 40;

/// Makes templates, of which there is a bounded number.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Of the settings: parts in braces stand for any one, `*` at the end for any number.
    given: Vec<String>,
    known: HashSet<Box<str>>,
    most: usize,
}

impl Templates {
    pub(crate) fn new(given: Vec<String>, most: usize) -> Templates {
        Templates { given, known: HashSet::new(), most }
    }

    /// The template of the path of a request's target. When there are too many, `/{*}`.
    pub(crate) fn of(&mut self, target: &str) -> String {
        let path = path(target);
        if let Some(given) = self.given.iter().find(|given| fits(given, path)) {
            return given.clone();
        }
        let made = made(path);
        if self.known.contains(made.as_str()) {
            return made;
        }
        if self.known.len() >= self.most {
            return "/{*}".to_owned();
        }
        self.known.insert(made.clone().into_boxed_str());
        made
    }
}

/// The path of a target, which may be a whole URL.
pub(crate) fn path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    if target.starts_with('/') {
        return target;
    }
    let absolute = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    match absolute {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    }
}

/// Whether a path is one that this template stands for.
pub(crate) fn fits(template: &str, path: &str) -> bool {
    let (mut parts, mut own) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), own.next()) {
            (Some("*"), _) | (None, None) => return true,
            (Some(part), Some(_)) if part.starts_with('{') && part.ends_with('}') => {}
            (Some(part), Some(own)) if part == own => {}
            _ => return false,
        }
    }
}

fn made(path: &str) -> String {
    let mut made = String::with_capacity(path.len());
    for (at, part) in path.split('/').enumerate() {
        if at > MOST_PARTS {
            made.push_str("/{*}");
            break;
        }
        if at > 0 {
            made.push('/');
        }
        made.push_str(if is_id(part) { "{id}" } else { part });
    }
    made
}

/// Whether a part looks like the name of one thing among many: a number, a UUID, a hash, a token, an address.
fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hexadecimal = part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let version = part.len() <= 3 && part.starts_with(['v', 'V']);
    part.len() > MOST_NAME
        || part.contains(['%', '@', '=', ',', ';', ':'])
        || !version && digits > 0 && (digits == part.len() || digits * 3 >= part.len() || digits >= 4)
        || part.len() >= 8 && digits > 0 && hexadecimal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_left_out_and_names_stay() {
        let cases = [
            ("/", "/"),
            ("/pay", "/pay"),
            ("/orders/17/items/3?x=1", "/orders/{id}/items/{id}"),
            ("/api/v2/users", "/api/v2/users"),
            ("/u/550e8400-e29b-41d4-a716-446655440000", "/u/{id}"),
            ("/c/deadbeef01", "/c/{id}"),
            ("/files/report-2026-11-30.pdf", "/files/{id}"),
            ("/u/a@b.de/x", "/u/{id}/x"),
            ("http://shop:80/a/5", "/a/{id}"),
            ("http://shop", "/"),
            ("*", "*"),
            ("/facade/cafe", "/facade/cafe"),
        ];
        for (target, expected) in cases {
            assert_eq!(Templates::new(Vec::new(), 100).of(target), expected, "{target}");
        }
    }

    #[test]
    fn given_templates_come_first() {
        let mut templates = Templates::new(vec!["/shop/{name}/cart".into(), "/static/*".into()], 100);
        assert_eq!(templates.of("/shop/anna/cart"), "/shop/{name}/cart");
        assert_eq!(templates.of("/static/a/b.css"), "/static/*");
        assert_eq!(templates.of("/shop/anna"), "/shop/anna");
    }

    #[test]
    fn their_number_is_bounded() {
        let mut templates = Templates::new(Vec::new(), 2);
        assert_eq!(
            [templates.of("/a"), templates.of("/b"), templates.of("/c"), templates.of("/a")],
            ["/a", "/b", "/{*}", "/a"]
        );
    }
}
