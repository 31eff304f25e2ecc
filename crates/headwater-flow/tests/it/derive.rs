//! Stateful views against plain SQL: random schemas and views, random transactions applied to a SQLite database as the
//! oracle and, as changes, to the deriver. After each transaction the documents accumulated from what was emitted
//! must be those that SQL makes from the database. The SQL is written here and shares nothing with derive.
//!
//! Replay one: `HEADWATER_SEED=123 cargo test -p headwater-flow --test it derive`. More: `HEADWATER_CASES=1000`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use headwater_flow::derive::{Deriver, Tables, compile};
use headwater_model::{
    Aggregate, Change, Column, ColumnType, Edge, Embed, EmbedKind, Key, Offset, Order, Ranking, Row, Series,
    Table, TableName, Value, View, ViewChange, ViewKind,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;

#[test]
fn documents_equal_plain_sql_after_every_transaction() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("HEADWATER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HEADWATER_CASES").unwrap_or(120),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| Case::new(seed).run());
        if outcome.is_err() {
            panic!("failed with HEADWATER_SEED={seed}");
        }
    }
}

/// How a table of the random schema looks: key columns, `v` `w` integers, `s` text, `u` unique, and for each table `j` of
/// the schema the foreign keys `f<j>_<n>` to its key and `g<j>` to its `u`.
struct Case {
    rng: StdRng,
    db: Connection,
    tables: Vec<Arc<Table>>,
    views: Vec<Arc<View>>,
    sql: Vec<String>,
    plain: Vec<bool>,
    folder: tempfile::TempDir,
    deriver: Option<Deriver>,
    offset: u64,
    /// Transactions since the last save, with what they emitted.
    unsaved: Vec<(u64, Vec<Change>, Vec<ViewChange>)>,
    documents: Vec<BTreeMap<String, String>>,
    filled: bool,
}

impl Case {
    fn new(seed: u64) -> Case {
        let mut rng = StdRng::seed_from_u64(seed);
        let tables = schema(&mut rng);
        let db = Connection::open_in_memory().unwrap();
        for table in &tables {
            let columns: Vec<String> = table.columns.iter().map(|c| declaration(&c.name)).collect();
            let key: Vec<&str> = table.key.iter().map(|k| &*table.columns[*k].name).collect();
            db.execute_batch(&format!(
                "CREATE TABLE {} ({}, PRIMARY KEY ({})) WITHOUT ROWID",
                table.name,
                columns.join(", "),
                key.join(", ")
            ))
            .unwrap();
        }
        let mut views = Vec::new();
        let mut sql = Vec::new();
        let mut plain = Vec::new();
        for i in 0..rng.random_range(1..=3) {
            let mut tree = Tree { rng: &mut rng, tables: &tables, aliases: 0, plain: true };
            let (view, oracle) = match tree.rng.random_range(0..10) {
                0..4 => tree.ranking(i),
                4 => tree.series(i),
                5 => tree.edge(i),
                _ => tree.view(i),
            };
            plain.push(tree.plain);
            views.push(Arc::new(view));
            sql.push(oracle);
        }
        let documents = vec![BTreeMap::new(); views.len()];
        Case {
            rng,
            db,
            tables,
            views,
            sql,
            plain,
            folder: tempfile::tempdir().unwrap(),
            deriver: None,
            offset: 0,
            unsaved: Vec::new(),
            documents,
            filled: false,
        }
    }

    fn run(mut self) {
        let known: Tables = self.tables.iter().map(|t| (t.name.clone(), t.clone())).collect();
        self.deriver = Some(self.open(&known));
        if self.rng.random_bool(0.5) {
            for _ in 0..self.rng.random_range(1..30) {
                self.operation();
            }
            self.fill();
        }
        self.filled = true;
        self.compare();
        for _ in 0..20 {
            let changes = self.transaction();
            self.derive(changes);
            self.compare();
            if self.rng.random_bool(0.15) {
                self.reopen(&known);
            }
        }
        self.reopen(&known);
    }

    fn open(&mut self, known: &Tables) -> Deriver {
        let plan = compile(&self.views, known).unwrap();
        let mut deriver = Deriver::open(&self.folder.path().join("mirror.db"), plan).unwrap();
        if self.rng.random_bool(0.5) {
            deriver.set_touched_in_memory_max(self.rng.random_range(1..4));
        }
        deriver
    }

