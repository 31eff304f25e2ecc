//! The bookshop: its tables, its first stock, and the people who use it. It knows nothing of Headwater: it writes to its
//! own SQLite database as any application would.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, Transaction, params};

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, city TEXT NOT NULL);
CREATE TABLE authors (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, born INTEGER);
CREATE TABLE books (
    id INTEGER PRIMARY KEY, author_id INTEGER NOT NULL REFERENCES authors (id), title TEXT NOT NULL,
    price_cents INTEGER NOT NULL, stock INTEGER NOT NULL, in_print INTEGER NOT NULL DEFAULT 1);
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES books (id),
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    stars INTEGER NOT NULL, text TEXT, created_at TEXT NOT NULL);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
    status TEXT NOT NULL, placed_at TEXT NOT NULL);
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id), line INTEGER NOT NULL,
    book_id INTEGER NOT NULL REFERENCES books (id), quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE TABLE price_changes (
    id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES books (id),
    changed_at TEXT NOT NULL, old_cents INTEGER NOT NULL, new_cents INTEGER NOT NULL);
CREATE INDEX books_author ON books (author_id);
CREATE INDEX reviews_book ON reviews (book_id);
CREATE INDEX orders_customer ON orders (customer_id, placed_at);
";

const FIRST: [&str; 16] = [
    "Ada", "Björk", "Chinua", "Dolores", "Emeka", "Fatima", "Grace", "Haruki", "Ingrid", "José", "Keiko",
    "Leila", "Mário", "Noor", "Olga", "Wisława",
];
const LAST: [&str; 16] = [
    "Achebe",
    "Borges",
    "Calvino",
    "Dinesen",
    "Eco",
    "Ferrante",
    "García",
    "Håkansson",
    "Ishiguro",
    "Jansson",
    "Kadare",
    "Lispector",
    "Morrison",
    "Ngũgĩ",
    "Ōe",
    "Szymborska",
];
const NOUNS: [&str; 14] = [
    "River",
    "Archive",
    "Lighthouse",
    "Orchard",
    "Ledger",
    "Garden",
    "Harbour",
    "Winter",
    "Library",
    "Mountain",
    "Letter",
    "Tide",
    "Compass",
    "Window",
];
const CITIES: [&str; 8] = ["Lagos", "Oslo", "Kyōto", "Lima", "Porto", "Kraków", "Nairobi", "Montréal"];
const REVIEWS: [&str; 6] = [
    "Read it twice.",
    "The middle drags, the end does not.",
    "\"Unputdownable\", said my sister. She was right.",
    "Too many rivers.",
    "Un livre à offrir.",
    "Five stars for chapter nine alone.",
];

const AUTHORS: i64 = 200;
const BOOKS: i64 = 2_000;
const CUSTOMERS: i64 = 3_000;

/// Creates the shop with its first stock and a history of orders.
pub fn open_shop(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(SCHEMA)?;
    let mut rng = StdRng::seed_from_u64(1);
    let transaction = connection.transaction()?;
    for id in 1..=AUTHORS {
        let born = rng.random_bool(0.9).then(|| rng.random_range(1880..1995));
        transaction.execute("INSERT INTO authors VALUES (?, ?, ?)", params![id, person(&mut rng), born])?;
    }
    for id in 1..=BOOKS {
        transaction.execute(
            "INSERT INTO books VALUES (?, ?, ?, ?, ?, ?)",
            params![
                id,
                rng.random_range(1..=AUTHORS),
                title(&mut rng),
                rng.random_range(500..5000),
                rng.random_range(0..200),
                rng.random_bool(0.9)
            ],
        )?;
    }
    for id in 1..=CUSTOMERS {
        let email = format!("reader{id}@example.org");
        transaction.execute(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            params![id, person(&mut rng), email, city(&mut rng)],
        )?;
    }
    for _ in 0..5_000 {
        review(&transaction, &mut rng)?;
        order(&transaction, &mut rng)?;
    }
    transaction.commit()
}

/// The shop's business: one connection, one transaction at a time, about `per_second` of them.
pub struct Business {
    connection: Connection,
    rng: StdRng,
    pause: Duration,
}

