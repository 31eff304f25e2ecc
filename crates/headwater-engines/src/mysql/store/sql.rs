//! Values as literals and as fields of a file, and statements put together to packets. The only place where a value becomes SQL.
//!
//! Sessions speak UTF-8 and read backslashes in texts ([`super::SETUP`]), so what is escaped here cannot leave its quotes.

/// A value on its way into a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Datum {
    /// Digits and what belongs to them: the same wherever it is written.
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
}

impl Datum {
    /// Appends the literal.
    pub fn push(&self, out: &mut Vec<u8>) {
        match self {
            Datum::Number(number) => out.extend_from_slice(number.as_bytes()),
            Datum::Text(value) => text(value, out),
            Datum::Bytes(value) => bytes(value, out),
        }
    }

    /// Of the literal, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Datum::Number(number) => number.len(),
            Datum::Text(value) => {
                2 + value.len() + value.bytes().filter(|byte| matches!(byte, b'\'' | b'\\' | 0)).count()
            }
            Datum::Bytes(value) => 3 + 2 * value.len(),
        }
    }

    /// Appends what LOAD DATA reads as this value, where fields end with tabs, lines with line feeds, and no character set is
    /// given.
    pub fn push_field(&self, out: &mut Vec<u8>) {
        let mut rest = match self {
            Datum::Number(value) | Datum::Text(value) => value.as_bytes(),
            Datum::Bytes(value) => value,
        };
        while let Some(place) = rest.iter().position(|byte| matches!(byte, b'\t' | b'\n' | b'\\' | 0)) {
            out.extend_from_slice(&rest[..place]);
            out.extend_from_slice(match rest[place] {
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                b'\\' => b"\\\\",
                _ => b"\\0",
            });
            rest = &rest[place + 1..];
        }
        out.extend_from_slice(rest);
    }

    pub fn literal(&self) -> String {
        string(|out| self.push(out))
    }
}

/// Appends a text between quotes.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = text.as_bytes();
    while let Some(place) = rest.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0)) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(match rest[place] {
            b'\'' => b"''",
            b'\\' => b"\\\\",
            _ => b"\\0",
        });
        rest = &rest[place + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// Appends bytes as the server reads them.
pub(super) fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"X'");
    for byte in bytes {
        out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.push(b'\'');
}

pub(super) fn text_of(value: &str) -> String {
    string(|out| text(value, out))
}

pub(super) fn bytes_of(value: &[u8]) -> String {
    string(|out| bytes(value, out))
}

fn string(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    // Texts stay texts: only whole ASCII characters were put in.
    String::from_utf8_lossy(&out).into_owned()
}

/// Texts in parentheses.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    string(|out| {
        out.push(b'(');
        for (place, value) in texts.into_iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            text(value, out);
        }
        out.push(b')');
    })
}

/// `head item, item, … tail` as often as it takes to stay below so many bytes and items; an item that is larger stands alone.
pub(super) fn statements(
    head: &str,
    items: &[Vec<u8>],
    tail: &str,
    bytes_max: usize,
    items_max: usize,
) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut count = 0;
    for item in items {
        match out.last_mut() {
            Some(last) if count < items_max && last.len() + item.len() + tail.len() < bytes_max => {
                last.push(b',');
                last.extend_from_slice(item);
                count += 1;
            }
            last => {
                last.into_iter().for_each(|last| last.extend_from_slice(tail.as_bytes()));
                out.push([head.as_bytes(), item].concat());
                count = 1;
            }
        }
    }
    out.last_mut().into_iter().for_each(|last| last.extend_from_slice(tail.as_bytes()));
    out
}

/// Statements that go to the server together, below so many bytes; one that is larger goes alone.
pub(super) fn packets(statements: Vec<Vec<u8>>, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for statement in statements {
        match out.last_mut() {
            Some(last) if last.len() + statement.len() < bytes_max => {
                last.push(b';');
                last.extend_from_slice(&statement);
            }
            _ => out.push(statement),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        assert_eq!(text_of("a'b\\'\0 \"é"), "'a''b\\\\''\\0 \"é'");
        assert_eq!(text_of("\\"), "'\\\\'");
        assert_eq!(bytes_of(&[0, 0xff, b'\'']), "X'00FF27'");
        assert_eq!(list(["a", "'"]), "('a','''')");
    }

    #[test]
    fn a_field_cannot_end_early_and_literals_are_as_long_as_they_say() {
        let field = |datum: &Datum| string(|out| datum.push_field(out));
        assert_eq!(field(&Datum::Text("a\t\nb\\N\0'é".into())), "a\\t\\nb\\\\N\\0'é");
        assert_eq!(field(&Datum::Bytes(b"\\\\\n".into())), "\\\\\\\\\\n");
        let all =
            [Datum::Number("-1.5e3".into()), Datum::Text("it's \\ \0 é".into()), Datum::Bytes(vec![0, 255])];
        for datum in all {
            assert_eq!(datum.len(), datum.literal().len(), "{datum:?}");
        }
    }

    #[test]
    fn statements_and_packets_stay_below_their_bounds() {
        let items: Vec<Vec<u8>> = ["(1)", "(2)", "(33333333333333333333)", "(4)"].map(|i| i.into()).into();
        let text = |all: Vec<Vec<u8>>| -> Vec<String> {
            all.into_iter().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
        };
        assert_eq!(
            text(statements("V ", &items, ";", 12, 9)),
            ["V (1),(2);", "V (33333333333333333333);", "V (4);"]
        );
        assert_eq!(statements("V ", &items, "", 1000, 3).len(), 2);
        assert!(statements("V ", &[], ";", 12, 9).is_empty());
        assert_eq!(text(packets(items, 8)), ["(1);(2)", "(33333333333333333333)", "(4)"]);
    }
}