    /// Reads the existing rows as chunks, table by table, while transactions go on.
    fn fill(&mut self) {
        let names = self.deriver.as_ref().unwrap().incomplete();
        for name in names {
            if self.rng.random_bool(0.5) {
                let changes = self.transaction();
                self.derive(changes);
            }
            let table = self.tables.iter().find(|t| t.name == name).unwrap().clone();
            let rows = self.rows(&table);
            let changes =
                rows.into_iter().map(|row| Change::Snapshot { table: table.clone(), row }).collect();
            self.derive(changes);
            self.deriver.as_mut().unwrap().mark_complete(&name).unwrap();
        }
        assert!(self.deriver.as_ref().unwrap().incomplete().is_empty());
    }

    fn reopen(&mut self, known: &Tables) {
        let mut deriver = self.deriver.take().unwrap();
        match self.rng.random_range(0..3) {
            0 => deriver.save().unwrap(),
            1 => deriver.persist().unwrap(),
            _ => {}
        }
        let saved = deriver.saved();
        drop(deriver);
        let mut deriver = self.open(known);
        assert_eq!(deriver.cursor(), saved);
        self.unsaved.retain(|(offset, ..)| Offset(*offset) > saved);
        for (offset, changes, emitted) in &self.unsaved {
            let again = emit(&mut deriver, *offset, changes.clone());
            assert_eq!(&again, emitted, "a replay emits the same");
        }
        self.deriver = Some(deriver);
    }

    fn derive(&mut self, changes: Vec<Change>) {
        self.offset += 1;
        let emitted = emit(self.deriver.as_mut().unwrap(), self.offset, changes.clone());
        let before = self.documents.clone();
        self.accumulate(&emitted);
        self.check_needed(&changes, &emitted, &before);
        self.unsaved.push((self.offset, changes, emitted));
        if self.rng.random_bool(0.2) {
            self.deriver.as_mut().unwrap().save().unwrap();
            self.unsaved.clear();
        }
    }

    fn accumulate(&mut self, emitted: &[ViewChange]) {
        let mut seen = BTreeSet::new();
        for change in emitted {
            let (ViewChange::Put { view, .. } | ViewChange::Delete { view, .. } | ViewChange::Clear { view }) =
                change;
            let place = self.views.iter().position(|v| v.name == view.name).unwrap();
            match change {
                ViewChange::Put { key, moved_from, document, .. } => {
                    assert!(seen.insert((place, key.to_text())), "{key} is emitted twice");
                    assert!(moved_from.is_none() && !document.is_partial(), "documents are whole");
                    self.documents[place].insert(key.to_text(), document.to_json());
                }
                ViewChange::Delete { key, .. } => {
                    assert!(seen.insert((place, key.to_text())), "{key} is emitted twice");
                    self.documents[place].remove(&key.to_text());
                }
                ViewChange::Clear { .. } => {
                    assert!(!seen.iter().any(|(p, _)| *p == place), "clears come first");
                    self.documents[place].clear();
                }
            }
        }
    }

