//! Which bytes of an index a range read is about.

use headwater_model::sort::write_sort;
use headwater_model::{Bound, Error, Index, RangeRead, Result, Value, View};

/// A stretch of one part: from `lower` on, before `upper`; both are bytes that documents are sorted by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) part: Vec<u8>,
    pub(crate) lower: Vec<u8>,
    /// `None`: to the end of the part.
    pub(crate) upper: Option<Vec<u8>>,
}

impl Span {
    /// `None` if no document can be in it.
    pub(crate) fn of(read: &RangeRead) -> Result<Option<Span>> {
        let index = index_of(&read.view, read.index)?;
        if read.by.len() != index.by.len() {
            return Err(Error::bug(format!(
                "a range of the view \"{}\" gives {} values for the {} columns it is apart by",
                read.view.name,
                read.by.len(),
                index.by.len()
            )));
        }
        let Some(part) = Index::part(&read.by) else { return Ok(None) };
        let mut span = Span { part, lower: Vec::new(), upper: None };
        if read.from.is_some() || read.to.is_some() {
            let order = index.order.first().ok_or_else(|| {
                Error::bug(format!("a range of the view \"{}\" has bounds but no order", read.view.name))
            })?;
            if !span.bound(read.from.as_ref(), read.to.as_ref(), order.descending) {
                return Ok(None);
            }
        }
        if let Some(after) = &read.after {
            if read.reverse {
                if span.upper.as_ref().is_none_or(|upper| after < upper) {
                    span.upper = Some(after.clone());
                }
            } else {
                // No other document is sorted by bytes that begin with these.
                let behind = behind(after);
                if behind.as_ref().is_some_and(|behind| *behind > span.lower) {
                    span.lower = behind.unwrap_or_default();
                }
            }
        }
        Ok(span.upper.as_ref().is_none_or(|upper| span.lower < *upper).then_some(span))
    }

    /// Sets the bounds by value; NULL is within none. `false` if nothing is within them.
    fn bound(&mut self, from: Option<&Bound>, to: Option<&Bound>, descending: bool) -> bool {
        if [from, to].into_iter().flatten().any(|bound| bound.value.is_null()) {
            return false;
        }
        // Ascending, NULL lies behind all values; descending, in front of them.
        let null = bytes(&Value::Null, descending);
        let (first, last) = if descending { (to, from) } else { (from, to) };
        self.lower = match first {
            Some(bound) if bound.inclusive => bytes(&bound.value, descending),
            Some(bound) => behind(&bytes(&bound.value, descending)).unwrap_or_default(),
            None if descending => behind(&null).unwrap_or_default(),
            None => Vec::new(),
        };
        self.upper = match last {
            Some(bound) if bound.inclusive => behind(&bytes(&bound.value, descending)),
            Some(bound) => Some(bytes(&bound.value, descending)),
            None if descending => None,
            None => Some(null),
        };
        true
    }

    /// The bounds for an index that holds all parts in one order: the part's bytes stand in front.
    pub(crate) fn with_part(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let with = |sort: &[u8]| [&self.part, sort].concat();
        let upper = match &self.upper {
            Some(upper) => Some(with(upper)),
            None => behind(&self.part),
        };
        (with(&self.lower), upper)
    }
}

pub(crate) fn index_of(view: &View, number: usize) -> Result<&Index> {
    view.indexes.get(number).ok_or_else(|| {
        Error::bug(format!(
            "the view \"{}\" has {} indexes, not {}",
            view.name,
            view.indexes.len(),
            number + 1
        ))
    })
}

fn bytes(value: &Value, descending: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    write_sort(value, descending, &mut out);
    out
}

/// The least bytes greater than all that begin with these; `None` if there are none.
pub(crate) fn behind(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte != 0xff)?;
    let mut out = bytes[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_is_greater_than_all_that_begin_alike_and_no_greater() {
        assert_eq!(behind(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(behind(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(behind(&[0xff]), None);
        assert_eq!(behind(&[]), None);
    }
}
