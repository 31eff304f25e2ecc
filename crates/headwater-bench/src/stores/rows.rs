//! The rows: shaped like those of pgbench's accounts, and for series a point per row.

use std::sync::{Arc, OnceLock};

use headwater_model::{Key, Names, Record, Series, TableName, Value, View, ViewChange, ViewKind};

pub struct Rows {
    pub count: u64,
    pub series: bool,
}

/// 84 characters, as pgbench's filler is.
const FILLER: &str =
    "the quick brown fox jumps over the lazy dog, and over the quick brown fox once more....";

/// 2024-01-01, where series begin; a point a second.
const EPOCH_SECONDS: i64 = 1_704_067_200;

impl Rows {
    pub fn view(&self) -> Arc<View> {
        let kind = match self.series {
            false => ViewKind::Document,
            true => ViewKind::Series(Series {
                time: "at".into(),
                tags: vec!["bid".into()],
                fields: vec!["balance".into(), "filler".into()],
            }),
        };
        let indexes = kind.indexes();
        Arc::new(View {
            name: "account".into(),
            from: TableName::new(None, "accounts"),
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: vec!["store".into()],
            parts: Vec::new(),
            layout: None,
            kind,
            indexes,
        })
    }

    pub fn put(&self, view: &Arc<View>, n: u64, round: u64) -> ViewChange {
        static NAMES: OnceLock<[Names; 2]> = OnceLock::new();
        let [flat, series] = NAMES.get_or_init(|| {
            let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
            [names(&["aid", "bid", "balance", "filler"]), names(&["aid", "bid", "balance", "filler", "at"])]
        });
        let mut values = vec![
            Value::Int(n as i64),
            Value::Int(branch(n) as i64),
            Value::Int(balance(n, round) as i64),
            Value::text(filler()),
        ];
        if self.series {
            values.push(Value::TimestampTz((EPOCH_SECONDS + n as i64) * 1_000_000));
        }
        let names = if self.series { series } else { flat };
        ViewChange::Put {
            view: view.clone(),
            key: Key(vec![Value::Int(n as i64)]),
            moved_from: None,
            document: Record { names: names.clone(), values },
        }
    }

    /// Calls for each row with its number, branch and balance.
    pub fn each(&self, mut row: impl FnMut(u64, u64, u64)) {
        (0..self.count).for_each(|n| row(n, branch(n), balance(n, 0)));
    }
}

pub fn filler() -> &'static str {
    &FILLER[..84]
}

/// Nanoseconds of a row's point.
pub fn nanoseconds(n: u64) -> u64 {
    (EPOCH_SECONDS as u64 + n) * 1_000_000_000
}

fn branch(n: u64) -> u64 {
    n % 10
}

fn balance(n: u64, round: u64) -> u64 {
    n.wrapping_mul(7919) % 100_000 + round
}
