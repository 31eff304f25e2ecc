//! Rankings as sorted sets. Members are named as the rest of their document's key is.
//!
//! The order is the ranking's own: by score, and with equal scores by key, ascending from the greatest score downwards. A
//! reversed order is exactly the reverse.

use headwater_model::{Bound, Error, Found, RangeRead, Read, Stored, Value};

use super::command::Kind;
use super::documents::score_text;
use super::execute::{Request, WRONG_TYPE};
use super::reply::{self, Protocol};
use super::session::Session;
use super::shared::Reading;
use super::views::{Named, Served};
use super::{documents, failure};

/// Members that one command may read.
const MEMBERS_MAX: usize = 1_000;

const SYNTAX: &str = "ERR syntax error";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";

/// A ranking that a key names.
struct Ranking<'a> {
    served: &'a Served,
    within: Vec<Value>,
}

/// Which members are asked for.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// From place to place, both inclusive; negative: from the end.
    Places(i64, i64),
    Scores {
        from: Option<Bound>,
        to: Option<Bound>,
        offset: usize,
        count: Option<usize>,
    },
}

pub async fn answer(
    kind: Kind,
    request: Request<'_>,
    reading: &Reading,
    session: &mut Session,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    match kind {
        Kind::Exists => {
            let mut there = 0;
            for key in request.from(1) {
                there += i64::from(exists(key, reading, session).await?);
            }
            reply::integer(there, out);
            return Ok(());
        }
        Kind::Type => {
            let there = exists(request.get(1), reading, session).await?;
            reply::simple(if there { "zset" } else { "none" }, out);
            return Ok(());
        }
        Kind::Ttl => {
            let there = exists(request.get(1), reading, session).await?;
            reply::integer(if there { -1 } else { -2 }, out);
            return Ok(());
        }
        _ => {}
    }
    let ranking = match reading.views.named(request.get(1)) {
        Named::Ranking { view, within } => reading.views.get(view).map(|served| Ranking { served, within }),
        Named::Nothing => None,
        Named::Document { .. } => return Err(WRONG_TYPE.to_owned()),
    };
    match kind {
        Kind::Zcard => {
            let members = members(ranking, &Wanted::Places(0, -1), false, session).await?;
            reply::integer(members.len() as i64, out);
        }
        Kind::Zcount => {
            let (from, to) = bounds(request.get(2), request.get(3))?;
            let wanted = Wanted::Scores { from, to, offset: 0, count: None };
            reply::integer(members(ranking, &wanted, false, session).await?.len() as i64, out);
        }
        _ => {
            let (wanted, descending, with_scores) = read_range(kind, request)?;
            let within = ranking.as_ref().map(|ranking| ranking.served);
            let members = members(ranking, &wanted, descending, session).await?;
            write(within, &members, with_scores, session.protocol, out);
        }
    }
    Ok(())
}

async fn exists(key: &[u8], reading: &Reading, session: &mut Session) -> Result<bool, String> {
    match reading.views.named(key) {
        Named::Nothing => Ok(false),
        Named::Document { view, key } => {
            let Some(served) = reading.views.get(view) else { return Ok(false) };
            let found = documents::documents(served, vec![key], session, 1).await?;
            Ok(found.iter().any(Option::is_some))
        }
        Named::Ranking { view, within } => {
            let ranking = reading.views.get(view).map(|served| Ranking { served, within });
            Ok(!members(ranking, &Wanted::Places(0, 0), true, session).await?.is_empty())
        }
    }
}

