//! Line protocol and InfluxQL: names and values written so that they come back as they were, and end nothing early.
//!
//! Invariant: two different texts are two different names. What line protocol cannot carry in a name (control characters, a
//! backslash, nothing at all) is written as `%XX`, and so is `%`.

/// A text as the name of a measurement, a tag or a field, or as the value of a tag.
pub(super) fn name(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            // Would begin a comment.
            '#' if at == 0 => out.push_str("%23"),
            '%' | '\\' | '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("%{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// A name, as line protocol has it.
pub(super) fn push_name(name: &str, out: &mut String) {
    for c in name.chars() {
        if matches!(c, ',' | ' ' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
}

/// A measurement's name: an equals sign means nothing there.
pub(super) fn push_measurement(name: &str, out: &mut String) {
    for c in name.chars() {
        if matches!(c, ',' | ' ') {
            out.push('\\');
        }
        out.push(c);
    }
}

/// A text as a field's value.
pub(super) fn push_text(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    for (at, special) in text.match_indices(['"', '\\']) {
        out.push_str(&text[from..at]);
        out.push('\\');
        out.push_str(special);
        from = at + special.len();
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// A name in InfluxQL.
pub(super) fn identifier(name: &str) -> String {
    quoted(name, '"')
}

/// A text in InfluxQL.
pub(super) fn literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart_and_end_nothing() {
        let texts =
            ["", "%", "%25", "a\\", "a", "a\n", "a\\n", "#a", "%23a", "a b", "a,b=c", "é\0", "\u{7f}"];
        let mut names: Vec<String> = texts.iter().map(|text| name(text)).collect();
        assert!(names.iter().all(|name| !name.contains('\\') && !name.contains(char::is_control)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), texts.len());
        let mut line = String::new();
        push_name(&name("a b,c=d"), &mut line);
        assert_eq!(line, "a\\ b\\,c\\=d");
        line.clear();
        push_text("say \"hi\"\\", &mut line);
        assert_eq!(line, "\"say \\\"hi\\\"\\\\\"");
        assert_eq!(literal("it's \\ \n"), "'it\\'s \\\\ \\n'");
        assert_eq!(identifier("a\"; DROP"), "\"a\\\"; DROP\"");
    }
}
