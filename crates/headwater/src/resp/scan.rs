//! `SCAN`: the keys of all views, view by view, a page at a time.
//!
//! A key that is there from the first page to the last comes at least once, as with Redis; so does the name of a ranking
//! that has no `within`.

use std::sync::PoisonError;

use super::cursors::Place;
use super::execute::Request;
use super::shared::{Reading, Shared};
use super::views::Served;
use super::{failure, glob, reply};

/// Keys of a page, if the client does not say.
const COUNT: usize = 10;
/// More are not read for one page, whatever the client says.
const COUNT_MAX: usize = 1_000;

/// A page of keys, and where the next one begins: 0 after the last.
pub struct Page {
    next: u64,
    keys: Vec<Vec<u8>>,
}

impl Page {
    pub fn write(&self, out: &mut Vec<u8>) {
        reply::array(2, out);
        reply::bulk(itoa::Buffer::new().format(self.next).as_bytes(), out);
        reply::array(self.keys.len(), out);
        self.keys.iter().for_each(|key| reply::bulk(key, out));
    }
}

struct Options {
    pattern: Option<Vec<u8>>,
    /// What every key of the pattern begins with.
    prefix: Vec<u8>,
    count: usize,
    kind: Option<String>,
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
pub async fn scan(request: Request<'_>, shared: &Shared, reading: &Reading) -> Result<Page, String> {
    let options = options(request)?;
    let cursor = std::str::from_utf8(request.get(1)).ok().and_then(|text| text.parse::<u64>().ok());
    let place = match cursor.ok_or("ERR invalid cursor")? {
        0 => Place { view: None, at: None },
        number => {
            let cursors = shared.cursors.lock().unwrap_or_else(PoisonError::into_inner);
            cursors.place(number).ok_or(
                "ERR this cursor is not known: it is of a former run of Headwater, or too many were begun since; begin again \
                 with 0",
            )?
        }
    };
    // Without them it would seem that there are no such keys.
    if let Some((_, source)) = reading.waiting.iter().find(|(view, _)| options.names(view)) {
        return Err(format!(
            "LOADING source `{source}` cannot be looked at yet: SCAN with MATCH view:* of another one"
        ));
    }
    let from = place.view.as_ref().and_then(|view| reading.views.place(view)).unwrap_or(0);
    let Some((view, served)) =
        reading.views.iter().enumerate().skip(from).find(|(_, served)| options.may_have(served))
    else {
        return Ok(Page { next: 0, keys: Vec::new() });
    };
    let at = place.at.filter(|_| place.view.as_ref() == Some(&served.name));
    let mut keys = Vec::new();
    if at.is_none() && served.is_ranking() && served.within == 0 {
        options.add(served.name.to_vec(), "zset", &mut keys);
    }
    let mut next_at = None;
    if options.kind.as_deref().is_none_or(|kind| kind == served.document_type()) {
        let read = served.serving.scan(&served.get, at, options.count).await;
        let (documents, next) = read.map_err(|refused| failure::text(&refused))?;
        for document in documents {
            let mut key = served.name.to_vec();
            key.push(b':');
            key.extend_from_slice(document.key.as_bytes());
            options.add(key, served.document_type(), &mut keys);
        }
        next_at = next;
    }
    let next = match next_at {
        Some(at) => Some(Place { view: Some(served.name.clone()), at: Some(at) }),
        None => {
            let mut behind = reading.views.iter().skip(view + 1);
            let next = behind.find(|served| options.may_have(served));
            next.map(|served| Place { view: Some(served.name.clone()), at: None })
        }
    };
    let remember = |place| shared.cursors.lock().unwrap_or_else(PoisonError::into_inner).remember(place);
    Ok(Page { next: next.map_or(0, remember), keys })
}

fn options(request: Request<'_>) -> Result<Options, String> {
    let mut options = Options { pattern: None, prefix: Vec::new(), count: COUNT, kind: None };
    let mut at = 2;
    while at < request.len() {
        if at + 1 == request.len() {
            return Err("ERR syntax error".to_owned());
        }
        if request.is(at, "MATCH") {
            options.prefix = glob::prefix(request.get(at + 1));
            options.pattern = Some(request.get(at + 1).to_vec());
        } else if request.is(at, "COUNT") {
            let count = request.integer(at + 1).ok_or("ERR value is not an integer or out of range")?;
            let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or("ERR syntax error")?;
            options.count = count.min(COUNT_MAX);
        } else if request.is(at, "TYPE") {
            options.kind = Some(String::from_utf8_lossy(request.get(at + 1)).to_ascii_lowercase());
        } else {
            return Err("ERR syntax error".to_owned());
        }
        at += 2;
    }
    Ok(options)
}

impl Options {
    /// Whether keys of this view can be of the pattern and the type.
    fn may_have(&self, served: &Served) -> bool {
        let of_type = self.kind.as_deref().is_none_or(|kind| {
            kind == served.document_type() || (kind == "zset" && served.is_ranking() && served.within == 0)
        });
        of_type && self.names(&served.name)
    }

    /// Whether keys of the view of this name can be of the pattern.
    fn names(&self, view: &[u8]) -> bool {
        match memchr::memchr(b':', &self.prefix) {
            Some(end) => self.prefix[..end] == *view,
            None => view.starts_with(&self.prefix),
        }
    }

    fn add(&self, key: Vec<u8>, kind: &str, keys: &mut Vec<Vec<u8>>) {
        let of_type = self.kind.as_deref().is_none_or(|wanted| wanted == kind);
        if of_type && self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, &key)) {
            keys.push(key);
        }
    }
}
