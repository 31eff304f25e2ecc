//! Requests as bytes: arrays of bulk strings, or lines typed by hand.
//!
//! Owns: where the arguments of the next request lie in the bytes that have come. Copies nothing but the arguments of
//! lines, which may be quoted. Does not own: what the arguments mean.
//!
//! Invariants: no byte sequence panics; nothing is reserved by what a client merely announces; a request takes at most
//! [`Bounds`]. The crate `redis-protocol` was measured beside this: its frames are a vector per request and take three to
//! four times as long (of 64 pipelined GETs, about 60 to 120 ns each against 16 to 35).

use std::ops::Range;

/// What one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub args: usize,
    /// Of one argument.
    pub arg_bytes: usize,
    /// Of the whole request.
    pub bytes: usize,
}

impl Bounds {
    /// Of somebody who has shown a token, or needs none.
    pub const KNOWN: Bounds = Bounds { args: 1_025, arg_bytes: 512 << 10, bytes: 1 << 20 };
    /// Of somebody who has not: enough for `HELLO 3 AUTH name token SETNAME name`.
    pub const UNKNOWN: Bounds = Bounds { args: 10, arg_bytes: 16 << 10, bytes: 32 << 10 };
}

/// A line typed by hand is no longer than this.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Digits of a length: more are an attack.
const LENGTH_DIGITS_MAX: usize = 20;

/// The arguments of a request. Kept for the next one, so that nothing is allocated per request.
#[derive(Debug, Default)]
pub struct Args {
    at: Vec<Range<usize>>,
    /// The arguments of a line, without quotes.
    line: Vec<u8>,
    in_line: bool,
}

impl Args {
    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The argument at `place`; `input` is what was parsed.
    pub fn get<'a>(&'a self, input: &'a [u8], place: usize) -> &'a [u8] {
        let bytes = if self.in_line { &self.line } else { input };
        self.at.get(place).and_then(|at| bytes.get(at.clone())).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.at.clear();
        self.line.clear();
        self.in_line = false;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request of so many bytes. One without arguments asks nothing.
    Whole(usize),
    /// Not before there are so many bytes in all.
    Partial(usize),
}

/// What is wrong, in Redis' words. The connection cannot go on: where the next request begins is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

fn malformed<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(format!("ERR Protocol error: {what}")))
}

/// Finds the request at the start of `input`.
pub fn parse(input: &[u8], bounds: &Bounds, args: &mut Args) -> Result<Parsed, Malformed> {
    args.clear();
    match input.first() {
        None => Ok(Parsed::Partial(1)),
        Some(b'*') => array(input, bounds, args),
        Some(_) => line(input, bounds, args),
    }
}

fn array(input: &[u8], bounds: &Bounds, args: &mut Args) -> Result<Parsed, Malformed> {
    let Some((count, mut at)) = length(input, 1, "invalid multibulk length")? else {
        return Ok(Parsed::Partial(input.len() + 1));
    };
    // As Redis: an array that is empty or null asks nothing.
    let Ok(count) = usize::try_from(count) else { return Ok(Parsed::Whole(at)) };
    if count > bounds.args {
        return malformed(&format!("invalid multibulk length: at most {} arguments", bounds.args));
    }
    for _ in 0..count {
        match input.get(at) {
            None => return Ok(Parsed::Partial(at + 1)),
            Some(b'$') => {}
            Some(other) => {
                return malformed(&format!("expected '$', got '{}'", char::from(*other).escape_default()));
            }
        }
        let Some((bytes, from)) = length(input, at + 1, "invalid bulk length")? else {
            return Ok(Parsed::Partial(input.len() + 1));
        };
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bounds.arg_bytes);
        let Some(bytes) = bytes else {
            return malformed(&format!("invalid bulk length: at most {} bytes", bounds.arg_bytes));
        };
        let end = from + bytes;
        if end > bounds.bytes {
            return malformed(&format!("the request is longer than {} bytes", bounds.bytes));
        }
        if input.len() < end + 2 {
            return Ok(Parsed::Partial(end + 2));
        }
        if &input[end..end + 2] != b"\r\n" {
            return malformed("a bulk string is longer than it says");
        }
        args.at.push(from..end);
        at = end + 2;
    }
    Ok(Parsed::Whole(at))
}

/// The number that stands at `from`, and where what follows its line begins; `None` while the line is not whole.
fn length(input: &[u8], from: usize, what: &str) -> Result<Option<(i64, usize)>, Malformed> {
    let mut number: i64 = 0;
    let mut at = from;
    let negative = input.get(at) == Some(&b'-');
    if negative {
        at += 1;
    }
    let digits_from = at;
    loop {
        match input.get(at) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') if at - digits_from < LENGTH_DIGITS_MAX => {
                let digit = i64::from(digit - b'0');
                match number.checked_mul(10).and_then(|n| n.checked_add(digit)) {
                    Some(n) => number = n,
                    None => return malformed(what),
                }
            }
            Some(b'\r') if at > digits_from => break,
            Some(_) => return malformed(what),
        }
        at += 1;
    }
    match input.get(at + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((if negative { -number } else { number }, at + 2))),
        Some(_) => malformed(what),
    }
}

