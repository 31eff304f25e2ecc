//! Frames: the checksummed unit of a segment file. What is inside them is not known here.

use headwater_model::{Error, Result};

/// The bytes before a frame's body: length, checksum, kind.
pub(super) const HEAD: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Shape = 2,
    Begin = 3,
    Changes = 4,
    Commit = 5,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Header,
            2 => Kind::Shape,
            3 => Kind::Begin,
            4 => Kind::Changes,
            5 => Kind::Commit,
            _ => return None,
        })
    }
}

/// Starts a frame at the end of `out`; the body is what is appended until [`close`].
pub(super) fn open(kind: Kind, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, kind as u8]);
    start
}

/// Ends the frame that began at `start`. `position` is where in the file of segment `segment` that is.
pub(super) fn close(out: &mut [u8], start: usize, segment: u64, position: u64) -> Result<()> {
    let frame = &mut out[start..];
    let length = u32::try_from(frame.len() - HEAD)
        .map_err(|_| Error::unsupported("one change takes more than 4 GiB in the journal"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let crc = checksum(segment, position, length, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Over a frame's place, its length, its kind and its body.
fn checksum(segment: u64, position: u64, length: u32, kind_and_body: &[u8]) -> u32 {
    let mut place = [0; 20];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..16].copy_from_slice(&position.to_le_bytes());
    place[16..].copy_from_slice(&length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), kind_and_body)
}

/// Size of the frame that `bytes` starts with, by what it says itself; `None` with fewer than [`HEAD`] bytes.
pub(super) fn size(bytes: &[u8]) -> Option<u64> {
    let length = bytes.get(..4)?;
    (bytes.len() >= HEAD)
        .then(|| u64::from(u32::from_le_bytes([length[0], length[1], length[2], length[3]])) + HEAD as u64)
}

/// Kind and body of a frame, if `frame` is exactly one, and that of this place.
pub(super) fn check(frame: &[u8], segment: u64, position: u64) -> Option<(Kind, &[u8])> {
    if size(frame)? != frame.len() as u64 {
        return None;
    }
    let crc = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
    if crc != checksum(segment, position, (frame.len() - HEAD) as u32, &frame[8..]) {
        return None;
    }
    Some((Kind::from_byte(frame[8])?, &frame[HEAD..]))
}