    /// Views are silent about what does not concern them.
    fn check_needed(&self, changes: &[Change], emitted: &[ViewChange], before: &[BTreeMap<String, String>]) {
        let mut touched = BTreeSet::new();
        for change in changes {
            match change {
                Change::Insert { table, .. }
                | Change::Update { table, .. }
                | Change::Delete { table, .. }
                | Change::Snapshot { table, .. } => {
                    touched.insert(table.name.clone());
                }
                Change::Truncate { tables } => touched.extend(tables.iter().map(|t| t.name.clone())),
            }
        }
        for change in emitted {
            let (ViewChange::Put { view, .. } | ViewChange::Delete { view, .. } | ViewChange::Clear { view }) =
                change;
            let (mut all, mut inner) =
                (BTreeSet::from([view.from.clone()]), BTreeSet::from([view.from.clone()]));
            walk(&view.embeds, &mut all, &mut inner);
            assert!(!all.is_disjoint(&touched), "view {} has none of the changed tables", view.name);
            let place = self.views.iter().position(|v| v.name == view.name).unwrap();
            let read_again = changes.iter().any(|change| matches!(change, Change::Snapshot { .. }));
            if matches!(view.kind, ViewKind::Ranking(_)) && !read_again {
                let cleared = emitted.iter().any(|c| matches!(c, ViewChange::Clear { view: v } if v == view));
                let had = |key: &Key| before[place].get(&key.to_text()).filter(|_| !cleared);
                match change {
                    ViewChange::Put { key, document, .. } => {
                        assert_ne!(had(key), Some(&document.to_json()), "emitted without need")
                    }
                    ViewChange::Delete { key, .. } => assert!(had(key).is_some(), "{key} was never there"),
                    ViewChange::Clear { .. } => {}
                }
                continue;
            }
            // One change of a table that occurs at leaves only: what is emitted differs from what was.
            let telling = matches!(
                changes,
                [Change::Insert { .. } | Change::Delete { .. } | Change::Update { old_key: None, .. }]
            );
            if self.filled && telling && self.plain[place] && inner.is_disjoint(&touched) {
                let ViewChange::Put { key, document, .. } = change else {
                    panic!("a leaf deletes no document")
                };
                assert_ne!(
                    before[place].get(&key.to_text()),
                    Some(&document.to_json()),
                    "emitted without need"
                );
            }
        }
    }

    fn compare(&self) {
        for (place, sql) in self.sql.iter().enumerate() {
            let mut statement = self.db.prepare(sql).unwrap();
            let mut expected = BTreeMap::new();
            let mut rows = statement.query([]).unwrap();
            let key = match &self.views[place].kind {
                ViewKind::Ranking(ranking) => ranking.within.len() + ranking.by.len(),
                _ => self.tables.iter().find(|t| t.name == self.views[place].from).unwrap().key.len(),
            };
            while let Some(row) = rows.next().unwrap() {
                let parts = (0..key).map(|i| value(row.get_ref(i).unwrap())).collect();
                expected.insert(Key(parts).to_text(), row.get::<_, String>(key).unwrap());
            }
            let view = &self.views[place];
            assert_eq!(self.documents[place], expected, "offset {}: {view:#?}\n{sql}", self.offset);
        }
    }

    fn rows(&self, table: &Table) -> Vec<Row> {
        let mut statement = self.db.prepare(&format!("SELECT * FROM {}", table.name)).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push(Row((0..table.columns.len()).map(|i| value(row.get_ref(i).unwrap())).collect()));
        }
        all
    }

    fn transaction(&mut self) -> Vec<Change> {
        let count = if self.rng.random_bool(0.4) { 1 } else { self.rng.random_range(2..9) };
        (0..count).filter_map(|_| self.operation()).collect()
    }

    /// One random change of the database; `None` if a constraint refused it.
    fn operation(&mut self) -> Option<Change> {
        let table = self.tables.choose(&mut self.rng).unwrap().clone();
        let rows = self.rows(&table);
        let existing = rows.choose(&mut self.rng).cloned();
        match (self.rng.random_range(0..100), existing) {
            (0..2, _) => {
                let mut tables = vec![table];
                if self.rng.random_bool(0.3) {
                    tables.push(self.tables.choose(&mut self.rng).unwrap().clone());
                }
                for table in &tables {
                    self.db.execute(&format!("DELETE FROM {}", table.name), []).unwrap();
                }
                Some(Change::Truncate { tables })
            }
            (2..15, Some(row)) => {
                let key = row.key(&table);
                self.db
                    .execute(&format!("DELETE FROM {} WHERE {}", table.name, is_key(&table, &key)), [])
                    .unwrap();
                Some(Change::Delete { table, key })
            }
            (15..20, Some(mut row)) => {
                for i in 0..row.0.len() {
                    if self.filled && !table.key.contains(&i) && self.rng.random_bool(0.3) {
                        row.0[i] = Value::Unchanged;
                    }
                }
                Some(Change::Snapshot { table, row })
            }
            (20..60, Some(row)) => self.update(table, row),
            _ => {
                let row = Row(table.columns.iter().map(|c| random_cell(&mut self.rng, &c.name)).collect());
                let cells: Vec<String> = row.0.iter().map(literal).collect();
                let insert = format!("INSERT INTO {} VALUES ({})", table.name, cells.join(", "));
                self.db.execute(&insert, []).ok()?;
                Some(Change::Insert { table, row })
            }
        }
    }

    fn update(&mut self, table: Arc<Table>, old: Row) -> Option<Change> {
        let mut row = old.clone();
        for (i, column) in table.columns.iter().enumerate() {
            let chance = if table.key.contains(&i) { 0.08 } else { 0.3 };
            if self.rng.random_bool(chance) {
                row.0[i] = random_cell(&mut self.rng, &column.name);
            }
        }
        let (old_key, key) = (old.key(&table), row.key(&table));
        let set: Vec<String> =
            table.columns.iter().zip(&row.0).map(|(c, v)| format!("{} = {}", c.name, literal(v))).collect();
        let update =
            format!("UPDATE {} SET {} WHERE {}", table.name, set.join(", "), is_key(&table, &old_key));
        self.db.execute(&update, []).ok()?;
        for i in 0..row.0.len() {
            // Before its table is filled, a row may stay partial until its chunk comes.
            if !table.key.contains(&i) && row.0[i] == old.0[i] && self.rng.random_bool(0.3) {
                row.0[i] = Value::Unchanged;
            }
        }
        Some(Change::Update { table, old_key: (old_key != key).then_some(old_key), row })
    }
}

