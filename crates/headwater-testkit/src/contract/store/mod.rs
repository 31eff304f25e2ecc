//! What every [`Store`] must do. [`run`] asks all of it of one engine; a failure panics with the check's name, the layout,
//! what was expected and what was found.
//!
//! Reads go through the trait itself: whether the engine really holds what it says is for the engine's own tests.

mod atomic;
mod documents;
mod entries;
mod fencing;
mod random;
mod ranges;
mod reading;
mod series;
mod setup;
mod sources;
mod values;
mod walks;

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{Layout, Promise, Store};

pub use random::random_steps;
pub use setup::{Bench, document, held, key, record, view};

/// An engine as the suite sees it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A store that holds nothing. What former calls gave is not used any more.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// Another value on the same data, as a restarted or a second process would open it; the first may live on. `None` if
    /// the data lives in the value.
    async fn reopen(&self, store: &Arc<dyn Store>) -> Option<Arc<dyn Store>>;

    /// A value on the same data that keeps the views of this source there, where several sources share the store. `None` if the
    /// data lives in the value.
    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>>;

    /// Removes everything behind the store's back (FLUSHALL, a deleted file). `false` if that cannot be done.
    async fn empty(&self, store: &Arc<dyn Store>) -> bool;

    /// The layouts that make a difference to this engine.
    fn layouts(&self) -> Vec<Layout>;

    /// Whether an entry of an index changes answers without its document: so a stray is listed, and can be taken out.
    fn believes_entries(&self) -> bool;

    /// Whether views may be read in any order, and walked. Otherwise only a series has one, by time.
    fn keeps_any_order(&self) -> bool;
}

macro_rules! checks {
    ($bench:ident, $($module:ident :: $check:ident),+ $(,)?) => {
        $( $bench.start(stringify!($check)).await; $module::$check(&mut $bench).await; )+
    };
}

/// Runs every check, with every layout, on a fresh store each.
pub async fn run(subject: &dyn Subject) {
    for layout in subject.layouts() {
        let mut bench = Bench::new(subject, layout).await;
        checks!(
            bench,
            fencing::an_empty_store_holds_nothing_until_it_is_claimed,
            documents::put_get_delete_clear,
            documents::null_is_not_the_empty_text,
            documents::a_document_of_nulls_exists,
            documents::a_full_put_leaves_exactly_its_fields,
            documents::a_partial_put_keeps_the_rest,
            documents::a_partial_put_can_come_first,
            documents::a_changed_key_takes_its_document_along,
            documents::clear_and_put_in_one_step,
            documents::the_last_change_of_a_key_in_a_step_wins,
            documents::several_views_in_one_step,
            values::keys_that_look_alike_stay_apart,
            values::values_come_back_exactly,
            values::view_names_are_only_names,
            reading::a_scan_gives_every_document_once,
            reading::rows_are_right,
            fencing::a_step_must_continue_what_the_store_holds,
            fencing::a_step_that_nobody_waited_for_is_not_open,
            fencing::a_lower_epoch_is_refused,
            fencing::a_store_emptied_behind_our_back_is_out_of_step,
            fencing::a_restart_keeps_documents_and_position,
            fencing::a_replay_after_a_lost_reply_changes_nothing,
            sources::each_source_has_a_place_of_its_own,
            random::random_steps_match_a_model,
            walks::a_get_of_many_keys_keeps_their_order,
            series::random_windows_match_a_model,
        );
        if subject.keeps_any_order() {
            checks!(
                bench,
                ranges::an_empty_store_answers_nothing,
                ranges::random_ranges_match_a_model,
                ranges::a_replayed_step_leaves_indexes_as_they_are,
                ranges::other_indexes_after_a_clear,
                entries::what_lies_in_indexes_is_listed_and_told,
                entries::what_an_index_lost_is_told_and_put_again_with_its_document,
                walks::random_walks_match_a_join,
            );
        }
        if bench.facts.promise == Promise::Transaction {
            checks!(
                bench,
                atomic::a_dropped_step_leaves_nothing,
                atomic::a_step_opened_before_a_takeover_fails_at_commit,
                atomic::a_reader_never_sees_half_a_step,
                atomic::a_huge_step_appears_at_once,
                walks::an_answer_shows_one_moment,
            );
        }
    }
}
