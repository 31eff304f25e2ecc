//! One line of the incident log: an incident as JSON, sealed by a hash over itself and the line before.
//!
//! `{"id":7,"previous":"…","at_micros":…,…,"hash":"…"}`: `hash` is the SHA-256 of everything before `,"hash"`, and
//! `previous` is the `hash` of line 6. Whoever changes, removes or inserts a line has to make every later one anew.

use std::fmt;

use headwater_model::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::status::Incident;

const SEAL: &str = ",\"hash\":\"";

/// Of a line; zero before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Hash {
    fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    pub fn parse(text: &str) -> Option<Hash> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d)) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Hash(hash))
    }
}

#[derive(Serialize, Deserialize)]
struct Linked<I> {
    id: u64,
    previous: String,
    #[serde(flatten)]
    incident: I,
}

/// A line that is whole in itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub previous: Hash,
    pub hash: Hash,
    pub incident: Incident,
}

/// `incident` as line number `id`, newline included, and its hash.
pub fn seal(id: u64, previous: Hash, incident: &Incident) -> Result<(String, Hash)> {
    let linked = Linked { id, previous: previous.to_string(), incident };
    let mut text = serde_json::to_string(&linked)
        .map_err(|error| Error::bug("an incident cannot be written as JSON").with_cause(error))?;
    // The object's closing brace comes after the seal.
    text.pop();
    let hash = Hash::of(text.as_bytes());
    text.push_str(&format!("{SEAL}{hash}\"}}\n"));
    Ok((text, hash))
}

/// Reads a line, without its newline; what is wrong with it in words.
pub fn unseal(line: &[u8]) -> std::result::Result<Line, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "is not text")?;
    let (content, seal) = line.rsplit_once(SEAL).ok_or("has no hash")?;
    let hash = seal.strip_suffix("\"}").and_then(Hash::parse).ok_or("has a hash that cannot be read")?;
    if Hash::of(content.as_bytes()) != hash {
        return Err("does not have the content that its hash was made of");
    }
    let linked: Linked<Incident> = serde_json::from_str(&format!("{content}}}"))
        .map_err(|_| "is not an incident that this version reads")?;
    let previous = Hash::parse(&linked.previous).ok_or("does not say the hash of the line before")?;
    Ok(Line { previous, hash, incident: Incident { id: linked.id, ..linked.incident } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::status::IncidentKind;

    #[test]
    fn a_line_reads_as_it_was_sealed_and_any_flipped_bit_is_noticed() {
        let mut incident =
            Incident::new(1, "store near", IncidentKind::Failed, "said \"no\",\"hash\":\"x\"\n");
        incident.evidence = Some("ü".into());
        let (text, hash) = seal(7, Hash::default(), &incident).unwrap();
        assert!(text.ends_with("\"}\n") && text.matches('\n').count() == 1);
        let line = unseal(text.trim_end().as_bytes()).unwrap();
        assert_eq!((line.incident.id, line.hash), (7, hash));
        assert_eq!(Incident { id: 0, ..line.incident }, incident);
        for at in 0..text.len() - 1 {
            for bit in 0..8 {
                let mut bytes = text.trim_end().as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert!(unseal(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
