//! Slots of a cluster, and the lanes that a store without a hash tag is spread over.
//!
//! A lane is a hash tag: all its keys lie in one slot, so that one node holds them and one MULTI covers them. Lane `i` of `n`
//! takes the documents whose text `view:key` has its CRC16 in the `i`-th of `n` equal parts of the slots. Its tag is the least
//! number whose slot is among the first 16 of the same part: so lanes lie as evenly as the slots themselves, the first lane
//! has the same tag however many there are, and anybody can compute all of it.

/// How many slots every cluster has.
pub(super) const SLOTS: u16 = 16384;

/// Lanes begin at multiples of so many slots.
const GRAIN: u16 = 16;

/// A lane per grain at most.
pub(super) const LANES_MAX: u16 = SLOTS / GRAIN;

/// CRC16 as the cluster computes it (CCITT, XMODEM).
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = ((at as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// The slot of a key's hash tag.
pub(super) fn of_tag(tag: &str) -> u16 {
    crc16(tag.as_bytes()) % SLOTS
}

/// The lane, of so many, that a document lies in. `name` is what stands behind the lane's prefix: `view:key`.
pub(super) fn lane_of(name: &[u8], lanes: u16) -> usize {
    usize::from(crc16(name) % SLOTS) * usize::from(lanes) / usize::from(SLOTS)
}

/// The tags of so many lanes, in their order. `lanes` is a power of two up to [`LANES_MAX`].
pub(super) fn tags(lanes: u16) -> Vec<String> {
    let mut tags = vec![None; usize::from(lanes)];
    let (mut missing, apart) = (tags.len(), LANES_MAX / lanes);
    let mut number = 0u32;
    while missing > 0 {
        let tag = number.to_string();
        let grain = of_tag(&tag) / GRAIN;
        let lane = &mut tags[usize::from(grain / apart)];
        if grain.is_multiple_of(apart) && lane.is_none() {
            *lane = Some(tag);
            missing -= 1;
        }
        number += 1;
    }
    tags.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT says.
        for (tag, slot) in [("foo", 12182), ("bar", 5061), ("", 0)] {
            assert_eq!(of_tag(tag), slot, "{tag}");
        }
    }

    #[test]
    fn every_lane_has_a_tag_in_its_own_part_of_the_slots() {
        for lanes in [1, 4, 16, 64, 1024] {
            let tags = tags(lanes);
            assert_eq!(tags.len(), usize::from(lanes));
            for (lane, tag) in tags.iter().enumerate() {
                assert_eq!(usize::from(of_tag(tag)) * usize::from(lanes) / usize::from(SLOTS), lane);
            }
            assert_eq!(tags[0], super::tags(LANES_MAX)[0], "how many lanes there are is asked of the first");
        }
    }

    #[test]
    fn documents_are_spread_over_all_lanes() {
        let mut counts = [0; 16];
        (0..16_000).for_each(|id| counts[lane_of(format!("book:{id}").as_bytes(), 16)] += 1);
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
    }
}
