//! What lies in the indexes of a view, for whoever compares it with what should: all of it, and whether documents stand where they
//! should.
//!
//! Of a set that no document of ours has anything in, nobody would know but by looking at every key of the server, so that is
//! what is done, with SCAN. Members that can be no entry of ours, or lie in a lane that is not their document's, are said in a form
//! that only [`Foreign`] reads.

use headwater_model::{AnswerMoment, Astray, Error, IndexEntry, IndexPlace, Listed, Result, Standing, View};

use super::answer::{Ask, Block};
use super::connection::Connection;
use super::resp::{self, Reply};
use super::scan::{self, Keys};
use super::{failure, index, keys, slot};
use crate::entries::{self, Entry, read_hex};

/// Sets that are listed side by side.
const SETS_AT_ONCE: usize = 200;

/// A member of a set, and the lane that it lies in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign<'a> {
    pub(super) lane: usize,
    pub(super) set: &'a [u8],
    pub(super) member: &'a [u8],
}

impl Foreign<'_> {
    fn to_listed(&self) -> Listed {
        let (lane, length) = (self.lane as u32, self.set.len() as u32);
        Listed::Foreign(
            [&lane.to_be_bytes()[..], &length.to_be_bytes(), self.set, self.member].concat().into(),
        )
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Foreign<'_>> {
        let read = || {
            let (lane, rest) = bytes.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (set, member) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            Some(Foreign { lane: u32::from_be_bytes(*lane) as usize, set, member })
        };
        read().ok_or_else(|| Error::bug("what lies in an index is not told in our words"))
    }
}

/// Where a page ended: at a page of sets, if these are not all, and within sets that were begun.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    sets: Option<Option<String>>,
    /// A set, and the cursor in it.
    open: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Place {
    fn read(text: Option<&str>) -> Result<Place> {
        let Some(text) = text else { return Ok(Place { sets: Some(None), open: Vec::new() }) };
        let read = || {
            let mut parts = text.split(';');
            let sets = match parts.next()? {
                "-" => None,
                "" => Some(None),
                place => Some(Some(place.to_owned())),
            };
            let open = parts.map(|part| {
                let (set, cursor) = part.split_once(',')?;
                cursor.parse::<u64>().ok()?;
                Some((read_hex(set)?, cursor.as_bytes().to_vec()))
            });
            Some(Place { sets, open: open.collect::<Option<_>>()? })
        };
        read().ok_or_else(|| Error::bug("the cursor of a list of entries is not one of ours"))
    }

    /// `None` at the end.
    fn to_text(&self) -> Option<String> {
        let mut text = match &self.sets {
            None if self.open.is_empty() => return None,
            None => "-".to_owned(),
            Some(place) => place.clone().unwrap_or_default(),
        };
        for (set, cursor) in &self.open {
            let hex: String = set.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!(";{hex},{}", String::from_utf8_lossy(cursor)));
        }
        Some(text)
    }
}

/// A page of what lies in the indexes of a view on one node. `lanes` is how many the store has; 1 if it is not spread.
pub(super) async fn page(
    connection: &mut Connection,
    of: &Keys,
    view: &View,
    lanes: u16,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Listed>, Option<String>)> {
    let mut place = Place::read(cursor)?;
    if place.open.is_empty()
        && let Some(sets) = place.sets.take()
    {
        let limit = limit.clamp(1, SETS_AT_ONCE);
        let (found, next) = scan::page_of_keys(connection, of, sets.as_deref(), limit).await?;
        place.open = found.into_iter().map(|set| (set, b"0".to_vec())).collect();
        place.sets = next.map(Some);
    }
    let count = (limit / place.open.len().max(1)).clamp(10, 1000).to_string();
    for (set, cursor) in &place.open {
        resp::whole(&[b"ZSCAN", set, cursor, b"COUNT", count.as_bytes()], &mut connection.out);
    }
    let (mut listed, mut open) = (Vec::new(), Vec::new());
    for (set, _) in std::mem::take(&mut place.open) {
        let (next, members) = members(connection.reply().await?, &set)?;
        listed.extend(members.iter().filter_map(|member| read(of, view, lanes, &set, member)));
        if next != b"0" {
            open.push((set, next));
        }
    }
    place.open = open;
    Ok((listed, place.to_text()))
}

fn members(reply: Reply, set: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let items = match reply {
        Reply::Array(items) => items,
        Reply::Error(text) if text.starts_with("WRONGTYPE") => return Err(index::foreign(set)),
        Reply::Error(text) => return Err(failure::from_reply(&text)),
        _ => return Err(failure::unexpected("ZSCAN")),
    };
    let mut items = items.into_iter();
    let (Some(Reply::Text(next)), Some(Reply::Array(found))) = (items.next(), items.next()) else {
        return Err(failure::unexpected("ZSCAN"));
    };
    // Member and score, in turn.
    let members = found.into_iter().step_by(2).filter_map(|member| match member {
        Reply::Text(member) => Some(member),
        _ => None,
    });
    Ok((next, members.collect()))
}

