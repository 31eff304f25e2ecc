//! Questions to many lanes, answered at one moment if that can be had.
//!
//! Lanes are asked node by node, one connection each. If they are not all at the same place, a step is just being committed: it
//! is waited for, and they are asked again while no other of this process begins to be. Where they stay apart, as they do after a
//! failure until the last has caught up, the answer says only where the last of them is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use headwater_model::{AnswerMoment, Error, Result};

use super::Shared;
use crate::redis::answer::{Ask, Block, Told, empty};
use crate::redis::cluster::moved;
use crate::redis::config::Address;
use crate::redis::connection::Connection;
use crate::redis::failure;
use crate::redis::meta::Mark;
use crate::redis::resp::{self, Reply};
use crate::redis::slot;

/// How often lanes that are apart are asked again.
const TRIES: usize = 4;

/// Another process may be committing a step.
const PAUSE: Duration = Duration::from_millis(2);

/// How often a slot's owner is looked for anew.
const HOPS_MAX: usize = 3;

/// All lanes of a store.
pub(super) struct Spread<'s>(pub(super) &'s Shared);

impl Ask for Spread<'_> {
    fn lanes(&self) -> usize {
        self.0.lanes.len()
    }

    fn prefix(&self, lane: usize) -> &str {
        self.0.lanes[lane].prefix()
    }

    fn meta(&self, lane: usize) -> Vec<u8> {
        self.0.lanes[lane].meta()
    }

    fn lane_of(&self, name: &[u8]) -> usize {
        slot::lane_of(name, self.0.config.lanes)
    }

    async fn ask(&mut self, blocks: Vec<Block>) -> Result<(AnswerMoment, Vec<Vec<Reply>>)> {
        let mut tries = 0;
        loop {
            let told = match tries {
                0 => self.0.told(&blocks).await?,
                _ => {
                    let _even = self.0.even.read().await;
                    self.0.told(&blocks).await?
                }
            };
            tries += 1;
            let mark = last(told.iter().map(|told| told.mark.clone())).ok_or_else(empty)?;
            let place = |told: &Told| told.mark.as_ref().map(|mark| (mark.held.offset, mark.held.epoch));
            let even = told.iter().all(|lane| place(lane) == place(&told[0]));
            if !even && tries < TRIES {
                if tries > 1 {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
            let exact =
                even && told.iter().all(|told| told.mark.as_ref().is_some_and(|mark| mark.ahead.is_none()));
            let at = if exact { AnswerMoment::Applied(mark.held) } else { AnswerMoment::AtLeast(mark.held) };
            return Ok((at, told.into_iter().map(|told| told.replies).collect()));
        }
    }
}

/// Where the last of these lanes is, and the highest epoch of any. Nothing if one of them holds nothing.
pub(super) fn last(marks: impl Iterator<Item = Option<Mark>>) -> Option<Mark> {
    let marks = marks.collect::<Option<Vec<Mark>>>()?;
    let epoch = marks.iter().map(|mark| mark.held.epoch).max()?;
    let mut last = marks.into_iter().min_by_key(|mark| mark.held.offset)?;
    last.held.epoch = epoch;
    Some(last)
}

impl Shared {
    /// What each block's lane answers.
    pub(super) async fn told(&self, blocks: &[Block]) -> Result<Vec<Told>> {
        let mut told: Vec<Option<Told>> = blocks.iter().map(|_| None).collect();
        for hop in 0..=HOPS_MAX {
            let mut by_node: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
            for (at, block) in blocks.iter().enumerate() {
                if told[at].is_none() {
                    by_node.entry(self.nodes.owner(self.slots[block.lane]).await?).or_default().push(at);
                }
            }
            if by_node.is_empty() {
                break;
            }
            let asked = by_node.iter().map(|(node, places)| self.ask_node(node, blocks, places));
            for answers in self.all(join_all(asked).await)? {
                for (at, answer) in answers {
                    match answer {
                        Ok(answer) => told[at] = Some(answer),
                        Err(text) if text.starts_with("MOVED ") && hop < HOPS_MAX => self.nodes.doubt(),
                        Err(text) => {
                            self.nodes.doubt();
                            return Err(failure::from_reply(&text));
                        }
                    }
                }
            }
            if told.iter().any(Option::is_none) {
                // The map is not asked for more often than so.
                tokio::time::sleep(Duration::from_millis(50 << hop)).await;
            }
        }
        told.into_iter().collect::<Option<_>>().ok_or_else(|| {
            Error::transient("the cluster's nodes do not agree on who owns the slots of the store")
        })
    }

    /// Asks one node; by place among the blocks what it says.
    async fn ask_node(
        &self,
        node: &Address,
        blocks: &[Block],
        places: &[usize],
    ) -> Result<Vec<(usize, std::result::Result<Told, String>)>> {
        let mut reader = self.nodes.reader(node).await?;
        places.iter().for_each(|at| blocks[*at].write(&mut reader.out));
        let mut answers = Vec::with_capacity(places.len());
        for at in places {
            answers.push((*at, blocks[*at].read(&mut reader).await?));
        }
        for (at, answer) in &mut answers {
            if answer.as_ref().is_err_and(|text| is_moving(text)) {
                *answer = self.ask_moving(&mut reader, &blocks[*at]).await?;
            }
        }
        self.nodes.give_back(reader);
        Ok(answers)
    }

    /// Asks a lane whose slot is on its way from one node to another, key by key, so that no MULTI covers it. Nothing was
    /// written meanwhile if the lane is at the same place before and after.
    async fn ask_moving(
        &self,
        from: &mut Connection,
        block: &Block,
    ) -> Result<std::result::Result<Told, String>> {
        let (mut target, mut replies) = (None, Vec::new());
        let position = block.commands().next().unwrap_or_default();
        for command in block.commands().chain([position]) {
            match self.ask_wherever(from, &mut target, command).await? {
                Reply::Error(text) if is_redirection(&text) => return Ok(Err(text)),
                reply => replies.push(reply),
            }
        }
        let after = replies.pop();
        if after.as_ref() != replies.first() {
            return Ok(Err("TRYAGAIN the lane was written while its slot moved".to_owned()));
        }
        Told::read(replies).map(Ok)
    }

    /// One command to the node that has its key.
    async fn ask_wherever(
        &self,
        from: &mut Connection,
        target: &mut Option<Connection>,
        command: &[u8],
    ) -> Result<Reply> {
        from.out.extend_from_slice(command);
        match from.reply().await? {
            Reply::Error(text) if text.starts_with("ASK ") => {
                let to = match target {
                    Some(to) => to,
                    None => {
                        target.insert(Connection::open(&self.config, &moved(&text, &from.address)?).await?)
                    }
                };
                resp::whole(&[b"ASKING"], &mut to.out);
                to.out.extend_from_slice(command);
                to.reply().await?;
                to.reply().await
            }
            reply => Ok(reply),
        }
    }
}

fn is_moving(text: &str) -> bool {
    text.starts_with("ASK ") || text.starts_with("TRYAGAIN")
}

fn is_redirection(text: &str) -> bool {
    is_moving(text) || text.starts_with("MOVED ") || text.starts_with("CLUSTERDOWN")
}