/// The members that are asked for, in the order that is asked for.
async fn members(
    ranking: Option<Ranking<'_>>,
    wanted: &Wanted,
    descending: bool,
    session: &mut Session,
) -> Result<Vec<Stored>, String> {
    let Some(ranking) = ranking else { return Ok(Vec::new()) };
    match wanted {
        Wanted::Places(start, stop) if *start >= 0 && *stop >= 0 => {
            if start > stop {
                return Ok(Vec::new());
            }
            let (skip, end) = (bounded(*start)?, bounded(*stop)? + 1);
            let page = page(&ranking, None, None, descending, end, session).await?;
            Ok(page.0.into_iter().skip(skip).collect())
        }
        Wanted::Places(start, stop) if *start < 0 && *stop < 0 => {
            if start > stop {
                return Ok(Vec::new());
            }
            // From the other end, and turned round.
            let (skip, end) = (bounded(-1 - *stop)?, bounded(-1 - *start)? + 1);
            let page = page(&ranking, None, None, !descending, end, session).await?;
            let mut members: Vec<Stored> = page.0.into_iter().skip(skip).collect();
            members.reverse();
            Ok(members)
        }
        Wanted::Places(start, stop) => {
            let all = all(&ranking, None, None, descending, session).await?;
            let place = |place: i64| if place < 0 { all.len() as i64 + place } else { place };
            let from = usize::try_from(place(*start).max(0)).unwrap_or(usize::MAX);
            let to = usize::try_from((place(*stop) + 1).max(0)).unwrap_or(0);
            Ok(all.into_iter().take(to).skip(from).collect())
        }
        Wanted::Scores { from, to, offset, count } => {
            let (from, to) = (from.clone(), to.clone());
            match count {
                Some(0) => Ok(Vec::new()),
                Some(count) => {
                    let end = bounded(offset.saturating_add(*count) as i64)?;
                    let page = page(&ranking, from, to, descending, end, session).await?;
                    Ok(page.0.into_iter().skip(*offset).collect())
                }
                None => {
                    let all = all(&ranking, from, to, descending, session).await?;
                    Ok(all.into_iter().skip(*offset).collect())
                }
            }
        }
    }
}

fn bounded(place: i64) -> Result<usize, String> {
    usize::try_from(place).ok().filter(|place| *place <= MEMBERS_MAX).ok_or_else(too_many)
}

fn too_many() -> String {
    format!(
        "ERR more than {MEMBERS_MAX} members of a ranking would be read: ask for fewer from its top or its end"
    )
}

async fn all(
    ranking: &Ranking<'_>,
    from: Option<Bound>,
    to: Option<Bound>,
    descending: bool,
    session: &mut Session,
) -> Result<Vec<Stored>, String> {
    let (members, more) = page(ranking, from, to, descending, MEMBERS_MAX, session).await?;
    if more { Err(too_many()) } else { Ok(members) }
}

/// The first `limit` members, and whether there may be more.
async fn page(
    ranking: &Ranking<'_>,
    from: Option<Bound>,
    to: Option<Bound>,
    descending: bool,
    limit: usize,
    session: &mut Session,
) -> Result<(Vec<Stored>, bool), String> {
    let Some(top) = &ranking.served.top else { return Ok((Vec::new(), false)) };
    let read = Read::Range(RangeRead {
        view: ranking.served.view.clone(),
        index: 0,
        by: ranking.within.clone(),
        from,
        to,
        after: None,
        // A ranking's own order begins with the greatest score.
        reverse: !descending,
        limit: limit.max(1),
    });
    let served = ranking.served;
    let answered =
        served.serving.answer_reads(top, &read, session.demand(&served.source), session.within(), 1).await;
    match answered {
        Ok((Found::Page { documents, next }, shown)) => {
            session.shown(&ranking.served.source, shown);
            Ok((documents, next.is_some()))
        }
        Ok(_) => Err(format!("ERR {}", Error::bug("a store answered another question"))),
        Err(refused) => Err(failure::text(&refused)),
    }
}

fn write(
    served: Option<&Served>,
    members: &[Stored],
    with_scores: bool,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let pairs = with_scores && protocol == Protocol::Three;
    reply::array(if with_scores && !pairs { 2 * members.len() } else { members.len() }, out);
    for member in members {
        if pairs {
            reply::array(2, out);
        }
        reply::bulk(served.map_or(&*member.key, |served| served.member_of(&member.key)).as_bytes(), out);
        if with_scores {
            reply::double(&score_text(&member.body), protocol, out);
        }
    }
}

