//! Log sequence numbers in PostgreSQL's notation.

use headwater_model::{Error, Result};

/// `16/B374D848`
pub(super) fn format(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

pub(super) fn parse(text: &str) -> Result<u64> {
    text.split_once('/')
        .and_then(|(high, low)| {
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(u64::from(high) << 32 | u64::from(low))
        })
        .ok_or_else(|| Error::bug(format!("the server sent \"{text}\" where an LSN should be")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_reads_back() {
        for lsn in [0, 1, 0x16_B374_D848, u64::MAX] {
            assert_eq!(parse(&format(lsn)).ok(), Some(lsn));
        }
        assert_eq!(format(0x16_B374_D848), "16/B374D848");
        assert!(parse("x").is_err());
    }
}
