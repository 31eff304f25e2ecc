//! Rows on their way to the server: as lines of a COPY, and as arrays that `unnest` takes apart.

/// Lines of COPY's text form.
#[derive(Default)]
pub(super) struct Lines {
    pub bytes: Vec<u8>,
    begun: bool,
}

impl Lines {
    pub fn cell(&mut self, cell: Option<&str>) {
        if self.begun {
            self.bytes.push(b'\t');
        }
        self.begun = true;
        let Some(text) = cell else {
            self.bytes.extend_from_slice(b"\\N");
            return;
        };
        let escape = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
        let mut rest = text.as_bytes();
        while let Some(place) = rest.iter().position(escape) {
            self.bytes.extend_from_slice(&rest[..place]);
            self.bytes.push(b'\\');
            self.bytes.push(match rest[place] {
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                other => other,
            });
            rest = &rest[place + 1..];
        }
        self.bytes.extend_from_slice(rest);
    }

    pub fn end(&mut self) {
        self.bytes.push(b'\n');
        self.begun = false;
    }
}

/// A one-dimensional array in text form. Every element is quoted, so none can be mistaken for syntax.
#[derive(Default)]
pub(super) struct Array(String);

impl Array {
    pub fn push(&mut self, cell: Option<&str>) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        let Some(text) = cell else {
            self.0.push_str("NULL");
            return;
        };
        self.0.push('"');
        let mut rest = text;
        while let Some(place) = rest.find(['"', '\\']) {
            self.0.push_str(&rest[..place]);
            self.0.push('\\');
            self.0.push_str(&rest[place..=place]);
            rest = &rest[place + 1..];
        }
        self.0.push_str(rest);
        self.0.push('"');
    }

    pub fn text(self) -> String {
        if self.0.is_empty() { "{}".into() } else { self.0 + "}" }
    }

    pub fn of<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
        let mut array = Array::default();
        cells.into_iter().for_each(|cell| array.push(Some(cell)));
        array.text()
    }
}

/// Bytes as `bytea` reads them.
pub(super) fn bytea(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_break_out() {
        let mut lines = Lines::default();
        for cell in [Some("a\tb\\\n\r"), None, Some(""), Some("\\N"), Some("é")] {
            lines.cell(cell);
        }
        lines.end();
        assert_eq!(lines.bytes, "a\\tb\\\\\\n\\r\t\\N\t\t\\\\N\té\n".as_bytes());
        assert_eq!(Array::of([]), "{}");
        assert_eq!(Array::of(["a\"b\\c", "", "NULL", "é,}"]), r#"{"a\"b\\c","","NULL","é,}"}"#);
        assert_eq!(bytea(&[0, 0xff]), "\\x00ff");
    }
}
