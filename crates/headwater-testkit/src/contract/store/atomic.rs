//! All of a step or nothing: asked only of stores that promise whole transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::{Epoch, ErrorKind, Offset, Store, StoredBody, View};

use super::setup::{Bench, clear, delete, document, held, key, put};

pub(super) async fn a_dropped_step_leaves_nothing(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    for changes in [1, 30_000] {
        let mut apply = bench.begin().await;
        let writes = (2..2 + changes).map(|id| put(&view, key(id), document(id, 9))).collect();
        bench.ok("write", apply.write(writes).await);
        bench.ok("write", apply.write(vec![delete(&view, key(1)), clear(&view)]).await);
        drop(apply);
        bench.expect(&view, &key(1), Some(&document(1, 1))).await;
        bench.expect(&view, &key(2), None).await;
        bench.expect_held(&held(1, bench.offset)).await;
        bench.step(vec![put(&view, key(1), document(1, 1))]).await;
        assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 1, "{bench}: one document");
    }
}

pub(super) async fn a_step_opened_before_a_takeover_fails_at_commit(bench: &mut Bench<'_>) {
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(1), document(1, 1))]).await;
    let old = Arc::clone(&bench.store);
    let Some(new) = bench.subject.reopen(&bench.store).await else { return };
    let mut apply = bench.begin().await;
    bench.ok("write", apply.write(vec![put(&view, key(1), document(1, 9))]).await);
    // A store may also make the successor wait for the open step; then there is nothing to be fenced.
    let claim = tokio::time::timeout(std::time::Duration::from_secs(3), new.claim(Epoch(2))).await;
    match claim {
        Ok(Ok(_)) => {
            let error = apply.commit(&held(1, 2)).await.expect_err("an old owner's step went through");
            bench.expect_kind(&error, ErrorKind::Fenced);
        }
        Ok(Err(e)) if e.is_retryable() => drop(apply),
        Ok(Err(e)) => panic!("{bench}: claim while a step is open: {e:?}"),
        Err(_) => drop(apply),
    }
    bench.ok("claim", new.claim(Epoch(2)).await);
    bench.store = new;
    bench.epoch = 2;
    bench.expect(&view, &key(1), Some(&document(1, 1))).await;
    bench.expect_held(&held(2, 1)).await;
    bench.step(vec![put(&view, key(1), document(1, 2))]).await;
    bench.expect(&view, &key(1), Some(&document(1, 2))).await;
    let error = bench.refused(&*old, 1, 1, vec![put(&view, key(1), document(1, 9))]).await;
    bench.expect_kind(&error, ErrorKind::Fenced);
}

/// Two keys and the position carry the same number. Whoever reads one and then another must find the second at least as
/// new, in either order: a step that became visible in parts would break that.
pub(super) async fn a_reader_never_sees_half_a_step(bench: &mut Bench<'_>) {
    let view = bench.view("account");
    bench.claim(&[&view]).await;
    let both = |n: i64| vec![put(&view, key(1), document(1, n)), put(&view, key(2), document(2, n))];
    bench.step(both(1)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_both_ways(Arc::clone(&bench.store), Arc::clone(&view), Arc::clone(&stop)));
    for n in 2..=400 {
        if n % 5 == 0 {
            // The keys lie far apart in a step of some size.
            let mut changes = vec![put(&view, key(1), document(1, n))];
            changes.extend((100..600).map(|id| put(&view, key(id), document(id, n))));
            changes.push(put(&view, key(2), document(2, n)));
            bench.step(changes).await;
        } else if n % 7 == 0 {
            let mut changes = vec![clear(&view)];
            changes.extend(both(n));
            bench.step(changes).await;
        } else {
            bench.step(both(n)).await;
        }
        if reader.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    let reads = match reader.await {
        Ok(Ok(reads)) => reads,
        Ok(Err(torn)) => panic!("{bench}: {torn}"),
        Err(e) => panic!("{bench}: the reader failed: {e}"),
    };
    assert!(reads > 0, "{bench}: the reader got to read");
}

async fn read_both_ways(
    store: Arc<dyn Store>,
    view: Arc<View>,
    stop: Arc<AtomicBool>,
) -> Result<u64, String> {
    let (mut newest, mut what, mut reads) = (0, "nothing", 0);
    while !stop.load(Ordering::SeqCst) {
        for (name, id) in [("key 1", 1), ("key 2", 2), ("key 1", 1), ("the position", 0)] {
            let found = match id {
                0 => store.held().await.map_err(|e| format!("held: {e:?}"))?.map(|held| held.offset.0),
                id => crate::read::document(&*store, &view, &key(id))
                    .await
                    .map_err(|e| format!("get: {e:?}"))?
                    .and_then(|b| number(&b)),
            };
            let found = found.ok_or_else(|| format!("{name} is gone after {what} showed {newest}"))?;
            if found < newest {
                return Err(format!("{name} shows {found} after {what} showed {newest}"));
            }
            (newest, what) = (found, name);
        }
        reads += 1;
        tokio::task::yield_now().await;
    }
    Ok(reads)
}

fn number(body: &StoredBody) -> Option<u64> {
    match body {
        StoredBody::Json(text) => serde_json::from_str::<serde_json::Value>(text).ok()?.get("n")?.as_u64(),
        StoredBody::Fields(fields) => {
            let (_, value) = fields.iter().find(|(name, _)| name == "n")?;
            String::from_utf8_lossy(value).parse().ok()
        }
    }
}

pub(super) async fn a_huge_step_appears_at_once(bench: &mut Bench<'_>) {
    const CHANGES: i64 = 200_000;
    let view = bench.view("book");
    bench.claim(&[&view]).await;
    bench.step(vec![put(&view, key(-1), document(-1, 1))]).await;
    let mut apply = bench.begin().await;
    for from in (0..CHANGES).step_by(5_000) {
        let changes = (from..from + 5_000).map(|id| put(&view, key(id), document(id, id))).collect();
        let refusals = bench.ok("write", apply.write(changes).await);
        assert_eq!(refusals, [], "{bench}: nothing is refused");
    }
    for id in [0, CHANGES / 2, CHANGES - 1] {
        bench.expect(&view, &key(id), None).await;
    }
    bench.expect_held(&held(1, 1)).await;
    bench.ok("commit", apply.commit(&held(1, 2)).await);
    bench.offset = 2;
    for id in [-1, 0, 1, CHANGES / 2, CHANGES - 1] {
        let expected = document(id, if id < 0 { 1 } else { id });
        bench.expect(&view, &key(id), Some(&expected)).await;
    }
    bench.expect_held(&held(1, 2)).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), CHANGES as u64 + 1, "{bench}: rows");
    bench.step(vec![clear(&view)]).await;
    assert_eq!(bench.ok("rows", bench.store.rows(&view).await), 0, "{bench}: rows after a clear");
    let (page, next) = bench.ok("scan", bench.store.scan(&view, None, 10).await);
    assert_eq!((page.len(), next), (0, None), "{bench}: a cleared view");
    assert_eq!(Offset(bench.offset), Offset(3));
}
