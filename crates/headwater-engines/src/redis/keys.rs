//! What our keys are called.
//!
//! `prefix + view + ":" + key`, where the view's name and the key's parts are escaped so that `:` only separates: the
//! keys of the view `a` can never be taken for those of a view `a:b`. Our own state is in `prefix + "headwater"`, or `prefix +
//! "headwater@SOURCE"` where several sources have their views here: no document's key equals it, because that has a `:` after the
//! prefix. Indexes are in `prefix + "%index:…"` and
//! `prefix + "%places:…"`: in an escaped name `%` is never followed by a small letter.

use headwater_model::{Key, Value, View};

/// What our own state is called: [`headwater_model::file::StoreSection::of_source`] of it, behind the prefix.
pub(super) const META: &str = "headwater";

/// What all keys of a view start with.
pub(super) fn of_view(prefix: &str, view: &str) -> Vec<u8> {
    let mut out = prefix.as_bytes().to_vec();
    Key(vec![Value::text(view)]).write_text(&mut out);
    out.push(b':');
    out
}

pub(super) fn document(prefix: &str, view: &View, key: &Key) -> Vec<u8> {
    let mut out = of_view(prefix, &view.name);
    key.write_text(&mut out);
    out
}

/// What the keys of all sets of a view's indexes start with.
pub(super) fn of_indexes(prefix: &str, view: &str) -> Vec<u8> {
    of_view(&format!("{prefix}%index:"), view)
}

/// The sorted set of one part of an index.
pub(super) fn index(prefix: &str, view: &str, number: usize, part: &[u8]) -> Vec<u8> {
    let mut out = of_indexes(prefix, view);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(b':');
    out.extend_from_slice(part);
    out
}

/// The index, and the part of it, of a set: of what its key has behind [`of_indexes`].
pub(super) fn part_of(rest: &[u8]) -> Option<(u16, &[u8])> {
    let colon = rest.iter().position(|byte| *byte == b':')?;
    Some((std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?, &rest[colon + 1..]))
}

/// The hash in which a view's documents remember their places in its indexes.
pub(super) fn places(prefix: &str, view: &str) -> Vec<u8> {
    let mut out = of_view(&format!("{prefix}%places:"), view);
    out.pop();
    out
}

/// A key that nothing is ever under.
pub(super) fn never(prefix: &str) -> Vec<u8> {
    format!("{prefix}%never").into_bytes()
}

/// Where a document that leaves the lane is kept until all lanes have what its new key is.
pub(super) fn moved(prefix: &str, view: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    [&of_view(&format!("{prefix}%moved:"), view), old, b"%>", new].concat()
}

/// A MATCH pattern for exactly the keys that start with `start`.
pub(super) fn pattern(start: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(start.len() + 8);
    for &byte in start {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'*');
    out
}

/// The part of `prefix` that alone decides a key's cluster slot, if it has one.
pub(super) fn hash_tag(prefix: &str) -> Option<&str> {
    let (_, rest) = prefix.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_never_takes_another_views_keys() {
        assert_eq!(of_view("p:", "a"), b"p:a:");
        assert_eq!(of_view("p:", "a:b"), b"p:a%3Ab:");
        assert!(!of_view("", "a:b").starts_with(&of_view("", "a")));
        assert_eq!(of_view("", ""), b"%E:");
        assert_eq!(index("p:", "a:b", 1, b"\0x"), b"p:%index:a%3Ab:1:\0x");
        assert_eq!(places("p:", "a"), b"p:%places:a");
        assert!(!index("", "a", 0, b"").starts_with(&of_view("", "%index")));
    }

    #[test]
    fn a_set_says_which_part_of_which_index_it_is() {
        let set = index("p:", "a:b", 12, b"\0:x");
        assert_eq!(part_of(&set[of_indexes("p:", "a:b").len()..]), Some((12, &b"\0:x"[..])));
        assert_eq!(part_of(b"x:y"), None);
    }

    #[test]
    fn a_pattern_takes_no_character_for_a_wildcard() {
        assert_eq!(pattern(b"a*[b]\\?:"), b"a\\*\\[b\\]\\\\\\?:*");
    }

    #[test]
    fn only_a_closed_filled_tag_is_a_hash_tag() {
        assert_eq!(hash_tag("{shop}:"), Some("shop"));
        assert_eq!(hash_tag("a{b}{c}"), Some("b"));
        assert_eq!(hash_tag("{}{c}"), None);
        assert_eq!(hash_tag("{shop:"), None);
    }
}