impl Business {
    pub fn open(path: &Path, seed: u64, per_second: u32) -> rusqlite::Result<Business> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let pause = Duration::from_secs(1) / per_second.max(1);
        Ok(Business { connection, rng: StdRng::seed_from_u64(seed), pause })
    }

    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// One thing that happens in a shop. Whether it was committed: now and then somebody changes their mind.
    pub fn happen(&mut self) -> rusqlite::Result<bool> {
        let rng = &mut self.rng;
        let transaction = self.connection.transaction()?;
        match rng.random_range(0..100) {
            0..40 => order(&transaction, rng)?,
            40..60 => {
                transaction.execute(
                    "UPDATE orders SET status = 'sent' WHERE id = (SELECT id FROM orders WHERE status = 'open' LIMIT 1)",
                    [],
                )?;
            }
            60..75 => review(&transaction, rng)?,
            75..85 => price(&transaction, rng)?,
            85..90 => {
                transaction.execute(
                    "UPDATE customers SET city = ? WHERE id = ?",
                    params![city(rng), rng.random_range(1..=CUSTOMERS)],
                )?;
            }
            90..94 => cancel(&transaction)?,
            94..96 => {
                transaction.execute(
                    "UPDATE books SET author_id = ? WHERE id = ?",
                    params![rng.random_range(1..=AUTHORS), rng.random_range(1..=BOOKS)],
                )?;
            }
            96..98 => {
                transaction.execute(
                    "UPDATE books SET in_print = 1 - in_print WHERE id = ?",
                    [rng.random_range(1..=BOOKS)],
                )?;
            }
            98..99 => {
                transaction.execute(
                    "UPDATE authors SET name = ? WHERE id = ?",
                    params![person(rng), rng.random_range(1..=AUTHORS)],
                )?;
            }
            _ => {
                transaction.execute("DELETE FROM reviews WHERE id = (SELECT min(id) FROM reviews)", [])?;
            }
        }
        let changed_their_mind = rng.random_bool(0.03);
        if changed_their_mind {
            transaction.rollback()?
        } else {
            transaction.commit()?
        }
        Ok(!changed_their_mind)
    }
}

fn order(transaction: &Transaction<'_>, rng: &mut StdRng) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO orders (customer_id, status, placed_at)
         VALUES (?, 'open', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        [rng.random_range(1..=CUSTOMERS)],
    )?;
    let id = transaction.last_insert_rowid();
    for line in 1..=rng.random_range(1..=4) {
        let (book, quantity) = (rng.random_range(1..=BOOKS), rng.random_range(1..=3));
        transaction.execute(
            "INSERT INTO order_lines SELECT ?, ?, id, ?, price_cents FROM books WHERE id = ?",
            params![id, line, quantity, book],
        )?;
        transaction.execute("UPDATE books SET stock = stock - ? WHERE id = ?", params![quantity, book])?;
    }
    Ok(())
}

fn cancel(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let found = "(SELECT max(id) FROM orders WHERE status = 'open')";
    transaction.execute(
        &format!(
            "UPDATE books SET stock = stock + (SELECT sum(quantity) FROM order_lines
                 WHERE order_id = {found} AND book_id = books.id)
             WHERE id IN (SELECT book_id FROM order_lines WHERE order_id = {found})"
        ),
        [],
    )?;
    transaction.execute(&format!("DELETE FROM order_lines WHERE order_id = {found}"), [])?;
    transaction.execute(&format!("DELETE FROM orders WHERE id = {found}"), [])?;
    Ok(())
}

fn review(transaction: &Transaction<'_>, rng: &mut StdRng) -> rusqlite::Result<()> {
    let text = rng.random_bool(0.8).then(|| REVIEWS.choose(rng));
    transaction.execute(
        "INSERT INTO reviews (book_id, customer_id, stars, text, created_at)
         VALUES (?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
        params![
            rng.random_range(1..=BOOKS),
            rng.random_range(1..=CUSTOMERS),
            rng.random_range(1..=5),
            text.flatten()
        ],
    )?;
    Ok(())
}

fn price(transaction: &Transaction<'_>, rng: &mut StdRng) -> rusqlite::Result<()> {
    let (book, cents) = (rng.random_range(1..=BOOKS), rng.random_range(500..5000));
    transaction.execute(
        "INSERT INTO price_changes (book_id, changed_at, old_cents, new_cents)
         SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), price_cents, ? FROM books WHERE id = ?",
        [cents, book],
    )?;
    transaction.execute("UPDATE books SET price_cents = ? WHERE id = ?", [cents, book])?;
    Ok(())
}

fn person(rng: &mut StdRng) -> String {
    format!("{} {}", FIRST.choose(rng).unwrap_or(&"Ada"), LAST.choose(rng).unwrap_or(&"Eco"))
}

fn title(rng: &mut StdRng) -> String {
    format!("The {} and the {}", NOUNS.choose(rng).unwrap_or(&"Tide"), NOUNS.choose(rng).unwrap_or(&"River"))
}

fn city(rng: &mut StdRng) -> &'static str {
    CITIES.choose(rng).unwrap_or(&"Lima")
}
