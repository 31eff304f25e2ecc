//! What `check` says of indexes that the source lacks for answering access patterns itself.

use headwater_control::check;
use headwater_model::{Severity, SourceFacts, TableFacts, TableName};

use crate::support::{bookshop, index, load};

const VIEWS: &str = r#"[source]
url = "postgres://me@h/d"
[stores]
local = { url = "sqlite:derived.db" }
[views.book]
from = "books"
columns = { id = "id", isbn = "isbn", title = "title", writer = "author_id", price = "price", made = "created_at" }
embed.reviews = { from = "reviews", many = "book_id", order = "-created_at", limit = 3 }
[views.best]
from = "order_lines"
rank = { by = "book_id", score = "sum(quantity)" }
[views.bestof]
from = "order_lines"
rank = { by = "book_id", within = "quantity", score = "count(*)" }
[views.price]
from = "price_changes"
series = { time = "changed_at", tags = "isbn", fields = "price" }
[views.gave]
from = "orders"
edge = { source = "customer_id", label = "GAVE", target = "gift_for" }
[views.tag]
from = "tags"
"#;

fn table<'a>(facts: &'a mut SourceFacts, name: &str) -> &'a mut TableFacts {
    let wanted = TableName::new(Some("public"), name);
    facts.tables.iter_mut().find(|table| table.name == wanted).unwrap()
}

/// Line of the file, severity, and statement or remedy of each finding.
fn found(access: &str, facts: &SourceFacts) -> Vec<(String, Severity, String)> {
    let text = format!("{VIEWS}[access.x]\n{access}\n");
    let findings = check::run(&load(&text), facts);
    let about = |finding: &headwater_control::Finding| {
        let line = text.lines().nth(finding.line - 1).unwrap().to_owned();
        let remedy = finding.remedy.clone().unwrap_or_default();
        (line, finding.severity, remedy.split("; or ").next().unwrap().to_owned())
    };
    findings.iter().map(about).collect()
}

fn statement(access: &str, facts: &SourceFacts) -> Option<(Severity, String)> {
    let mut found = found(access, facts);
    assert!(found.len() <= 1, "{found:#?}");
    found.pop().map(|(_, severity, remedy)| (severity, remedy))
}

#[test]
fn each_pattern_gets_the_index_that_its_sql_needs() {
    let facts = bookshop();
    let warned = |access: &str, statement_: &str| {
        assert_eq!(statement(access, &facts), Some((Severity::Warning, statement_.to_owned())), "{access}");
    };
    warned(
        "range = \"book\"\norder = \"-made\"",
        "CREATE INDEX CONCURRENTLY \"books_created_at_id_idx\" ON \"public\".\"books\" (\"created_at\" DESC, \"id\")",
    );
    warned(
        "range = \"book\"\nby = \"price\"\norder = \"title\"",
        "CREATE INDEX CONCURRENTLY \"books_price_title_id_idx\" ON \"public\".\"books\" \
         (\"price\", \"title\" COLLATE \"C\", \"id\")",
    );
    warned(
        "get = \"bestof\"",
        "CREATE INDEX CONCURRENTLY \"order_lines_quantity_book_id_idx\" ON \"public\".\"order_lines\" \
         (\"quantity\", \"book_id\")",
    );
    // The foreign key's index finds the points of one book; they are sorted then.
    let (severity, sql) = statement("window = \"price\"", &facts).unwrap();
    assert_eq!(severity, Severity::Note);
    assert!(sql.ends_with("(\"isbn\", \"changed_at\", \"id\")"), "{sql}");
    let (severity, remedy) = statement("top = \"best\"", &facts).unwrap();
    assert_eq!(severity, Severity::Note);
    assert!(remedy.starts_with("set source = false"), "{remedy}");

    let fine = [
        "get = \"book\"",
        "get = \"best\"",
        "walk = [\"GAVE>\", \"<GAVE\"]",
        "range = \"book\"",
        "range = \"book\"\nby = \"writer\"",
        // A key finds at most one row.
        "range = \"book\"\nby = [\"title\", \"isbn\"]\norder = \"price\"",
        // Two hundred rows.
        "range = \"tag\"\norder = \"label\"",
        "range = \"book\"\norder = \"-made\"\nsource = false",
    ];
    let mut indexed = facts.clone();
    let books = table(&mut indexed, "books");
    index(books, &["isbn"]);
    for access in fine {
        assert_eq!(statement(access, &indexed), None, "{access}");
    }
}

#[test]
fn what_is_there_is_not_asked_for_again_in_either_direction() {
    let mut facts = bookshop();
    let wants =
        ["range = \"book\"\norder = \"-made\"", "range = \"book\"\nby = \"price\"\norder = \"-made\""];
    let books = table(&mut facts, "books");
    index(books, &["created_at", "-id"]);
    index(books, &["price"]);
    assert_eq!(statement(wants[0], &facts), None, "read backwards");
    assert_eq!(statement(wants[1], &facts).unwrap().0, Severity::Note, "found, and sorted");
    let books = table(&mut facts, "books");
    index(books, &["price", "created_at"]);
    assert_eq!(statement(wants[1], &facts), None);
    // Texts in the server's own order are of no use to an order by bytes.
    let title = "range = \"book\"\norder = \"title\"";
    let books = table(&mut facts, "books");
    index(books, &["title"]);
    assert!(statement(title, &facts).unwrap().1.contains("\"title\" COLLATE \"C\""));
}

#[test]
fn lists_in_documents_need_their_childs_column_and_it_is_said_once() {
    let mut facts = bookshop();
    let reviews = table(&mut facts, "reviews");
    reviews.indexes.truncate(1);
    reviews.bytes_estimate = 31 << 20;
    let text = format!("{VIEWS}[access.x]\nget = \"book\"\n[access.y]\nrange = \"book\"\n");
    let findings = check::run(&load(&text), &facts);
    let [finding] = &findings[..] else { panic!("{findings:#?}") };
    assert_eq!(
        finding.message,
        "when the source answers `x`, it goes through all of `public.reviews` (about 150000 rows, 31 MiB): no index \
         begins with `book_id`"
    );
    assert_eq!(
        finding.remedy.as_deref(),
        Some(
            "CREATE INDEX CONCURRENTLY \"reviews_book_id_created_at_id_idx\" ON \"public\".\"reviews\" \
             (\"book_id\", \"created_at\" DESC, \"id\"); or set source = false in the access pattern, so that only \
             stores answer"
        )
    );
    assert!(text.lines().nth(finding.line - 1).unwrap().starts_with("embed.reviews"));
}