fn line(input: &[u8], bounds: &Bounds, args: &mut Args) -> Result<Parsed, Malformed> {
    let seen = &input[..input.len().min(INLINE_BYTES_MAX)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        if input.len() >= INLINE_BYTES_MAX {
            return malformed("too big inline request");
        }
        return Ok(Parsed::Partial(input.len() + 1));
    };
    let text = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    args.in_line = true;
    split(text, args)?;
    if args.len() > bounds.args {
        return malformed(&format!("at most {} arguments", bounds.args));
    }
    Ok(Parsed::Whole(end + 1))
}

/// Words apart by spaces, with quotes as in a shell: `"a\x41\n"`, `'it\'s'`.
fn split(text: &[u8], args: &mut Args) -> Result<(), Malformed> {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(());
        }
        let from = args.line.len();
        rest = word(rest, &mut args.line)?;
        args.at.push(from..args.line.len());
    }
}

fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    const UNBALANCED: &str = "unbalanced quotes in request";
    while let Some((first, after)) = rest.split_first() {
        match first {
            byte if byte.is_ascii_whitespace() => break,
            quote @ (b'"' | b'\'') => {
                rest = quoted(after, *quote, out).ok_or(()).or_else(|()| malformed(UNBALANCED))?;
                if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                    return malformed(UNBALANCED);
                }
                break;
            }
            byte => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    Ok(rest)
}

/// The text up to the closing quote, and what follows it.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            byte if *byte == quote => return Some(rest),
            b'\\' if quote == b'"' => match rest {
                [b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(hex(*high) << 4 | hex(*low));
                    rest = after;
                }
                [escaped, after @ ..] => {
                    out.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => *other,
                    });
                    rest = after;
                }
                [] => return None,
            },
            b'\\' if rest.first() == Some(&b'\'') => {
                out.push(b'\'');
                rest = &rest[1..];
            }
            byte => out.push(*byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(input: &[u8]) -> Result<(Parsed, Vec<Vec<u8>>), Malformed> {
        let mut args = Args::default();
        let parsed = parse(input, &Bounds::KNOWN, &mut args)?;
        Ok((parsed, (0..args.len()).map(|i| args.get(input, i).to_vec()).collect()))
    }

    fn encode(args: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            out.extend_from_slice(arg);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    #[track_caller]
    fn refused(input: &[u8], says: &str) {
        match words(input) {
            Err(Malformed(text)) => assert!(text.contains(says), "{text}"),
            Ok(parsed) => panic!("{parsed:?}"),
        }
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        let line = b"SET  \"a\\x41\\n\\\"\" 'it\\'s' plain\r\nrest";
        let expected = vec![b"SET".to_vec(), b"aA\n\"".to_vec(), b"it's".to_vec(), b"plain".to_vec()];
        assert_eq!(words(line), Ok((Parsed::Whole(line.len() - 4), expected)));
        assert_eq!(words(b"\n"), Ok((Parsed::Whole(1), vec![])));
        refused(b"GET \"a\r\n", "unbalanced quotes");
        refused(b"GET 'a'b\r\n", "unbalanced quotes");
        refused(&[b'a'; INLINE_BYTES_MAX], "too big inline request");
    }

    #[test]
    fn lengths_that_no_request_may_have_are_refused_before_anything_comes() {
        refused(b"*99999999999999999999999\r\n", "invalid multibulk length");
        refused(b"*9223372036854775807\r\n", "invalid multibulk length");
        refused(b"*1026\r\n", "invalid multibulk length");
        refused(b"*1\r\n$9223372036854775807\r\n", "invalid bulk length");
        refused(b"*1\r\n$-1\r\n", "invalid bulk length");
        refused(b"*1\r\n$600000\r\n", "invalid bulk length");
        refused(b"*x\r\n", "invalid multibulk length");
        refused(b"*\r\n", "invalid multibulk length");
        refused(b"*1\r\n*1\r\n", "expected '$', got '*'");
        refused(b"*1\r\n$1\r\nabc", "longer than it says");
        assert_eq!(words(b"*-1\r\n"), Ok((Parsed::Whole(5), vec![])));
        assert_eq!(words(b"*0\r\n"), Ok((Parsed::Whole(4), vec![])));
    }

    #[test]
    fn a_request_as_a_whole_is_bounded() {
        let args = vec![vec![b'x'; 400 << 10]; 3];
        refused(&encode(&args), "the request is longer");
    }

    #[test]
    fn what_is_announced_reserves_nothing() {
        let mut args = Args::default();
        let announced = b"*1000\r\n$500000\r\n";
        assert_eq!(
            parse(announced, &Bounds::KNOWN, &mut args),
            Ok(Parsed::Partial(announced.len() + 500_002))
        );
        assert!(args.at.capacity() < 8);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = words(&input);
        }

        #[test]
        fn bytes_that_look_like_requests_are_parsed_or_refused(input in "[*$0-9\\-\r\n\"'x\\\\a]{0,60}") {
            if let Ok((Parsed::Whole(consumed), _)) = words(input.as_bytes()) {
                prop_assert!(consumed <= input.len() && consumed > 0);
            }
        }

        #[test]
        fn a_request_is_found_wherever_it_is_cut(
            args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
            more in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let whole = encode(&args);
            for cut in 0..whole.len() {
                match words(&whole[..cut]) {
                    Ok((Parsed::Partial(needed), _)) => prop_assert!(needed > cut && needed <= whole.len()),
                    other => prop_assert!(false, "cut at {cut}: {other:?}"),
                }
            }
            let mut input = whole.clone();
            input.extend_from_slice(&more);
            prop_assert_eq!(words(&input), Ok((Parsed::Whole(whole.len()), args)));
        }
    }
}
