//! Where a reader goes on, as an opaque text. A cursor is good for the same pattern and the same parameters only, whichever
//! engine gave it and whichever goes on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `part` is what the pages belong to: pattern, direction and parameter values.
pub(super) fn write(part: &[u8], place: &[u8]) -> String {
    let mut bytes = crc32c::crc32c(part).to_le_bytes().to_vec();
    bytes.extend_from_slice(place);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place, if the text is a cursor of `part`.
pub(super) fn read(part: &[u8], text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (sum, place) = bytes.split_first_chunk::<4>()?;
    (*sum == crc32c::crc32c(part).to_le_bytes()).then(|| place.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_where_it_was_given_and_nowhere_else() {
        let cursor = write(b"books", b"\x00\xff place");
        assert_eq!(read(b"books", &cursor), Some(b"\x00\xff place".to_vec()));
        assert_eq!(read(b"orders", &cursor), None);
        for text in ["", "A", "AAAA", "no cursor", &cursor[1..]] {
            assert_eq!(read(b"books", text), None, "{text}");
        }
    }
}
