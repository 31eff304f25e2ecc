//! A request's parameters, as they stand in its target.

use headwater_flow::serve::BATCH_KEYS_MAX;
use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};

/// More than any pattern has: a bound on what one target costs.
const PARAMETERS_MAX: usize = 64;

/// The pairs of a query in their order: percent-encoded, `+` for a blank, UTF-8.
pub fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    at_most(PARAMETERS_MAX, query)
}

/// Those of a batch, which gives each parameter once per key.
pub fn batch(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    at_most(PARAMETERS_MAX * BATCH_KEYS_MAX, query)
}

fn at_most(most: usize, query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let query = query.unwrap_or_default();
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == most {
            return Err(Problem::new(Kind::BadParameter, format!("there are more than {most} parameters"))
                .remedy("give each parameter once"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| not_text(name))?;
        let value = decode(value).ok_or_else(|| not_text(&name))?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// `None` if it is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Some(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

fn not_text(name: &str) -> Problem {
    Problem::new(Kind::BadParameter, format!("parameter `{name}` is not UTF-8"))
        .parameter(name)
        .remedy("percent-encode the UTF-8 bytes of names and values")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let read = |query| pairs(Some(query)).ok();
        let own = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>())
        };
        assert_eq!(read("id=1&name=a+b%2Bc"), own(&[("id", "1"), ("name", "a b+c")]));
        assert_eq!(read("&&a&b=&c=d=e"), own(&[("a", ""), ("b", ""), ("c", "d=e")]));
        assert_eq!(read("n%C3%A9e=%E2%82%AC"), own(&[("née", "€")]));
        assert_eq!(read("a=%FF"), None);
        assert_eq!(pairs(None).ok(), own(&[]));
        assert_eq!(read(&"a&".repeat(PARAMETERS_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_as_it_was(name in "\\PC{1,20}", value in "\\PC{0,20}") {
            use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let read = pairs(Some(&format!("{}={}", encode(&name), encode(&value)))).ok();
            prop_assert_eq!(read, Some(vec![(name, value)]));
        }

        #[test]
        fn any_text_is_read_or_refused(query in "\\PC{0,200}") {
            let _ = pairs(Some(&query));
        }
    }
}
