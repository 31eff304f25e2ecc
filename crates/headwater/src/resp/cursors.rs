//! Where scans go on.
//!
//! Clients take a cursor for a number of 64 bits, and a place in a store does not fit into one, so places are remembered
//! under numbers: a bounded number of them for all connections together, the oldest forgotten first. A client may use the
//! same cursor again, from any connection, as long as it is remembered.

use std::collections::BTreeMap;

use headwater_flow::serve::ScanPlace;

const CURSORS_MAX: usize = 4_096;
const BYTES_MAX: usize = 16 << 20;

/// A place in the scan of all keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The view that is being read, as it stands in keys; `None`: the first. Views come to be there while scans go on.
    pub view: Option<Box<[u8]>>,
    /// `None`: from its start.
    pub at: Option<ScanPlace>,
}

pub struct Cursors {
    places: BTreeMap<u64, Place>,
    next: u64,
    bytes: usize,
}

impl Cursors {
    /// `first`: by chance, so that a number of a former process is not taken for one of ours.
    pub fn new(first: u32) -> Cursors {
        Cursors { places: BTreeMap::new(), next: (u64::from(first) << 20) + 1, bytes: 0 }
    }

    pub fn remember(&mut self, place: Place) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += bytes(&place);
        self.places.insert(number, place);
        while self.places.len() > CURSORS_MAX || (self.bytes > BYTES_MAX && self.places.len() > 1) {
            if let Some((_, oldest)) = self.places.pop_first() {
                self.bytes -= bytes(&oldest);
            }
        }
        number
    }

    pub fn place(&self, number: u64) -> Option<Place> {
        self.places.get(&number).cloned()
    }
}

fn bytes(place: &Place) -> usize {
    64 + place.view.as_ref().map_or(0, |view| view.len()) + place.at.as_ref().map_or(0, |at| at.cursor.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(view: u8, bytes: usize) -> Place {
        Place { view: Some([view].into()), at: Some(ScanPlace { store: 0, cursor: "x".repeat(bytes) }) }
    }

    #[test]
    fn the_oldest_are_forgotten_by_number_and_by_size() {
        let mut cursors = Cursors::new(7);
        let first = cursors.remember(place(1, 10));
        assert_eq!(cursors.place(first), Some(place(1, 10)));
        for _ in 0..CURSORS_MAX {
            cursors.remember(place(2, 10));
        }
        assert_eq!(cursors.place(first), None);
        assert_eq!(cursors.places.len(), CURSORS_MAX);
        let great = cursors.remember(place(3, BYTES_MAX));
        assert_eq!(cursors.places.len(), 1);
        assert!(cursors.place(great).is_some());
        cursors.remember(place(4, 1));
        assert_eq!(cursors.bytes, 66);
    }
}
