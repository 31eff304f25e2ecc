//! Replies as bytes, in the version of the protocol that the client has chosen.

/// Which protocol a client speaks: 2 until it says `HELLO 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Two,
    Three,
}

pub fn simple(text: &str, out: &mut Vec<u8>) {
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `text` begins with the error's word in capitals. It may quote what a client sent: line breaks would begin a reply of
/// their own.
pub fn error(text: &str, out: &mut Vec<u8>) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if byte < b' ' { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

pub fn integer(number: i64, out: &mut Vec<u8>) {
    head(b':', number, out);
}

pub fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    head(b'$', bytes.len() as i64, out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Nothing is there.
pub fn null(protocol: Protocol, out: &mut Vec<u8>) {
    out.extend_from_slice(match protocol {
        Protocol::Two => b"$-1\r\n",
        Protocol::Three => b"_\r\n",
    });
}

/// Nothing, where an array was expected.
pub fn null_array(protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Two => out.extend_from_slice(b"*-1\r\n"),
        Protocol::Three => null(protocol, out),
    }
}

pub fn array(length: usize, out: &mut Vec<u8>) {
    head(b'*', length as i64, out);
}

/// The head of a map of so many pairs: an array of twice as many for [`Protocol::Two`].
pub fn map(pairs: usize, protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Two => head(b'*', 2 * pairs as i64, out),
        Protocol::Three => head(b'%', pairs as i64, out),
    }
}

/// A number as it is written in the source; no digit is lost.
pub fn double(text: &str, protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Two => bulk(text.as_bytes(), out),
        Protocol::Three => {
            out.push(b',');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A text of several lines for people.
pub fn verbatim(text: &str, protocol: Protocol, out: &mut Vec<u8>) {
    match protocol {
        Protocol::Two => bulk(text.as_bytes(), out),
        Protocol::Three => {
            head(b'=', 4 + text.len() as i64, out);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The head of a reply whose size is known only when it is written: make room at `from`, which has been remembered.
pub fn map_at(from: usize, pairs: usize, protocol: Protocol, out: &mut Vec<u8>) {
    let body = out.len();
    map(pairs, protocol, out);
    let head = out.len() - body;
    out[from..].rotate_right(head);
}

/// Like [`map_at`], of an array.
pub fn array_at(from: usize, length: usize, out: &mut Vec<u8>) {
    let body = out.len();
    array(length, out);
    let head = out.len() - body;
    out[from..].rotate_right(head);
}

fn head(kind: u8, number: i64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let mut out = Vec::new();
        error("ERR unknown command 'a\r\n+OK'", &mut out);
        assert_eq!(out, b"-ERR unknown command 'a  +OK'\r\n");
    }

    #[test]
    fn a_head_that_is_written_last_stands_first() {
        let mut out = b"before".to_vec();
        let from = out.len();
        bulk(b"a", &mut out);
        bulk(b"1", &mut out);
        map_at(from, 1, Protocol::Three, &mut out);
        assert_eq!(out, b"before%1\r\n$1\r\na\r\n$1\r\n1\r\n");
    }
}