/// `None` of a set that is no part of any index, however much its name looks like one.
fn read(of: &Keys, view: &View, lanes: u16, set: &[u8], member: &[u8]) -> Option<Listed> {
    let (lane, from) = of.place(set)?;
    let (number, part) = keys::part_of(&set[from..])?;
    let entry = || {
        let (sort, key) = index::parts_of(member).ok()?;
        let key = std::str::from_utf8(key).ok()?;
        let home = slot::lane_of(&name(&view.name, key), lanes);
        let place = IndexPlace { part: part.to_vec(), sort: sort.to_vec() };
        (home == lane).then(|| Listed::Entry(IndexEntry { index: number, place, key: key.into() }))
    };
    Some(entry().unwrap_or_else(|| Foreign { lane, set, member }.to_listed()))
}

/// What a document's key has behind its lane's prefix.
pub(super) fn name(view: &str, key: &str) -> Vec<u8> {
    [&keys::of_view("", view), key.as_bytes()].concat()
}

/// Whether documents stand where they should.
pub(super) async fn astray(
    asked: &mut impl Ask,
    view: &View,
    standings: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let mut blocks: Vec<Option<Block>> = vec![None; asked.lanes()];
    let mut lanes = Vec::with_capacity(standings.len());
    for standing in standings {
        let lane = asked.lane_of(&name(&view.name, &standing.key));
        let prefix = asked.prefix(lane);
        let places = keys::places(prefix, &view.name);
        let block = blocks[lane].get_or_insert_with(|| Block::new(lane, &asked.meta(lane)));
        block.ask(|out| resp::whole(&[b"HGET", &places, standing.key.as_bytes()], out));
        for entry in standing.should.iter().chain(&standing.should_not) {
            let (set, member) = place_of(prefix, &view.name, entry);
            block.ask(|out| resp::whole(&[b"ZSCORE", &set, &member], out));
        }
        lanes.push(lane);
    }
    if standings.is_empty() {
        blocks[0] = Some(Block::new(0, &asked.meta(0)));
    }
    let blocks: Vec<Block> = blocks.into_iter().flatten().collect();
    let order: Vec<usize> = blocks.iter().map(|block| block.lane).collect();
    let (at, replies) = asked.ask(blocks).await?;
    let mut by_lane: Vec<_> = (0..asked.lanes()).map(|_| Vec::new().into_iter()).collect();
    for (lane, replies) in order.into_iter().zip(replies) {
        by_lane[lane] = replies.into_iter();
    }
    let mut told = Vec::with_capacity(standings.len());
    for (standing, lane) in standings.iter().zip(lanes) {
        let mut next = || match by_lane[lane].next() {
            Some(Reply::Error(text)) if text.starts_with("WRONGTYPE") => {
                Err(index::foreign(&keys::of_indexes(asked.prefix(lane), &view.name)))
            }
            Some(Reply::Error(text)) => Err(failure::from_reply(&text)),
            Some(reply) => Ok(reply),
            None => Err(failure::unexpected("EXEC")),
        };
        let stored = match next()? {
            Reply::Text(packed) => entries::unpack(&packed)?,
            _ => Vec::new(),
        };
        let mut scores = Vec::with_capacity(standing.should.len() + standing.should_not.len());
        for _ in 0..scores.capacity() {
            scores.push(match next()? {
                Reply::Text(score) => Some(score),
                _ => None,
            });
        }
        // They are asked for in the same order. With another score a member is not where its bytes would have it.
        let (mut scores, mut number) = (scores.into_iter(), 0);
        told.push(entries::astray(standing, &stored, |_| {
            let score = scores.next().flatten();
            number += 1;
            score.is_some_and(|score| number > standing.should.len() || score == b"0")
        }));
    }
    Ok((at, told))
}

/// The set and the member that an entry is.
pub(super) fn place_of(prefix: &str, view: &str, entry: &IndexEntry) -> (Vec<u8>, Vec<u8>) {
    let key = entry.key.as_bytes();
    let entry = Entry::from(entry);
    (index::set_of(prefix, view, &entry), index::member(&entry, key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_foreign_comes_apart_again() {
        let foreign = Foreign { lane: 7, set: b"p:{1}:%index:v:0:x", member: b"\xff" };
        let Listed::Foreign(bytes) = foreign.to_listed() else { panic!("it is foreign") };
        assert_eq!(Foreign::read(&bytes).unwrap(), foreign);
        assert!(Foreign::read(&bytes[..9]).is_err());
    }

    #[test]
    fn a_place_survives_being_a_text() {
        let open = vec![(b"a;b,\xff".to_vec(), b"17".to_vec()), (b"c".to_vec(), b"0".to_vec())];
        for sets in [None, Some(None), Some(Some("1 16 ab".to_owned()))] {
            for open in [open.clone(), Vec::new()] {
                let place = Place { sets: sets.clone(), open };
                match place.to_text() {
                    None => assert_eq!(place, Place::default()),
                    Some(text) => assert_eq!(Place::read(Some(&text)).unwrap(), place),
                }
            }
        }
        assert!(Place::read(Some("-;zz,1")).is_err());
    }
}
