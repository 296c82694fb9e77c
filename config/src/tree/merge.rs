//! One configuration laid over another: maps merge key by key, lists and scalars are replaced.

use crate::tree::node::{Node, Value};

/// Lays `over` on `base`. Null does not wipe a map (a file whose `processors:` has everything below commented
/// out), but replaces a list or scalar like any other value.
pub(crate) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Map(entries), Value::Map(more)) => {
            for entry in more {
                match entries.iter_mut().find(|known| known.key.text == entry.key.text) {
                    Some(known) => {
                        let kept = matches!(known.value.value, Value::Map(_))
                            && matches!(entry.value.value, Value::Map(_) | Value::Null);
                        if !kept {
                            known.key.span = entry.key.span;
                        }
                        merge(&mut known.value, entry.value);
                    }
                    None => entries.push(entry),
                }
            }
        }
        (Value::Map(_), Value::Null) => {}
        (_, value) => *base = Node::new(over.span, value),
    }
}
