//! MySQL's JSON as it lies in the binary log, printed as the server prints it.
//!
//! The format is described in MySQL's `json_binary.h`. What lies there came over a network, so every offset is checked, and
//! depth is bounded as it is at the server.

use headwater_model::{Error, Result};

use super::cell::{Bytes, decimal};

/// The server's own bound.
const DEPTH_MAX: usize = 100;

/// The JSON text of a binary document; none at all is how an empty one is written.
pub(super) fn text(document: &[u8]) -> Result<String> {
    let mut out = String::with_capacity(document.len());
    match document.split_first() {
        None => out.push_str("null"),
        Some((kind, rest)) => value(*kind, rest, 0, &mut out)?,
    }
    Ok(out)
}

fn wrong() -> Error {
    Error::corrupt("a JSON value of the binary log cannot be read")
}

fn value(kind: u8, bytes: &[u8], depth: usize, out: &mut String) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(wrong());
    }
    let mut rest = Bytes(bytes);
    match kind {
        0 | 1 => container(bytes, true, kind == 1, depth, out)?,
        2 | 3 => container(bytes, false, kind == 3, depth, out)?,
        4 => literal(rest.u8()?, out)?,
        5 => out.push_str(&(rest.le(2)? as i16).to_string()),
        6 => out.push_str(&(rest.le(2)? as u16).to_string()),
        7 => out.push_str(&(rest.le(4)? as i32).to_string()),
        8 => out.push_str(&(rest.le(4)? as u32).to_string()),
        9 => out.push_str(&(rest.le(8)? as i64).to_string()),
        10 => out.push_str(&rest.le(8)?.to_string()),
        11 => double(f64::from_bits(rest.le(8)?), out),
        12 => {
            let length = variable(&mut rest)?;
            string(rest.take(length)?, out)?;
        }
        15 => {
            let kind = rest.u8()?;
            let length = variable(&mut rest)?;
            opaque(kind, rest.take(length)?, out)?;
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn container(bytes: &[u8], object: bool, large: bool, depth: usize, out: &mut String) -> Result<()> {
    let width = if large { 4 } else { 2 };
    let mut head = Bytes(bytes);
    let count = head.le(width)? as usize;
    let size = head.le(width)? as usize;
    let bytes = bytes.get(..size).ok_or_else(wrong)?;
    let keys = if object { count.checked_mul(width + 2).ok_or_else(wrong)? } else { 0 };
    let mut keys = Bytes(head.take(keys)?);
    out.push(if object { '{' } else { '[' });
    for place in 0..count {
        if place > 0 {
            out.push_str(", ");
        }
        if object {
            let (at, length) = (keys.le(width)? as usize, keys.le(2)? as usize);
            let end = at.checked_add(length).ok_or_else(wrong)?;
            string(bytes.get(at..end).ok_or_else(wrong)?, out)?;
            out.push_str(": ");
        }
        let kind = head.u8()?;
        let entry = head.take(width)?;
        match kind {
            // Small enough to stand in the entry itself.
            4..=6 => value(kind, entry, depth + 1, out)?,
            7 | 8 if large => value(kind, entry, depth + 1, out)?,
            _ => {
                let at = Bytes(entry).le(width)? as usize;
                value(kind, bytes.get(at..).ok_or_else(wrong)?, depth + 1, out)?;
            }
        }
    }
    out.push(if object { '}' } else { ']' });
    Ok(())
}

fn literal(kind: u8, out: &mut String) -> Result<()> {
    out.push_str(match kind {
        0 => "null",
        1 => "true",
        2 => "false",
        _ => return Err(wrong()),
    });
    Ok(())
}

/// A double stays one when it is read again. The server writes an exponent where the point would lie more than fifteen digits
/// behind the first digit, or as far before it.
fn double(f: f64, out: &mut String) {
    let short = format!("{f:e}");
    let exponent = short.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    if !exponent.is_some_and(|exponent| (-15..15).contains(&exponent)) {
        return out.push_str(&short);
    }
    let text = f.to_string();
    out.push_str(&text);
    if !text.contains('.') {
        out.push_str(".0");
    }
}

/// A length of seven bits per byte, the lowest first.
fn variable(bytes: &mut Bytes<'_>) -> Result<usize> {
    let mut length = 0usize;
    for shift in (0..35).step_by(7) {
        let byte = bytes.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(wrong())
}

fn string(bytes: &[u8], out: &mut String) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    out.push_str(&serde_json::to_string(text).map_err(|_| wrong())?);
    Ok(())
}

/// A value of an SQL type: decimals are numbers, moments texts, anything else what the server prints for it.
fn opaque(kind: u8, bytes: &[u8], out: &mut String) -> Result<()> {
    let mut rest = Bytes(bytes);
    match kind {
        246 => {
            let (precision, scale) = (usize::from(rest.u8()?), usize::from(rest.u8()?));
            out.push_str(&decimal(&mut rest, precision, scale)?);
        }
        // DATE, TIME, DATETIME and TIMESTAMP, packed into eight bytes.
        10 | 11 | 7 | 12 => {
            let packed = rest.le(8)? as i64;
            let (n, micros) = (packed.abs() >> 24, packed.abs() & 0xff_ffff);
            let clock = |n: i64| format!("{:02}:{:02}:{:02}.{micros:06}", n >> 12, n >> 6 & 63, n & 63);
            let date = (n >> 17 >> 5, n >> 17 & 31);
            let date = format!("{:04}-{:02}-{:02}", date.0 / 13, date.0 % 13, date.1);
            let text = match kind {
                10 => date,
                11 => format!("{}{}", if packed < 0 { "-" } else { "" }, clock(n)),
                _ => format!("{date} {}", clock(n & 0x1_ffff)),
            };
            string(text.as_bytes(), out)?;
        }
        kind => string(format!("base64:type{kind}:{}", base64(bytes)).as_bytes(), out)?,
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => out.push(char::from(DIGITS[(n >> (18 - 6 * place) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_print_as_the_server_prints_them() {
        // {"a": 1, "b": "x"}: two keys, 27 bytes; entries of keys (offset, length), then of values (type, offset or value).
        let document = [0, 2, 0, 22, 0, 18, 0, 1, 0, 19, 0, 1, 0, 5, 1, 0, 12, 20, 0, b'a', b'b', 1, b'x'];
        assert_eq!(text(&document).unwrap(), r#"{"a": 1, "b": "x"}"#);
        // [true, null, -2]
        let array = [2, 3, 0, 13, 0, 4, 1, 0, 4, 0, 0, 5, 0xfe, 0xff];
        assert_eq!(text(&array).unwrap(), "[true, null, -2]");
        let decimal = [15, 246, 9, 14, 4, 0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(&decimal).unwrap(), "1234567890.1234");
        let mut double = vec![11];
        double.extend(3f64.to_le_bytes());
        assert_eq!(text(&double).unwrap(), "3.0");
        for (f, printed) in [
            (-0.0, "-0.0"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (1.5e-15, "0.0000000000000015"),
            (1.5e-16, "1.5e-16"),
            (1.2345678901234568e17, "1.2345678901234568e17"),
        ] {
            let bytes = [&[11][..], &f64::to_le_bytes(f)].concat();
            assert_eq!(text(&bytes).unwrap(), printed);
        }
        assert_eq!(text(&[12, 2, b'h', b'"']).unwrap(), r#""h\"""#);
        assert_eq!(text(&[15, 252, 1, 7]).unwrap(), r#""base64:type252:Bw==""#);
    }

    #[test]
    fn what_points_outside_of_the_document_is_an_error() {
        assert!(text(&[0, 1, 0, 5, 0]).is_err());
        assert!(text(&[2, 1, 0, 7, 0, 2, 0, 9]).is_err());
        assert!(text(&[12, 9, b'x']).is_err());
        // An array that holds itself.
        assert!(text(&[2, 1, 0, 7, 0, 2, 0, 0]).is_err());
    }
}