fn emit(deriver: &mut Deriver, offset: u64, changes: Vec<Change>) -> Vec<ViewChange> {
    let mut emitted = Vec::new();
    deriver.begin(Offset(offset)).unwrap();
    for change in changes {
        deriver.change(change).unwrap();
    }
    deriver
        .commit(&mut |piece| {
            assert!(!piece.is_empty());
            emitted.extend(piece);
            Ok(())
        })
        .unwrap();
    assert!(deriver.take_broken().is_empty());
    emitted
}

fn walk(embeds: &[Embed], all: &mut BTreeSet<TableName>, inner: &mut BTreeSet<TableName>) {
    for embed in embeds {
        all.insert(embed.from.clone());
        if !embed.embeds.is_empty() {
            inner.insert(embed.from.clone());
        }
        walk(&embed.embeds, all, inner);
    }
}

fn schema(rng: &mut StdRng) -> Vec<Arc<Table>> {
    let count = rng.random_range(1..=4);
    let keys: Vec<usize> = (0..count).map(|_| rng.random_range(1..=2)).collect();
    let dynamic = rng.random_bool(0.5);
    let mut tables = Vec::new();
    for i in 0..count {
        let mut names: Vec<String> = ["v", "w", "s", "u"].map(String::from).to_vec();
        for (j, parts) in keys.iter().enumerate() {
            names.extend((0..*parts).map(|n| format!("f{j}_{n}")));
            names.push(format!("g{j}"));
        }
        let first_key = rng.random_range(0..=names.len());
        for n in (0..keys[i]).rev() {
            names.insert(first_key, format!("k{n}"));
        }
        let kind = |name: &str| match name {
            _ if dynamic => ColumnType::Dynamic,
            "s" => ColumnType::Text,
            _ if is_text(name) => ColumnType::Text,
            _ => ColumnType::Int,
        };
        tables.push(Arc::new(Table {
            id: i as u32,
            version: 1,
            name: TableName::new(None, &format!("t{i}")),
            columns: names.iter().map(|n| Column { name: n.as_str().into(), kind: kind(n) }).collect(),
            key: (first_key..first_key + keys[i]).collect(),
        }));
    }
    tables
}

/// The second part of a key is a text, and so is what points at it.
fn is_text(column: &str) -> bool {
    column == "s" || column == "k1" || (column.starts_with('f') && column.ends_with("_1"))
}

fn declaration(column: &str) -> String {
    let kind = if is_text(column) { "TEXT" } else { "INTEGER" };
    let rule = match column {
        "u" => " UNIQUE",
        _ if column.starts_with('k') => " NOT NULL",
        _ => "",
    };
    format!("{column} {kind}{rule}")
}

