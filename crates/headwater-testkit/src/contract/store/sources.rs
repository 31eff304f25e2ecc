//! Several sources whose views are in one store: what one writes, and who writes for it, is none of the others' business.

use std::sync::Arc;

use headwater_model::{AnswerMoment, Epoch, ErrorKind, Read, Store, View};

use super::setup::{Bench, clear, document, held, key, put};
use crate::Chance;

/// A source as the check goes on with it.
struct Owner {
    store: Arc<dyn Store>,
    view: Arc<View>,
    epoch: u64,
    offset: u64,
    /// What the view's one document has.
    n: i64,
}

impl Owner {
    async fn step(&mut self, bench: &mut Bench<'_>, n: i64) {
        bench.store = Arc::clone(&self.store);
        (bench.epoch, bench.offset) = (self.epoch, self.offset);
        bench.step(vec![put(&self.view, key(1), document(1, n))]).await;
        (self.offset, self.n) = (bench.offset, n);
    }

    /// Position and document are its own, and belong together.
    async fn expect(&self, bench: &mut Bench<'_>) {
        bench.store = Arc::clone(&self.store);
        bench.expect_held(&held(self.epoch, self.offset)).await;
        bench.expect(&self.view, &key(1), Some(&document(1, self.n))).await;
        let read = Read::Get { view: Arc::clone(&self.view), keys: vec![key(1)] };
        let answer = bench.ok("answer", self.store.answer(&read).await);
        let (AnswerMoment::Applied(at) | AnswerMoment::AtLeast(at)) = answer.at else {
            panic!("{bench}: an answer of no position")
        };
        assert_eq!(at, held(self.epoch, self.offset), "{bench}: the position of an answer");
        assert_eq!(bench.ok("rows", self.store.rows(&self.view).await), 1, "{bench}: rows of one view");
    }
}

pub(super) async fn each_source_has_a_place_of_its_own(bench: &mut Bench<'_>) {
    let mut owners = Vec::new();
    for (name, view, epoch) in [("shop", "book", 2), ("ledger", "entry", 9)] {
        let Some(store) = bench.subject.of_source(name).await else { return };
        let mut owner = Owner { store, view: bench.view(view), epoch, offset: 0, n: 0 };
        bench.store = Arc::clone(&owner.store);
        bench.epoch = epoch;
        // Whatever the other holds, for this one the store is empty; and the other does not lose what it has.
        assert_eq!(bench.ok("held", owner.store.held().await), None, "{bench}: nothing of {name} yet");
        bench.claim(&[&owner.view]).await;
        owner.step(bench, epoch as i64).await;
        owners.push(owner);
    }
    // In turns, at positions and epochs of their own, one far ahead of the other.
    let mut chance = Chance::new(3);
    for n in 0..24 {
        let place = usize::from(chance.below(4) == 0);
        owners[place].step(bench, 100 + n).await;
        owners[0].expect(bench).await;
        owners[1].expect(bench).await;
    }
    // The place of the one is not the place of the other.
    let (shop, ledger) = (&owners[0], &owners[1]);
    assert_ne!(shop.offset, ledger.offset);
    let foreign = vec![put(&shop.view, key(1), document(1, 7))];
    let error = bench.refused(&*shop.store, shop.epoch, ledger.offset, foreign).await;
    bench.expect_kind(&error, ErrorKind::OutOfStep);
    // Another owner of the one fences its former owner, and nobody of the other.
    let Some(successor) = bench.subject.of_source("shop").await else { return };
    let before = bench.ok("claim", successor.claim(Epoch(5)).await);
    assert_eq!(before, Some(held(2, shop.offset)), "{bench}: what the former owner held");
    let late = vec![put(&shop.view, key(1), document(1, 8))];
    let error = bench.refused(&*shop.store, 2, shop.offset, late).await;
    bench.expect_kind(&error, ErrorKind::Fenced);
    owners[0].store = successor;
    owners[0].epoch = 5;
    owners[1].step(bench, 500).await;
    owners[0].step(bench, 501).await;
    // And what one clears is cleared of its own view.
    bench.step(vec![clear(&owners[0].view)]).await;
    bench.expect(&owners[0].view, &key(1), None).await;
    owners[1].expect(bench).await;
}
