//! Positions as readers write them where a file names several sources: `shop=0/16B3748 ledger=42`. One that names no source is of
//! the source that is read.

use headwater_model::nearest;

/// A position that is of no source, as readers are told.
#[derive(Debug, PartialEq)]
pub struct NoSource {
    pub message: String,
    pub remedy: String,
}

/// What `text` demands of `source`; `None` if it is about others. `sources`: all there are.
pub fn of<'t>(text: &'t str, source: &str, sources: &[Box<str>]) -> Result<Option<&'t str>, NoSource> {
    let mut found = None;
    for (name, position) in each(text, sources)? {
        if name.is_none_or(|name| name == source) {
            found = Some(position);
        }
    }
    Ok(found)
}

/// Every position in `text`, with the source that it names. Only one that stands alone may name none.
pub fn each<'t>(text: &'t str, sources: &[Box<str>]) -> Result<Vec<(Option<&'t str>, &'t str)>, NoSource> {
    if !text.contains('=') {
        return Ok(vec![(None, text.trim())]);
    }
    let known = || sources.join(", ");
    let parts = text.split_whitespace().map(|part| part.trim_end_matches(','));
    let named = parts.filter(|part| !part.is_empty()).map(|part| match part.split_once('=') {
        Some((name, position)) if sources.iter().any(|source| **source == *name) => {
            Ok((Some(name), position))
        }
        Some((name, _)) => Err(NoSource {
            message: format!("names the source `{name}`, and there is none"),
            remedy: match nearest(name, sources.iter().map(|source| &**source)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the sources are {}", known()),
            },
        }),
        None => Err(NoSource {
            message: format!("has the position `{part}` among others, and does not say of which source"),
            remedy: format!("write SOURCE=POSITION for each; the sources are {}", known()),
        }),
    });
    named.collect()
}

/// As a reader gets it: what it gives back is then known to be of that source.
pub fn show(source: Option<&str>, position: &str) -> String {
    match source {
        Some(source) => format!("{source}={position}"),
        None => position.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_demands_of_each_source_what_is_said_of_it() {
        let sources: Vec<Box<str>> = vec!["shop".into(), "ledger".into()];
        let of = |text, source| of(text, source, &sources);
        assert_eq!(of("0/16B3748", "shop"), Ok(Some("0/16B3748")));
        assert_eq!(of("shop=0/16B3748, ledger=7@42", "shop"), Ok(Some("0/16B3748")));
        assert_eq!(of("shop=0/16B3748 ledger=7@42", "ledger"), Ok(Some("7@42")));
        assert_eq!(of("ledger=42", "shop"), Ok(None));
        assert_eq!(of("leger=42", "shop").unwrap_err().remedy, "did you mean `ledger`?");
        assert!(of("ledger=42 0/16B3748", "shop").unwrap_err().message.contains("0/16B3748"));
        assert_eq!(show(Some("shop"), "0/1"), "shop=0/1");
    }
}