fn random_cell(rng: &mut StdRng, column: &str) -> Value {
    let key = column.starts_with('k');
    if !key && rng.random_bool(0.2) {
        return Value::Null;
    }
    if is_text(column) {
        let texts: &[&str] =
            if key || column != "s" { &["a", "b", "é\"'"] } else { &["", "a", "b", "ba", "é", "B"] };
        return Value::text(*texts.choose(rng).unwrap());
    }
    Value::Int(rng.random_range(if key || column.starts_with('f') { 0..5 } else { -2..8 }))
}

fn value(cell: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Text(text) => Value::text(std::str::from_utf8(text).unwrap()),
        other => panic!("not expected: {other:?}"),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Int(n) => n.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        other => panic!("not expected: {other:?}"),
    }
}

fn is_key(table: &Table, key: &Key) -> String {
    let parts: Vec<String> = table
        .key
        .iter()
        .zip(&key.0)
        .map(|(column, value)| format!("{} = {}", table.columns[*column].name, literal(value)))
        .collect();
    parts.join(" AND ")
}

/// Makes a random view and, beside it, the SQL that gives its documents.
struct Tree<'a> {
    rng: &'a mut StdRng,
    tables: &'a [Arc<Table>],
    aliases: usize,
    /// No filter, order or limit anywhere, so that a leaf's change always shows.
    plain: bool,
}

type Fields = Option<Vec<(Box<str>, Box<str>)>>;

