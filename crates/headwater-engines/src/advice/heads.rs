//! Lists of columns to begin an index with, from what a statement asks of a table: what is compared with a value first, then what is
//! joined, ranged over or sorted by.

use super::asked::{Sought, Use};

/// Indexes with more columns than this pay seldom.
const KEYS_MAX: usize = 4;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Column { column: usize, descending: bool, class: Option<&'static str> },
    Expression(Sought),
}

impl Key {
    pub fn of(column: usize) -> Key {
        Key::Column { column, descending: false, class: None }
    }

    pub fn column(&self) -> Option<usize> {
        match self {
            Key::Column { column, .. } => Some(*column),
            Key::Expression(_) => None,
        }
    }
}

/// What an engine knows of the columns of a table.
pub(crate) struct Columns<'a> {
    pub sortable: &'a dyn Fn(usize) -> bool,
    pub distinct: &'a dyn Fn(usize) -> f64,
    /// How an index is asked for the beginning of a text; `None`: not for this column.
    pub prefix: &'a dyn Fn(usize) -> Option<Key>,
}

pub(crate) fn of(used: &Use, columns: &Columns<'_>) -> Vec<Vec<Key>> {
    let sortable = |column: &usize| (columns.sortable)(*column);
    let distinct = |column: usize| (columns.distinct)(column);
    let mut equal: Vec<usize> = used.equal.iter().copied().filter(sortable).collect();
    equal.sort_by(|a, b| distinct(*b).total_cmp(&distinct(*a)));
    let joined: Vec<usize> = used.joined.iter().copied().filter(sortable).collect();
    let range: Vec<usize> = used.range.iter().copied().filter(sortable).collect();
    let mut heads: Vec<Vec<Key>> = Vec::new();
    let mut head = |keys: Vec<Key>| {
        let mut kept: Vec<Key> = Vec::new();
        for key in keys {
            let column = key.column();
            if column.is_none() || kept.iter().all(|other| other.column() != column) {
                kept.push(key);
            }
        }
        kept.truncate(KEYS_MAX);
        if !kept.is_empty() && !heads.contains(&kept) {
            heads.push(kept);
        }
    };
    let keys = |columns: &[usize]| columns.iter().map(|column| Key::of(*column)).collect::<Vec<_>>();
    let ordered = |order: &[(usize, bool)]| -> Vec<Key> {
        // All of them the other way round are the same index.
        let same = order.iter().all(|(_, descending)| *descending);
        let key = |(column, descending): &(usize, bool)| Key::Column {
            column: *column,
            descending: *descending && !same,
            class: None,
        };
        order.iter().filter(|(column, _)| sortable(column)).map(key).collect()
    };
    for column in equal.iter().chain(&joined).chain(&range) {
        head(vec![Key::of(*column)]);
    }
    for order in used.orders.iter().map(|order| ordered(order)) {
        head([keys(&equal), order.clone()].concat());
        for column in &equal {
            head([vec![Key::of(*column)], order.clone()].concat());
        }
        head(order);
    }
    if equal.len() > 1 {
        head(keys(&equal));
    }
    for first in &equal {
        for second in equal.iter().filter(|second| distinct(**second) <= distinct(*first)) {
            head(keys(&[*first, *second]));
        }
    }
    for second in range.iter().chain(&joined) {
        head([keys(&equal), keys(&[*second])].concat());
        for first in &equal {
            head(keys(&[*first, *second]));
        }
    }
    for first in &joined {
        for second in joined.iter().chain(&equal).chain(&range) {
            head(keys(&[*first, *second]));
        }
    }
    for group in &used.groups {
        let group: Vec<usize> = group.iter().copied().filter(sortable).collect();
        head(keys(&group));
        head([keys(&equal), keys(&group)].concat());
    }
    for sought in &used.expressions {
        head(vec![Key::Expression(sought.clone())]);
        for first in &equal {
            head(vec![Key::of(*first), Key::Expression(sought.clone())]);
        }
        for order in used.orders.iter().map(|order| ordered(order)) {
            head([vec![Key::Expression(sought.clone())], order].concat());
        }
    }
    for column in &used.prefixes {
        if let Some(key) = (columns.prefix)(*column) {
            head(vec![key]);
        }
    }
    heads
}

/// Of several lists one after the other, in turns, so that none of them takes all the room.
pub(crate) fn in_turns<T: PartialEq>(lists: Vec<Vec<T>>, most: usize) -> Vec<T> {
    let mut all = Vec::new();
    let mut turns: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    while all.len() < most {
        let before = all.len();
        for one in turns.iter_mut().filter_map(Iterator::next) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        if all.len() == before && turns.iter().all(|turn| turn.len() == 0) {
            break;
        }
    }
    all
}
