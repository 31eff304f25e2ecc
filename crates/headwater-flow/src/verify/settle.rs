//! Keys that did not compare equal are looked at again until it is clear what they are.
//!
//! Invariant: drift is what stays. A key is called drifted when it differed in each of several looks, each with a read of its
//! own at the source and in the store, and never because it could not be told.

use std::collections::HashMap;
use std::time::Duration;

use headwater_model::{Key, Offset, Result};
use tokio::time::{Instant, sleep};

use super::Verifier;
use super::compare::{Missed, Target};
use super::standing::Strays;
use super::truth::Truth;

/// Looks in which a key must differ, besides the one that found it.
const LOOKS: u32 = 2;

/// How long a key may be touched by transactions that nobody sees yet.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// Keys of one look.
const KEYS_AT_ONCE: usize = 1_000;

pub(super) struct Settled {
    pub drifted: Vec<Missed>,
    /// Keys that could not be compared.
    pub unsettled: u64,
    pub upto: Offset,
}

/// Looks again at keys that differed (`missed`), and at those of which nothing could be told (`unknown`).
pub(super) async fn settle(
    verifier: &Verifier,
    truth: &Truth,
    target: &Target,
    missed: Vec<Key>,
    unknown: Vec<Key>,
    strays: &Strays,
) -> Result<Settled> {
    let mut settled = Settled { drifted: Vec::new(), unsettled: 0, upto: Offset::ZERO };
    // How often each key still has to differ.
    let mut open: HashMap<Box<str>, (Key, u32)> = HashMap::new();
    for (keys, looks) in [(unknown, LOOKS + 1), (missed, LOOKS)] {
        open.extend(keys.into_iter().map(|key| (key.to_text().into(), (key, looks))));
    }
    let until = Instant::now() + SETTLE_WITHIN;
    let mut pause = Duration::from_millis(5);
    while !open.is_empty() {
        let keys: Vec<Key> = open.values().map(|(key, _)| key.clone()).collect();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let page = truth.of_keys(verifier, keys.to_vec()).await?;
            let roll = truth.roll(verifier, page.offset);
            let compared = target.compare(truth.view(), page, roll, strays).await?;
            settled.upto = settled.upto.max(compared.upto);
            let mut again: HashMap<Box<str>, Option<Missed>> =
                compared.unknown.into_iter().map(|key| (key.to_text().into(), None)).collect();
            again.extend(compared.missed.into_iter().map(|m| (m.drifted.key.as_str().into(), Some(m))));
            for key in keys {
                let text: Box<str> = key.to_text().into();
                match again.remove(&text) {
                    None => drop(open.remove(&text)),
                    Some(None) => {}
                    Some(Some(missed)) => {
                        let Some((_, looks)) = open.get_mut(&text) else { continue };
                        *looks -= 1;
                        if *looks == 0 {
                            open.remove(&text);
                            settled.drifted.push(missed);
                        }
                    }
                }
            }
        }
        if Instant::now() >= until {
            settled.unsettled = open.len() as u64;
            break;
        }
        if !open.is_empty() {
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
    settled.drifted.sort_by(|a, b| a.drifted.key.cmp(&b.drifted.key));
    Ok(settled)
}