impl Tree<'_> {
    fn view(&mut self, number: usize) -> (View, String) {
        let table = self.tables.choose(self.rng).unwrap().clone();
        let alias = self.alias();
        let columns = self.columns(&table);
        let (filter, filter_sql) = self.filter(&alias);
        let (embeds, embeds_sql) = self.embeds(&table, &alias, 1);
        let key: Vec<String> =
            table.key.iter().map(|k| format!("{alias}.{}", table.columns[*k].name)).collect();
        let object = object(&table, &alias, &columns, &embeds, &embeds_sql);
        let sql =
            format!("SELECT {}, {object} FROM {} {alias} WHERE {filter_sql}", key.join(", "), table.name);
        let view = View {
            name: format!("view{number}").into(),
            from: table.name.clone(),
            columns,
            filter,
            embeds,
            stores: vec![],
            parts: Vec::new(),
            layout: None,
            kind: headwater_model::ViewKind::Document,
            indexes: Vec::new(),
        };
        (view, sql)
    }

    /// Points of one table: its key, and the columns that the series names.
    fn series(&mut self, number: usize) -> (View, String) {
        self.plain = false;
        let table = self.tables.choose(self.rng).unwrap().clone();
        let (filter, filter_sql) = self.filter("x");
        let series =
            Series { time: "v".into(), tags: vec!["s".into(), "f0_0".into()], fields: vec!["w".into()] };
        let shown = |name: &str| ["v", "s", "f0_0", "w"].contains(&name);
        let columns: Vec<(Box<str>, Box<str>)> = table
            .columns
            .iter()
            .enumerate()
            .filter(|(i, column)| table.key.contains(i) || shown(&column.name))
            .map(|(_, column)| (column.name.clone(), column.name.clone()))
            .collect();
        let object = object(&table, "x", &Some(columns), &[], &[]);
        let sql =
            format!("SELECT {}, {object} FROM {} x WHERE {filter_sql}", key_sql(&table, "x"), table.name);
        (row_view(number, &table, None, filter, ViewKind::Series(series)), sql)
    }

    /// Edges of one table; rows without an end are none.
    fn edge(&mut self, number: usize) -> (View, String) {
        self.plain = false;
        let table = self.tables.choose(self.rng).unwrap().clone();
        let columns = self.columns(&table);
        let (filter, filter_sql) = self.filter("x");
        let edge = Edge { source: "f0_0".into(), label: "KNOWS".into(), target: "w".into() };
        let mut shown = columns.clone();
        for end in ["f0_0", "w"] {
            if let Some(shown) = &mut shown
                && !shown.iter().any(|(_, field)| **field == *end)
            {
                shown.push((end.into(), end.into()));
            }
        }
        let object = object(&table, "x", &shown, &[], &[]);
        let sql = format!(
            "SELECT {}, {object} FROM {} x WHERE {filter_sql} AND x.f0_0 IS NOT NULL AND x.w IS NOT NULL",
            key_sql(&table, "x"),
            table.name
        );
        (row_view(number, &table, columns, filter, ViewKind::Edge(edge)), sql)
    }

    /// Groups of one or two columns, now and then a ranking for each value of another.
    fn ranking(&mut self, number: usize) -> (View, String) {
        let table = self.tables.choose(self.rng).unwrap().clone();
        let mut columns: Vec<Box<str>> =
            ["v", "w", "s", "f0_0", &table.columns[table.key[0]].name].map(Into::into).to_vec();
        let mut take = |rng: &mut StdRng| columns.remove(rng.random_range(0..columns.len()));
        let within: Vec<_> = (0..self.rng.random_range(0..2)).map(|_| take(self.rng)).collect();
        let by: Vec<_> = (0..self.rng.random_range(1..3)).map(|_| take(self.rng)).collect();
        let (function, name) = *[
            (Aggregate::Count, "count"),
            (Aggregate::Sum, "sum"),
            (Aggregate::Min, "min"),
            (Aggregate::Max, "max"),
        ]
        .choose(self.rng)
        .unwrap();
        let column = match function {
            Aggregate::Count if self.rng.random_bool(0.5) => None,
            Aggregate::Sum => Some(*["v", "w", "u"].choose(self.rng).unwrap()),
            _ => Some(*["v", "w", "u", "s"].choose(self.rng).unwrap()),
        };
        let (filter, filter_sql) = self.filter("x");
        let group: Vec<&str> = within.iter().chain(&by).map(|name| &**name).collect();
        let score = format!("'score', {name}({})", column.map_or("*".into(), |c| format!("x.{c}")));
        let fields: Vec<String> = group.iter().map(|c| format!("'{c}', x.{c}")).chain([score]).collect();
        let known: Vec<String> = group.iter().map(|c| format!("x.{c} IS NOT NULL")).collect();
        let sql = format!(
            "SELECT {0}, json_object({1}) FROM {2} x WHERE {3} AND {filter_sql} GROUP BY {0}",
            group.iter().map(|c| format!("x.{c}")).collect::<Vec<_>>().join(", "),
            fields.join(", "),
            table.name,
            known.join(" AND ")
        );
        let ranking = Ranking { by, within, function, column: column.map(Into::into) };
        (row_view(number, &table, None, filter, ViewKind::Ranking(ranking)), sql)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("x{}", self.aliases)
    }

    fn columns(&mut self, table: &Table) -> Fields {
        if self.rng.random_bool(0.4) {
            return None;
        }
        let mut chosen: Vec<(Box<str>, Box<str>)> = Vec::new();
        for column in &table.columns {
            if self.rng.random_bool(0.4) {
                let renamed = self.rng.random_bool(0.3);
                let field = if renamed { format!("as {}", column.name).into() } else { column.name.clone() };
                chosen.push((column.name.clone(), field));
            }
        }
        if chosen.is_empty() || self.rng.random_bool(0.2) {
            chosen.push(("v".into(), "again".into()));
        }
        chosen.reverse();
        Some(chosen)
    }

    fn filter(&mut self, alias: &str) -> (Option<Box<str>>, String) {
        if self.rng.random_bool(0.6) {
            return (None, "TRUE".into());
        }
        self.plain = false;
        let template = *[
            "@v > 2",
            "@v > 2 OR @w IS NULL",
            "NOT (@s = 'a' AND @v < 5)",
            "@s IN ('a', 'b', '') OR @v BETWEEN 0 AND 3",
            "@w <> @v",
            "@s >= 'b' OR @u IS NOT NULL",
            "(@v = 1) IS NOT TRUE",
        ]
        .choose(self.rng)
        .unwrap();
        (Some(template.replace('@', "").into()), format!("({})", template.replace('@', &format!("{alias}."))))
    }

    fn embeds(&mut self, parent: &Table, parent_alias: &str, depth: usize) -> (Vec<Embed>, Vec<String>) {
        let mut embeds = Vec::new();
        let mut sql = Vec::new();
        let count = if depth > 3 { 0 } else { self.rng.random_range(usize::from(depth == 1)..=2) };
        for i in 0..count {
            let (embed, embed_sql) = self.embed(parent, parent_alias, &format!("e{i}"), depth);
            embeds.push(embed);
            sql.push(embed_sql);
        }
        (embeds, sql)
    }

    fn embed(&mut self, parent: &Table, parent_alias: &str, field: &str, depth: usize) -> (Embed, String) {
        let child = self.tables.choose(self.rng).unwrap().clone();
        let alias = self.alias();
        let many = self.rng.random_bool(0.5);
        let by_unique = self.rng.random_bool(0.3);
        let (from, to) = if many { (&*child, parent) } else { (parent, &*child) };
        let columns: Vec<Box<str>> = match by_unique {
            true => vec![format!("g{}", to.id).into()],
            false => (0..to.key.len()).map(|n| format!("f{}_{n}", to.id).into()).collect(),
        };
        debug_assert!(columns.iter().all(|c| from.column(c).is_some()));
        let targets: Vec<Box<str>> = match by_unique {
            true => vec!["u".into()],
            false => to.key.iter().map(|k| to.columns[*k].name.clone()).collect(),
        };
        let references = by_unique.then(|| targets.clone());
        let (from_alias, to_alias) = if many { (&*alias, parent_alias) } else { (parent_alias, &*alias) };
        let join: Vec<String> =
            columns.iter().zip(&targets).map(|(f, t)| format!("{from_alias}.{f} = {to_alias}.{t}")).collect();
        let fields = self.columns(&child);
        let (filter, filter_sql) = self.filter(&alias);
        let (embeds, embeds_sql) = self.embeds(&child, &alias, depth + 1);
        let object = object(&child, &alias, &fields, &embeds, &embeds_sql);
        let (mut order, mut limit) = (Vec::new(), None);
        let mut sort = String::new();
        if many && self.rng.random_bool(0.5) {
            self.plain = false;
            for column in ["w", "s"] {
                let descending = self.rng.random_bool(0.5);
                order.push(Order { column: column.into(), descending });
                let direction = if descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
                write!(sort, "{alias}.{column} {direction}, ").unwrap();
            }
        }
        if many && self.rng.random_bool(0.3) {
            self.plain = false;
            limit = Some(self.rng.random_range(1..3));
        }
        for key in &child.key {
            write!(sort, "{alias}.{}, ", child.columns[*key].name).unwrap();
        }
        let rows = format!(
            "SELECT {object} AS d FROM {} {alias} WHERE {} AND {filter_sql} ORDER BY {} LIMIT {}",
            child.name,
            join.join(" AND "),
            sort.trim_end_matches(", "),
            limit.map_or(-1, |n: usize| n as i64)
        );
        let sql = match many {
            true => format!("(SELECT json_group_array(json(d)) FROM ({rows}))"),
            false => format!("(SELECT json(d) FROM ({rows}))"),
        };
        let kind = match many {
            true => EmbedKind::Many { columns, references },
            false => EmbedKind::One { columns, references },
        };
        let embed = Embed {
            field: field.into(),
            from: child.name.clone(),
            kind,
            columns: fields,
            filter,
            order,
            limit,
            embeds,
        };
        (embed, sql)
    }
}

fn row_view(number: usize, table: &Table, columns: Fields, filter: Option<Box<str>>, kind: ViewKind) -> View {
    View {
        name: format!("view{number}").into(),
        from: table.name.clone(),
        columns,
        filter,
        embeds: vec![],
        stores: vec![],
        parts: Vec::new(),
        layout: None,
        kind,
        indexes: Vec::new(),
    }
}

fn key_sql(table: &Table, alias: &str) -> String {
    let key: Vec<String> = table.key.iter().map(|k| format!("{alias}.{}", table.columns[*k].name)).collect();
    key.join(", ")
}

fn object(table: &Table, alias: &str, columns: &Fields, embeds: &[Embed], embeds_sql: &[String]) -> String {
    let all: Vec<(Box<str>, Box<str>)> =
        table.columns.iter().map(|c| (c.name.clone(), c.name.clone())).collect();
    let mut parts: Vec<String> = columns
        .as_ref()
        .unwrap_or(&all)
        .iter()
        .map(|(column, field)| format!("'{field}', {alias}.{column}"))
        .collect();
    parts.extend(embeds.iter().zip(embeds_sql).map(|(embed, sql)| format!("'{}', json({sql})", embed.field)));
    format!("json_object({})", parts.join(", "))
}
