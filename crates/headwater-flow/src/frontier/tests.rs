#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkRange, Follow, Lineage, Read, RetainedLog, SourceFacts, TableName,
};
use tokio::time::Instant;

use super::*;

/// A source that remembers the marks it was given; the test lets them come by.
#[derive(Default)]
struct Marks {
    given: Mutex<VecDeque<ChunkId>>,
    refusals: AtomicU64,
}

impl Marks {
    async fn next(&self) -> ChunkId {
        loop {
            if let Some(mark) = self.given.lock().unwrap().pop_front() {
                return mark;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn waiting(&self) -> usize {
        self.given.lock().unwrap().len()
    }
}

#[async_trait]
impl Source for Marks {
    async fn mark(&self, mark: ChunkId) -> Result<()> {
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            return Err(Error::transient("away"));
        }
        self.given.lock().unwrap().push_back(mark);
        Ok(())
    }

    async fn inspect(&self) -> Result<SourceFacts> {
        unreachable!("only marks are asked for")
    }
    async fn lineage(&self, _: Option<&Position>) -> Result<Lineage> {
        unreachable!("only marks are asked for")
    }
    async fn prepare(&self, _: &[TableName]) -> Result<Vec<TableName>> {
        unreachable!("only marks are asked for")
    }
    async fn follow(&self, _: Option<&Position>) -> Result<Box<dyn Follow>> {
        unreachable!("only marks are asked for")
    }
    async fn shapes(&self, _: &[TableName]) -> Result<Vec<Catalogued>> {
        unreachable!("only marks are asked for")
    }
    async fn read_chunk(&self, _: &ChunkRange) -> Result<Chunk> {
        unreachable!("only marks are asked for")
    }
    async fn release(&self, _: &Position) -> Result<()> {
        unreachable!("only marks are asked for")
    }
    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        unreachable!("only marks are asked for")
    }
    async fn answer(&self, _: &Read) -> Result<Answer> {
        unreachable!("only marks are asked for")
    }
    async fn forget(&self) -> Result<()> {
        unreachable!("only marks are asked for")
    }
    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        Vec::new()
    }

    fn notation(&self, position: &Position) -> String {
        position.sequence.to_string()
    }
    fn sequence(&self, notation: &str) -> Option<u64> {
        notation.parse().ok()
    }
}

fn at(sequence: u64) -> Position {
    Position::new("s/1", sequence)
}

fn frontier() -> (Arc<Marks>, Arc<Frontier>) {
    let source = Arc::new(Marks::default());
    let reached = Reached { position: Some(at(10)), offset: Offset(1) };
    let frontier = Frontier::new(Arc::clone(&source) as Arc<dyn Source>, 1000, reached);
    (source, Arc::new(frontier))
}

fn ask(frontier: &Arc<Frontier>) -> tokio::task::JoinHandle<Result<Reached>> {
    let frontier = Arc::clone(frontier);
    tokio::spawn(async move { frontier.now().await })
}

#[tokio::test]
async fn a_mark_tells_where_all_that_was_committed_before_the_question_is() {
    let (source, frontier) = frontier();
    let asked = ask(&frontier);
    let mark = source.next().await;
    frontier.reach(&at(30), Offset(3));
    assert!(!asked.is_finished(), "a commit may lie before what was committed when the question was asked");
    frontier.mark_came_by(mark, &at(40), Offset(3));
    assert_eq!(asked.await.unwrap().unwrap(), Reached { position: Some(at(40)), offset: Offset(3) });
    assert_eq!(frontier.passed(&at(40)).await.unwrap(), Offset(3));
}

#[tokio::test]
async fn those_who_ask_while_a_mark_is_on_its_way_share_the_next_one() {
    let (source, frontier) = frontier();
    let first = ask(&frontier);
    let mark = source.next().await;
    let later: Vec<_> = (0..50).map(|_| ask(&frontier)).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(source.waiting(), 0, "one mark at a time");
    frontier.mark_came_by(mark, &at(20), Offset(2));
    assert_eq!(first.await.unwrap().unwrap().offset, Offset(2));
    let second = source.next().await;
    assert!(
        later.iter().all(|asked| !asked.is_finished()),
        "the first mark was put into the log before they asked"
    );
    frontier.mark_came_by(second, &at(30), Offset(7));
    for asked in later {
        assert_eq!(asked.await.unwrap().unwrap().offset, Offset(7));
    }
    assert_eq!(source.waiting(), 0);
}

#[tokio::test]
async fn a_lost_mark_is_replaced_and_an_end_of_patience_is_said() {
    let (source, frontier) = frontier();
    source.refusals.store(1, Ordering::SeqCst);
    let asked = ask(&frontier);
    let lost = source.next().await;
    let mark = source.next().await;
    assert!(mark > lost);
    frontier.mark_came_by(mark, &at(20), Offset(2));
    assert_eq!(asked.await.unwrap().unwrap().offset, Offset(2));

    let began = Instant::now();
    let error = ask(&frontier).await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(began.elapsed() >= MARK_WITHIN * MARKS_MAX);
}

#[tokio::test]
async fn marks_of_earlier_terms_tell_nothing() {
    let (source, frontier) = frontier();
    let asked = ask(&frontier);
    let mark = source.next().await;
    frontier.mark_came_by(999, &at(20), Offset(2));
    frontier.mark_came_by(mark + 5, &at(21), Offset(2));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!asked.is_finished());
    assert_eq!(frontier.whole_after(), None);
    frontier.mark_came_by(mark, &at(30), Offset(9));
    frontier.mark_came_by(frontier.next_mark(), &at(40), Offset(12));
    assert_eq!(frontier.wait_whole().await, Offset(9), "the first mark counts");
}

#[tokio::test]
async fn a_position_is_passed_by_commits_by_idle_log_or_by_a_mark() {
    let (source, frontier) = frontier();
    assert_eq!(frontier.passed(&at(10)).await.unwrap(), Offset(1), "the journal has it already");
    let waiting = tokio::spawn({
        let frontier = Arc::clone(&frontier);
        async move { frontier.passed(&at(25)).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    frontier.reach(&at(20), Offset(2));
    frontier.reach(&at(30), Offset(3));
    assert_eq!(waiting.await.unwrap().unwrap(), Offset(3));

    let quiet = tokio::spawn({
        let frontier = Arc::clone(&frontier);
        async move { frontier.passed(&at(31)).await }
    });
    source.next().await;
    frontier.mark_came_by(frontier.next_mark(), &at(35), Offset(3));
    assert_eq!(quiet.await.unwrap().unwrap(), Offset(3), "nothing of interest was committed");
    assert!(frontier.passed(&Position::new("s/2", 1)).await.is_err(), "another course of history");
}
