//! The wire protocol (RESP2): commands are written into a reused buffer, replies are cut into tokens where they lie.
//!
//! Owns the bytes only, not the socket. Written by hand because it is the hot path: a million writes are a million
//! commands and two million replies, and nothing here allocates per command or per reply.

use std::ops::Range;

/// Appends a command's header: `args` arguments follow, the command's name included.
pub(super) fn command(args: usize, out: &mut Vec<u8>) {
    out.push(b'*');
    out.extend_from_slice(itoa::Buffer::new().format(args).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one argument.
pub(super) fn arg(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole command.
pub(super) fn whole(args: &[&[u8]], out: &mut Vec<u8>) {
    command(args.len(), out);
    for bytes in args {
        arg(bytes, out);
    }
}

/// The smallest piece of a reply. Ranges point into the buffer that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Simple(Range<usize>),
    Error(Range<usize>),
    Int(i64),
    /// `None` is nil.
    Bulk(Option<Range<usize>>),
    /// So many tokens' worth of items follow; `None` is nil.
    Array(Option<usize>),
}

/// Bytes that are not RESP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// Cuts the token that starts at `from`; gives it and where the next one starts, or `None` if it is not all there yet.
pub(super) fn cut(bytes: &[u8], from: usize) -> Result<Option<(Token, usize)>, Garbled> {
    let Some(&kind) = bytes.get(from) else { return Ok(None) };
    let text_from = from + 1;
    let Some(length) = bytes[text_from..].iter().position(|b| *b == b'\r') else { return Ok(None) };
    let text = text_from..text_from + length;
    let next = text.end + 2;
    if bytes.len() < next {
        return Ok(None);
    }
    if bytes[text.end + 1] != b'\n' {
        return Err(Garbled);
    }
    let token = match kind {
        b'+' => Token::Simple(text),
        b'-' => Token::Error(text),
        b':' => Token::Int(int(&bytes[text])?),
        b'*' => Token::Array(length_or_nil(&bytes[text])?),
        b'$' => match length_or_nil(&bytes[text])? {
            None => Token::Bulk(None),
            Some(length) => {
                let end = next.checked_add(length).ok_or(Garbled)?;
                if bytes.len() < end + 2 {
                    return Ok(None);
                }
                return Ok(Some((Token::Bulk(Some(next..end)), end + 2)));
            }
        },
        _ => return Err(Garbled),
    };
    Ok(Some((token, next)))
}

fn length_or_nil(text: &[u8]) -> Result<Option<usize>, Garbled> {
    match int(text)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Garbled),
    }
}

fn int(text: &[u8]) -> Result<i64, Garbled> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Garbled)
}

/// A whole reply, for the commands that are not on the hot path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    /// Simple and bulk strings.
    Text(Vec<u8>),
    Error(String),
    Array(Vec<Reply>),
}

impl Reply {
    /// [`Reply::lossy`], of a text without a copy.
    pub(super) fn into_lossy(self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8(bytes)
                .unwrap_or_else(|garbled| String::from_utf8_lossy(garbled.as_bytes()).into_owned()),
            other => other.lossy(),
        }
    }

    pub(crate) fn lossy(&self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Int(n) => n.to_string(),
            Reply::Error(text) => text.clone(),
            Reply::Nil => String::new(),
            Reply::Array(items) => format!("an array of {}", items.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_carry_any_bytes() {
        let mut out = Vec::new();
        whole(&[b"SET", b"a\r\n", b"\xff"], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\na\r\n\r\n$1\r\n\xff\r\n");
    }

    #[test]
    fn a_reply_cut_off_anywhere_waits_for_the_rest() {
        let bytes = b"+OK\r\n-ERR no\r\n:-12\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n*-1\r\n";
        for end in 0..=bytes.len() {
            let (mut at, mut count) = (0, 0);
            while let Some((_, next)) = cut(&bytes[..end], at).expect("valid RESP") {
                at = next;
                count += 1;
            }
            assert_eq!(end == bytes.len(), count == 7, "cut at {end}");
        }
        assert_eq!(cut(bytes, 20), Ok(Some((Token::Bulk(Some(24..27)), 29))));
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b":1x\r\n", b"$-2\r\n", b"+OK\rx"] {
            assert_eq!(cut(bytes, 0), Err(Garbled), "{bytes:?}");
        }
    }
}
