//! Random access patterns with random parameters while random transactions commit, from both sources: whatever answers, it is
//! the source's answer at the same position.
//!
//! What the answer is, is said three times: by the source through the engine that answers in SQL, by the checker's own plain
//! SQL, and by going through all documents by hand. All stores have to agree with all of them, and among each other to the
//! byte, cursors included. While commits go on without a pause, readers that pass on the position of their last answer never
//! see anything older, whichever store answers next.
//!
//! Seeds are as in [`crate::cases`].

mod question;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headwater_flow::serve::Content;
use headwater_model::PlannedRead;
use headwater_testkit::checker::{self, Expected};
use headwater_testkit::faults::{Call, Fault};
use headwater_testkit::workload::Workload;
use headwater_testkit::{Chance, FalkorDb, MariaDb, Postgres, Redis};
use serde_json::Value as Json;

use crate::cases::{self, SetOnDrop};
use crate::more::More;
use crate::support::{self, block_on};
use crate::writer::Writer;
use question::Question;
use world::{PATIENCE, World};

const CASES: u64 = 4;
const AT_ONCE: u64 = 2;

/// Pauses of the writer in which answers are compared.
const ROUNDS: u64 = 8;
const READS: u64 = 8;

#[test]
fn every_answer_is_the_sources_at_the_same_position() {
    support::log();
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let (mariadb, graphs) = ((!MariaDb::is_left_out()).then(MariaDb::start), FalkorDb::start());
    cases::run(CASES, AT_ONCE, |seed, worker| {
        let mut chance = Chance::new(seed);
        let near = format!("{}/{worker}", redis.url());
        let more = match seed % 2 {
            0 => mariadb.as_ref().map(|server| More::models(server, seed)),
            _ => graphs.as_ref().map(|server| More::social(server, seed)),
        };
        let more = more.unwrap_or(More::Nothing);
        let (mut world, mut workload) = World::begin(seed, &mut chance, &postgres, &more, &near);
        let mut writer = Writer::connect(&world.source_url);
        for round in 0..ROUNDS {
            for _ in 0..1 + chance.below(4) {
                writer.execute(&workload.transaction().sql());
            }
            let expected = world.expected();
            if round % 3 == 2 {
                a_store_fails(&world, &expected, &mut chance);
                world.life.wait_settled(PATIENCE);
            }
            compare(&world, &expected, &mut chance);
        }
        read_while_written(&world, &mut writer, &mut workload, &mut chance);
        page_by_page(&world, &world.expected(), &mut chance);
        world.end(&postgres);
    });
}

/// Every engine is asked the same, and each answer is right and the same.
fn compare(world: &World, expected: &Expected, chance: &mut Chance) {
    let after = world.position();
    for _ in 0..READS {
        let question = Question::random(&world.plans, expected, chance);
        let mut first: Option<Content> = None;
        for serving in &world.each {
            let reply = world.ask(serving, &question, None, Some(&after));
            question.judge(world, expected, &reply);
            let content = first.get_or_insert_with(|| reply.content.clone());
            assert_eq!(*content, reply.content, "{question}: {:?} differs from near", reply.shown);
        }
    }
}

/// One store is cut off or held back; readers of all of them notice nothing.
fn a_store_fails(world: &World, expected: &Expected, chance: &mut Chance) {
    let after = world.position();
    let store = chance.pick(&world.faulty);
    match chance.below(4) {
        0 => store.sever(),
        1 => store.inject(Call::Commit, Fault::Hold),
        2 => store.inject(Call::Answer, Fault::Hold),
        _ => store.inject(Call::Answer, Fault::Slow(Duration::from_millis(50))),
    }
    for _ in 0..READS {
        let question = Question::random(&world.plans, expected, chance);
        let reply = world.ask(&world.all, &question, None, Some(&after));
        question.judge(world, expected, &reply);
    }
    store.behave();
}

