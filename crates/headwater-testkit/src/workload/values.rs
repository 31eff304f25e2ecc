//! Values that have hurt somebody before.

use super::schema::Kind;
use crate::Chance;

/// A literal that every dialect reads as the same value.
pub fn literal(chance: &mut Chance, kind: Kind) -> String {
    const TEXTS: &[&str] = &[
        "",
        "a",
        "B",
        "b",
        "ä",
        "a:b",
        "50%",
        "%N",
        "it''s",
        "\"q\"\\",
        "line\nbreak\t",
        "日本",
        "😀",
        " ",
        "null",
        "1",
        "NaN",
    ];
    const INTS: &[i64] = &[0, 1, -1, 7, 1_000_000, 9_007_199_254_740_993, i64::MAX, i64::MIN + 1];
    const FLOATS: &[&str] =
        &["0.0", "0.1", "-2.5", "1e20", "1e-7", "1.7976931348623157e308", "3.0", "123456.789"];
    // Few digits, so that SQLite's floats print them as they are written.
    const DECIMALS: &[&str] = &["0", "1.50", "1.5", "-0.005", "99999.99", "12", "0.1", "0.2", "-7.00"];
    // As PostgreSQL prints them in JSON, so that texts of SQLite are the same and sort alike.
    const TIMES: &[&str] = &[
        "1969-12-31T23:59:59",
        "1970-01-01T00:00:00",
        "2024-02-29T23:00:00",
        "2026-01-31T12:30:00",
        "2026-01-31T12:30:00.5",
        "2026-01-31T12:59:59.999999",
        "2026-01-31T13:00:00",
        "2026-02-01T00:00:00",
    ];
    if chance.one_in(7) {
        return "NULL".into();
    }
    match kind {
        Kind::Int => chance.pick(INTS).to_string(),
        Kind::Small => chance.below(5).to_string(),
        Kind::Float => (*chance.pick(FLOATS)).into(),
        Kind::Decimal => (*chance.pick(DECIMALS)).into(),
        Kind::Text => format!("'{}'", chance.pick(TEXTS)),
        Kind::Time => format!("'{}'", chance.pick(TIMES)),
        Kind::Long => {
            // Too long and too random to be kept inside the row.
            let letters: String =
                (0..3000 + chance.below(3000)).map(|_| char::from(b'a' + chance.below(26) as u8)).collect();
            format!("'{letters}'")
        }
        Kind::Reference(_) => "NULL".into(),
    }
}
