//! Values of another type under our names: somebody else wrote there.
//!
//! Looking at every key's type before every write would halve the throughput, so it is done only after EXEC has
//! complained: then each key of the repeated step is looked at, and what is not a hash is removed in front of its put.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::{Key, Layout, Refusal, Result, ViewChange};

use super::lane::Shared;
use super::resp::{self, Reply};
use super::{failure, keys};

/// Changes, each with the foreign keys that must go before it.
pub(super) type Checked = Vec<(ViewChange, Vec<Vec<u8>>)>;

/// Looks at the type of each key that would be written as a hash.
pub(super) async fn look(
    shared: &Arc<Shared>,
    changes: Vec<ViewChange>,
    refusals: &mut Vec<Refusal>,
) -> Result<Checked> {
    let prefix = &shared.config.prefix;
    let mut asked = Vec::new();
    for change in &changes {
        if let ViewChange::Put { view, key, moved_from, .. } = change
            && view.layout() == Layout::Hash
        {
            asked.push(keys::document(prefix, view, key));
            asked.extend(moved_from.as_ref().map(|old| keys::document(prefix, view, old)));
        }
    }
    let foreign = of_other_type(shared, asked, b"hash").await?;
    let mut checked = Vec::with_capacity(changes.len());
    for change in changes {
        let mut remove = Vec::new();
        if let ViewChange::Put { view, key, moved_from, document } = &change {
            let names =
                |key: &Key| Some(keys::document(prefix, view, key)).filter(|name| foreign.contains_key(name));
            let own = names(key);
            let old = moved_from.as_ref().and_then(names);
            let kept = if moved_from.is_some() { &old } else { &own };
            if document.is_partial()
                && let Some(name) = kept
            {
                let kind = &foreign[name];
                refusals.push(Refusal {
                    view: view.name.clone(),
                    key: key.to_text(),
                    reason: format!(
                        "its stored fields were replaced by a foreign {kind} and the change does not carry them all; \
                         remove the key and repair the row"
                    ),
                });
                continue;
            }
            remove.extend(own);
            remove.extend(old);
        }
        checked.push((change, remove));
    }
    Ok(checked)
}

/// The keys that exist and are not of the type they should be, with their type.
pub(super) async fn of_other_type(
    shared: &Arc<Shared>,
    keys: Vec<Vec<u8>>,
    wanted: &[u8],
) -> Result<HashMap<Vec<u8>, String>> {
    let mut foreign = HashMap::new();
    let mut reader = shared.reader().await?;
    for keys in keys.chunks(1024) {
        keys.iter().for_each(|key| resp::whole(&[b"TYPE", key], &mut reader.out));
        for key in keys {
            match reader.reply().await? {
                Reply::Text(kind) if kind == wanted || kind == b"none" => {}
                Reply::Text(kind) => {
                    foreign.insert(key.clone(), String::from_utf8_lossy(&kind).into_owned());
                }
                Reply::Error(text) => return Err(failure::from_reply(&text)),
                _ => return Err(failure::unexpected("TYPE")),
            }
        }
    }
    shared.give_back(reader);
    Ok(foreign)
}
