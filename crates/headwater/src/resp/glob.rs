//! Redis' patterns: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant as it stands.

/// Whether `text` as a whole is of the pattern. Goes back to the last `*` only, so the time is bounded by the product of
/// the lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        match (text.get(t), one(pattern, p)) {
            (None, None) if p == pattern.len() => return true,
            (None, _) => return false,
            (Some(byte), Some(one)) if one.takes(*byte) => {
                p = one.end;
                t += 1;
            }
            _ => {
                let Some((behind, taken)) = star else { return false };
                star = Some((behind, taken + 1));
                (p, t) = (behind, taken + 1);
            }
        }
    }
}

/// What every text of the pattern begins with.
pub fn prefix(pattern: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => break,
            b'\\' => out.extend(bytes.next()),
            byte => out.push(*byte),
        }
    }
    out
}

/// What one byte of the text must be.
struct One<'a> {
    kind: OneKind<'a>,
    /// Where the pattern goes on.
    end: usize,
}

enum OneKind<'a> {
    Any,
    This(u8),
    Set { not: bool, set: &'a [u8] },
}

fn one(pattern: &[u8], at: usize) -> Option<One<'_>> {
    let (kind, end) = match pattern.get(at)? {
        b'?' => (OneKind::Any, at + 1),
        b'\\' => match pattern.get(at + 1) {
            Some(byte) => (OneKind::This(*byte), at + 2),
            None => (OneKind::This(b'\\'), at + 1),
        },
        b'[' => {
            let not = pattern.get(at + 1) == Some(&b'^');
            let from = at + 1 + usize::from(not);
            let mut end = from;
            while pattern.get(end).is_some_and(|byte| *byte != b']') {
                end += if pattern[end] == b'\\' { 2 } else { 1 };
            }
            let end = end.min(pattern.len());
            (OneKind::Set { not, set: &pattern[from..end] }, (end + 1).min(pattern.len()))
        }
        byte => (OneKind::This(*byte), at + 1),
    };
    Some(One { kind, end })
}

impl One<'_> {
    fn takes(&self, byte: u8) -> bool {
        match self.kind {
            OneKind::Any => true,
            OneKind::This(this) => this == byte,
            OneKind::Set { not, set } => in_set(set, byte) != not,
        }
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    loop {
        match set {
            [] => return false,
            [b'\\', this, rest @ ..] => {
                if *this == byte {
                    return true;
                }
                set = rest;
            }
            [from, b'-', to, rest @ ..] => {
                if (*from.min(to)..=*from.max(to)).contains(&byte) {
                    return true;
                }
                set = rest;
            }
            [this, rest @ ..] => {
                if *this == byte {
                    return true;
                }
                set = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_redis() {
        let yes = [
            ("*", ""),
            ("", ""),
            ("book:*", "book:1"),
            ("b?ok", "book"),
            ("b[a-o]ok", "book"),
            ("b[^x]ok", "book"),
            ("a\\*b", "a*b"),
            ("*a*b*", "xxaxxbxx"),
            ("[\\]]", "]"),
            ("h[ae]llo*", "hallo welt"),
            ("a\\", "a\\"),
        ];
        let no = [
            ("", "a"),
            ("book:*", "books"),
            ("b?ok", "bok"),
            ("b[^o]ok", "book"),
            ("a\\*b", "axb"),
            ("[", "a"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        assert_eq!(prefix(b"book\\*:1*[a]"), b"book*:1");
    }

    #[test]
    fn many_stars_take_no_time() {
        let (pattern, text) = ("a*".repeat(50) + "b", "a".repeat(10_000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[\\*\\?\\[\\]\\^\\\\a-c-]{0,12}", text in "[abc\\]\\\\]{0,12}") {
            let matched = matches(pattern.as_bytes(), text.as_bytes());
            if matched {
                prop_assert!(text.as_bytes().starts_with(&prefix(pattern.as_bytes())));
            }
        }
    }
}
