//! Does every store hold exactly what the source says? Plain SQL on the shop's database on one side, plain reads of
//! the stores on the other; nothing of what derives the documents is used.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_flow::NamedStore;
use headwater_model::{StoredBody, View};
use rusqlite::Connection;
use serde_json::Value;

/// For each view of the demo's file: key and document, as the source's own SQL makes them.
const ORACLE: [(&str, &str); 7] = [
    (
        "book",
        "SELECT b.id, json_object('id', b.id, 'author_id', b.author_id, 'title', b.title,
            'price_cents', b.price_cents, 'stock', b.stock, 'in_print', b.in_print,
            'author', json((SELECT json_object('id', a.id, 'name', a.name, 'born', a.born)
                       FROM authors a WHERE a.id = b.author_id)),
            'reviews', json((SELECT json_group_array(json(r.doc)) FROM (
                SELECT json_object('id', id, 'stars', stars, 'text', text, 'created_at', created_at) AS doc
                FROM reviews WHERE book_id = b.id ORDER BY created_at DESC, id LIMIT 5) r)))
         FROM books b",
    ),
    (
        "customer",
        "SELECT c.id, json_object('id', c.id, 'name', c.name, 'email', c.email, 'city', c.city,
            'orders', json((SELECT json_group_array(json(o.doc)) FROM (
                SELECT json_object('id', id, 'customer_id', customer_id, 'status', status, 'placed_at', placed_at,
                    'lines', json((SELECT json_group_array(json(l.doc)) FROM (
                        SELECT json_object('line', line, 'quantity', quantity, 'price_cents', price_cents,
                            'book', json((SELECT json_object('id', b.id, 'title', b.title)
                                     FROM books b WHERE b.id = order_lines.book_id))) AS doc
                        FROM order_lines WHERE order_id = orders.id ORDER BY line) l))) AS doc
                FROM orders WHERE customer_id = c.id ORDER BY placed_at DESC, id LIMIT 10) o)))
         FROM customers c",
    ),
    (
        "author",
        "SELECT a.id, json_object('id', a.id, 'name', a.name, 'born', a.born,
            'books', json((SELECT json_group_array(json(b.doc)) FROM (
                SELECT json_object('id', id, 'title', title, 'price_cents', price_cents) AS doc
                FROM books WHERE author_id = a.id AND in_print = 1 ORDER BY title, id) b)))
         FROM authors a",
    ),
    (
        "open_order",
        "SELECT id, json_object('id', id, 'customer', customer_id, 'since', placed_at)
         FROM orders WHERE status = 'open'",
    ),
    (
        "bestseller",
        "SELECT book_id, json_object('book_id', book_id, 'score', sum(quantity)) FROM order_lines GROUP BY book_id",
    ),
    (
        "price",
        "SELECT id, json_object('id', id, 'book_id', book_id, 'changed_at', changed_at, 'old_cents', old_cents,
            'new_cents', new_cents)
         FROM price_changes",
    ),
    (
        "reviewed",
        "SELECT id, json_object('customer_id', customer_id, 'book_id', book_id, 'stars', stars) FROM reviews",
    ),
];

/// Rows per read of a store.
const SCAN_ROWS: usize = 1_000;

/// How one view in one store compares.
pub struct Compared {
    pub store: Box<str>,
    pub view: Box<str>,
    pub equal: u64,
    /// The first few that are not, in words.
    pub differences: Vec<String>,
    pub different: u64,
}

/// Compares all views in all stores. Nothing may be written meanwhile.
pub async fn check(shop: &Path, stores: &[NamedStore], views: &[View]) -> anyhow::Result<Vec<Compared>> {
    let connection = Connection::open(shop)?;
    let mut results = Vec::new();
    for (name, sql) in ORACLE {
        let Some(view) = views.iter().find(|view| &*view.name == name) else { continue };
        let expected: BTreeMap<String, Value> = connection
            .prepare(sql)?
            .query_map([], |row| Ok((row.get::<_, i64>(0)?.to_string(), row.get::<_, String>(1)?)))?
            .map(|row| {
                let (key, document) = row?;
                Ok((key, serde_json::from_str(&document)?))
            })
            .collect::<anyhow::Result<_>>()?;
        for NamedStore { name: store, store: engine } in
            stores.iter().filter(|s| view.stores.contains(&s.name))
        {
            let mut left = expected.clone();
            let mut compared = Compared {
                store: store.clone(),
                view: view.name.clone(),
                equal: 0,
                differences: Vec::new(),
                different: 0,
            };
            let mut cursor = None;
            loop {
                let (found, next) = engine.scan(view, cursor, SCAN_ROWS).await?;
                for stored in found {
                    let document: Value = match &stored.body {
                        StoredBody::Json(text) => serde_json::from_str(text)?,
                        StoredBody::Fields(_) => anyhow::bail!("the demo's stores hold JSON"),
                    };
                    match left.remove(&stored.key) {
                        Some(expected) if expected == document => compared.equal += 1,
                        Some(expected) => compared.differs(format!(
                            "{name} {} is {document} but the source says {expected}",
                            stored.key
                        )),
                        None => compared.differs(format!("{name} {} is not in the source", stored.key)),
                    }
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            for key in left.into_keys() {
                compared.differs(format!("{name} {key} is missing"));
            }
            results.push(compared);
        }
    }
    Ok(results)
}

impl Compared {
    fn differs(&mut self, how: String) {
        self.different += 1;
        if self.differences.len() < 3 {
            self.differences.push(how.chars().take(400).collect());
        }
    }
}