/// Commits without a pause, and readers that go from engine to engine.
fn read_while_written(world: &World, writer: &mut Writer, workload: &mut Workload, chance: &mut Chance) {
    let over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let expected = world.expected();
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        for _ in 0..2 {
            let (over, reads, expected, mut chance) =
                (&over, &reads, &expected, Chance::new(chance.number()));
            scope.spawn(move || {
                let _end = SetOnDrop(over);
                watch(world, expected, &mut chance, over, reads);
            });
        }
        let pace = chance.below(4);
        // A slow machine still has to have some reads of it.
        for _ in 0..2000 {
            writer.execute(&workload.transaction().sql());
            std::thread::sleep(Duration::from_millis(pace));
            if over.load(Ordering::SeqCst) || reads.load(Ordering::SeqCst) >= 60 {
                break;
            }
        }
    });
}

fn watch(world: &World, expected: &Expected, chance: &mut Chance, over: &AtomicBool, reads: &AtomicU64) {
    let pair = Question::of(world.plans.iter().find(|plan| &*plan.access.name == "pair").unwrap());
    let (mut newest, mut last, mut position) = (0, None, None);
    while !over.load(Ordering::SeqCst) {
        let serving = chance.pick(&world.each);
        let reply = world.ask(serving, &pair, None, position.as_deref());
        let (version, shown) = (whole_pair(&reply.content), &reply.shown);
        let sequence = shown.position.as_deref().map(|text| world.sequence(text));
        assert!(version >= newest, "from version {newest} back to {version}: {shown:?} after {position:?}");
        assert!(sequence >= last, "from {last:?} back to {sequence:?}: {shown:?} after {position:?}");
        (newest, last) = (version, sequence.or(last));
        position = reply.shown.position.or(position);
        // Whatever else is asked at any moment has an answer.
        let question = Question::random(&world.plans, expected, chance);
        let reply = world.ask(chance.pick(&world.each), &question, None, None);
        question.judge_form(&reply.content);
        reads.fetch_add(1, Ordering::SeqCst);
    }
}

/// The version of both rows of the pair, which belong together.
fn whole_pair(content: &Content) -> i64 {
    let Content::List { items, .. } = content else { panic!("{content:?}") };
    let rows: Vec<Json> = items.iter().map(|item| serde_json::from_str(item).unwrap()).collect();
    let [one, two] = &rows[..] else { panic!("not a pair: {rows:?}") };
    let number = |row: &Json, field: &str| row[field].as_i64().unwrap();
    assert_eq!(number(one, "amount") + number(two, "amount"), 0, "a torn pair: {rows:?}");
    assert_eq!(one["version"], two["version"], "a torn pair: {rows:?}");
    number(one, "version")
}

/// All pages of a range, each from another engine, give every document once and in order.
fn page_by_page(world: &World, expected: &Expected, chance: &mut Chance) {
    let after = world.position();
    for plan in &world.plans {
        if !matches!(plan.read, PlannedRead::Range { .. } | PlannedRead::Window { buckets: None, .. }) {
            continue;
        }
        let mut question = Question::with_values(plan, expected, chance);
        let wanted = question.documents(expected);
        let (mut found, mut cursor): (Vec<Json>, _) = (Vec::new(), None);
        loop {
            question.limit = 1 + chance.below(question.limit_max as u64) as usize;
            let reply = world.ask(chance.pick(&world.each), &question, cursor.as_deref(), Some(&after));
            let Content::List { items, next } = reply.content else { panic!("{question}: {reply:?}") };
            assert!(items.len() <= question.limit, "{question}: {} items", items.len());
            found.extend(items.iter().map(|item| serde_json::from_str::<Json>(item).unwrap()));
            if next.is_none() {
                break;
            }
            assert!(!items.is_empty() && found.len() <= wanted.len(), "{question}: pages have no end");
            cursor = next;
        }
        let difference = checker::answer::list_differs(wanted.iter().copied(), &found);
        assert_eq!(difference, None, "{question}, page by page");
        if question.has_rows() {
            let rows = block_on(checker::page(&world.truth, question.view(), &question.range()));
            let difference = checker::answer::list_differs(rows.iter(), &found);
            assert_eq!(difference, None, "{question}, page by page and in plain SQL");
        }
    }
}
