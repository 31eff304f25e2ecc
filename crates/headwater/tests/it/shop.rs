//! The bookshop as a schema for both sources.

/// Statements that PostgreSQL and SQLite both understand, ended by `;`.
pub const TABLES: &str = "
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE);
CREATE TABLE authors (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (id integer PRIMARY KEY, isbn text NOT NULL UNIQUE, title text NOT NULL,
                    author_id integer NOT NULL REFERENCES authors (id), price numeric(10, 2) NOT NULL);
CREATE TABLE tags (id integer PRIMARY KEY, label text NOT NULL);
CREATE TABLE book_tags (book_id integer NOT NULL REFERENCES books (id), tag_id integer NOT NULL REFERENCES tags (id),
                        PRIMARY KEY (book_id, tag_id));
CREATE TABLE reviews (id integer PRIMARY KEY, book_id integer NOT NULL REFERENCES books (id),
                      customer_id integer NOT NULL REFERENCES customers (id), stars integer NOT NULL, body text,
                      created_at timestamp NOT NULL);
CREATE TABLE orders (id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers (id),
                     gift_for integer REFERENCES customers (id), state text NOT NULL, placed_at timestamp NOT NULL);
CREATE TABLE order_lines (order_id integer NOT NULL REFERENCES orders (id), line_no integer NOT NULL,
                          book_id integer NOT NULL REFERENCES books (id), quantity integer NOT NULL,
                          PRIMARY KEY (order_id, line_no));
CREATE TABLE price_changes (id integer PRIMARY KEY, isbn text NOT NULL REFERENCES books (isbn),
                            price numeric(10, 2) NOT NULL, changed_at timestamp NOT NULL);
CREATE TABLE audit (happened_at timestamp, what text);
";