/// What is wanted, whether from the greatest score down, whether with scores.
fn read_range(kind: Kind, request: Request<'_>) -> Result<(Wanted, bool, bool), String> {
    let (mut descending, mut with_scores, mut limit) = (false, false, None);
    let mut by_score = matches!(kind, Kind::Zrangebyscore | Kind::Zrevrangebyscore);
    let mut at = 4;
    while at < request.len() {
        if request.is(at, "WITHSCORES") {
            with_scores = true;
            at += 1;
        } else if request.is(at, "REV") && kind == Kind::Zrange {
            descending = true;
            at += 1;
        } else if request.is(at, "BYSCORE") && kind == Kind::Zrange {
            by_score = true;
            at += 1;
        } else if request.is(at, "LIMIT") && at + 2 < request.len() {
            let (Some(offset), Some(count)) = (request.integer(at + 1), request.integer(at + 2)) else {
                return Err(NO_INTEGER.to_owned());
            };
            limit = Some((offset, count));
            at += 3;
        } else {
            return Err(SYNTAX.to_owned());
        }
    }
    descending |= matches!(kind, Kind::Zrevrange | Kind::Zrevrangebyscore);
    if by_score {
        // The first of the two is the one that comes first.
        let (least, most) = if descending { (3, 2) } else { (2, 3) };
        let (from, to) = bounds(request.get(least), request.get(most))?;
        let (offset, count) = limit.unwrap_or((0, -1));
        let Ok(offset) = usize::try_from(offset) else {
            let nothing = Wanted::Scores { from, to, offset: 0, count: Some(0) };
            return Ok((nothing, descending, with_scores));
        };
        let wanted = Wanted::Scores { from, to, offset, count: usize::try_from(count).ok() };
        return Ok((wanted, descending, with_scores));
    }
    if limit.is_some() {
        return Err("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
            .to_owned());
    }
    match (request.integer(2), request.integer(3)) {
        (Some(start), Some(stop)) => Ok((Wanted::Places(start, stop), descending, with_scores)),
        _ => Err(NO_INTEGER.to_owned()),
    }
}

/// `(1.5` is exclusive; `-inf` and `+inf` are no bounds.
fn bounds(least: &[u8], most: &[u8]) -> Result<(Option<Bound>, Option<Bound>), String> {
    let bound = |text: &[u8], none: &[&str]| -> Result<Option<Bound>, String> {
        const WRONG: &str = "ERR min or max is not a float";
        let text = std::str::from_utf8(text).map_err(|_| WRONG)?;
        if none.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(None);
        }
        let (text, inclusive) = match text.strip_prefix('(') {
            Some(text) => (text, false),
            None => (text, true),
        };
        Ok(Some(Bound { value: number(text).ok_or(WRONG)?, inclusive }))
    };
    Ok((bound(least, &["-inf", "(-inf"])?, bound(most, &["+inf", "inf", "(+inf", "(inf"])?))
}

/// With all its digits.
fn number(text: &str) -> Option<Value> {
    if let Ok(number) = text.parse() {
        return Some(Value::Int(number));
    }
    let infinite = text.trim_start_matches(['+', '-']).eq_ignore_ascii_case("inf");
    if infinite {
        return Some(Value::Decimal(if text.starts_with('-') { "-Infinity" } else { "Infinity" }.into()));
    }
    let finite = text.parse::<f64>().ok().filter(|number| number.is_finite());
    finite.map(|_| Value::Decimal(text.trim_start_matches('+').into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parse::{Args, Bounds, parse};

    fn range(kind: Kind, line: &str) -> Result<(Wanted, bool, bool), String> {
        let mut args = Args::default();
        let input = format!("{line}\n");
        parse(input.as_bytes(), &Bounds::KNOWN, &mut args).expect("a line");
        read_range(kind, Request { args: &args, input: input.as_bytes() })
    }

    fn bound(value: Value, inclusive: bool) -> Option<Bound> {
        Some(Bound { value, inclusive })
    }

    #[test]
    fn ranges_are_read_as_redis_reads_them() {
        assert_eq!(range(Kind::Zrange, "ZRANGE k 0 -1"), Ok((Wanted::Places(0, -1), false, false)));
        assert_eq!(
            range(Kind::Zrevrange, "ZREVRANGE k 0 9 WITHSCORES"),
            Ok((Wanted::Places(0, 9), true, true))
        );
        let scores = |from, to, offset, count| Wanted::Scores { from, to, offset, count };
        assert_eq!(
            range(Kind::Zrange, "ZRANGE k (1.50 +inf BYSCORE LIMIT 2 3"),
            Ok((scores(bound(Value::Decimal("1.50".into()), false), None, 2, Some(3)), false, false))
        );
        assert_eq!(
            range(Kind::Zrevrangebyscore, "ZREVRANGEBYSCORE k 7 -inf"),
            Ok((scores(None, bound(Value::Int(7), true), 0, None), true, false))
        );
        for wrong in ["ZRANGE k a 1", "ZRANGE k 0 1 LIMIT 1 2", "ZRANGE k 0 1 BYLEX", "ZRANGE k x 1 BYSCORE"]
        {
            assert!(range(Kind::Zrange, wrong).is_err(), "{wrong}");
        }
        assert!(range(Kind::Zrevrange, "ZREVRANGE k 0 1 REV").is_err());
    }
}
