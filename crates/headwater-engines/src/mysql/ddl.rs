//! What a statement in the binary log does to rows without saying so row by row.
//!
//! Only the beginning of a statement is read, and only of those that take rows away from a table or give it others. Anything
//! else is found by its effect: the next row comes in another shape, and the catalog has another revision.

/// What a statement does to tables, by database and name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// All rows of these are gone.
    Emptied(Vec<Named>),
    /// These have other rows than before, and the log does not say which.
    Replaced(Vec<Named>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub database: Option<String>,
    pub table: String,
}

pub(super) fn effect(sql: &str) -> Effect {
    let words = words(sql);
    let mut at = Cursor { words: &words };
    if at.skip("TRUNCATE") {
        at.skip("TABLE");
        return at.name().map_or(Effect::Nothing, |name| Effect::Emptied(vec![name]));
    }
    if at.skip("DROP") {
        if at.skip("DATABASE") || at.skip("SCHEMA") {
            at.skip_if_exists();
            let database = at.name().map(|name| name.table);
            return Effect::Emptied(vec![Named { database, table: "*".into() }]);
        }
        if at.skip("TEMPORARY") || !(at.skip("TABLE") || at.skip("TABLES")) {
            return Effect::Nothing;
        }
        at.skip_if_exists();
        return Effect::Emptied(at.names());
    }
    if at.skip("CREATE") {
        // It had rows before, and has none now, or others.
        if at.skip("OR") && at.skip("REPLACE") && at.skip("TABLE") {
            at.skip_if_exists();
            return at.name().map_or(Effect::Nothing, |name| Effect::Emptied(vec![name]));
        }
        return Effect::Nothing;
    }
    if at.skip("RENAME") {
        if !(at.skip("TABLE") || at.skip("TABLES")) {
            return Effect::Nothing;
        }
        at.skip_if_exists();
        let mut names = Vec::new();
        while let Some(from) = at.name() {
            names.push(from);
            while at.skip("NOWAIT") || at.skip("WAIT") || at.number() {}
            at.skip("TO");
            names.extend(at.name());
            if !at.skip(",") {
                break;
            }
        }
        return Effect::Replaced(names);
    }
    if at.skip("ALTER") {
        at.skip("ONLINE");
        at.skip("IGNORE");
        if !at.skip("TABLE") {
            return Effect::Nothing;
        }
        at.skip_if_exists();
        let Some(name) = at.name() else { return Effect::Nothing };
        let has =
            |word: &str| at.words.iter().any(|w| matches!(w, Word::Plain(w) if w.eq_ignore_ascii_case(word)));
        let partitions = ["DROP", "TRUNCATE", "EXCHANGE"].iter().any(|word| has(word)) && has("PARTITION");
        let renamed = renamed(at.words);
        if partitions || renamed.is_some() {
            return Effect::Replaced(std::iter::once(name).chain(renamed).collect());
        }
    }
    Effect::Nothing
}

/// `RENAME TO other`, `RENAME AS other`, `RENAME other`; not the renaming of a column, an index or a key.
fn renamed(words: &[Word]) -> Option<Named> {
    let mut at = Cursor { words };
    while !at.words.is_empty() {
        if at.skip("RENAME") {
            if ["COLUMN", "INDEX", "KEY", "CONSTRAINT"].iter().any(|word| at.skip(word)) {
                continue;
            }
            let _ = at.skip("TO") || at.skip("AS") || at.skip("=");
            return at.name();
        }
        at.words = &at.words[1..];
    }
    None
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// A keyword, a name, a number, or a single sign.
    Plain(String),
    /// A name between backticks or double quotes.
    Quoted(String),
}

/// Words that any one statement needs; a longer one is looked at only so far.
const WORDS_MAX: usize = 4096;

/// Without comments and strings, except for the comments that the server reads.
fn words(sql: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if words.len() >= WORDS_MAX {
            break;
        }
        if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            let from = rest.find('!').map_or(rest.len(), |place| place + 1);
            rest = rest[from..].trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else if let Some(after) = rest.strip_prefix("*/") {
            rest = after;
        } else if rest.starts_with("-- ") || first == '#' {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if first == '`' || first == '"' || first == '\'' {
            let (text, after) = quoted(&rest[1..], first);
            if first != '\'' {
                words.push(Word::Quoted(text));
            }
            rest = after;
        } else if first.is_alphanumeric() || first == '_' || first == '$' {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            words.push(Word::Plain(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                words.push(Word::Plain(first.to_string()));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    words
}

/// What stands before the closing quote, and what behind it. A quote that is doubled is part of the name.
fn quoted(rest: &str, quote: char) -> (String, &str) {
    let mut text = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            text.extend(chars.next().map(|(_, c)| c));
        } else if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            text.push(c);
            chars.next();
        } else {
            return (text, &rest[at + c.len_utf8()..]);
        }
    }
    (text, "")
}

struct Cursor<'a> {
    words: &'a [Word],
}

impl Cursor<'_> {
    fn skip(&mut self, word: &str) -> bool {
        match self.words {
            [Word::Plain(first), rest @ ..] if first.eq_ignore_ascii_case(word) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_if_exists(&mut self) {
        if self.skip("IF") {
            self.skip("NOT");
            self.skip("EXISTS");
        }
    }

    fn number(&mut self) -> bool {
        match self.words {
            [Word::Plain(first), rest @ ..] if first.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn part(&mut self) -> Option<String> {
        let (Word::Plain(name) | Word::Quoted(name)) = self.words.first()?;
        self.words = &self.words[1..];
        Some(name.clone())
    }

    fn name(&mut self) -> Option<Named> {
        let first = self.part()?;
        if self.skip(".") {
            return Some(Named { database: Some(first), table: self.part()? });
        }
        Some(Named { database: None, table: first })
    }

    fn names(&mut self) -> Vec<Named> {
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            if !self.skip(",") {
                break;
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Named {
        match text.split_once('.') {
            Some((database, table)) => Named { database: Some(database.into()), table: table.into() },
            None => Named { database: None, table: text.into() },
        }
    }

    fn names(texts: &[&str]) -> Vec<Named> {
        texts.iter().map(|text| named(text)).collect()
    }

    #[test]
    fn rows_that_go_are_noticed() {
        for (sql, emptied) in [
            ("TRUNCATE t", &["t"][..]),
            ("truncate table `a``b`.`t 1`", &["a`b.t 1"]),
            ("/* app */ TRUNCATE TABLE t -- bye", &["t"]),
            ("DROP TABLE IF EXISTS `a`,b.`c` /* generated by server */", &["a", "b.c"]),
            ("DROP DATABASE `shop`", &["shop.*"]),
            ("CREATE OR REPLACE TABLE t (id int primary key)", &["t"]),
        ] {
            assert_eq!(effect(sql), Effect::Emptied(names(emptied)), "{sql}");
        }
    }

    #[test]
    fn tables_that_have_other_rows_are_noticed() {
        for (sql, replaced) in [
            ("RENAME TABLE t TO t_old, `t_new` TO t", &["t", "t_old", "t_new", "t"][..]),
            ("ALTER TABLE t RENAME TO s.u", &["t", "s.u"]),
            ("alter table t add x int, rename u", &["t", "u"]),
            ("ALTER TABLE t DROP PARTITION p0", &["t"]),
            ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", &["t"]),
        ] {
            assert_eq!(effect(sql), Effect::Replaced(names(replaced)), "{sql}");
        }
    }

    #[test]
    fn everything_else_takes_no_rows_away() {
        for sql in [
            "",
            "BEGIN",
            "CREATE TABLE t (a text default 'DROP PARTITION')",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "ALTER TABLE t RENAME INDEX i TO j, ADD c int DEFAULT 1",
            "DROP TEMPORARY TABLE IF EXISTS `t`",
            "DROP VIEW v",
            "DROP INDEX i ON t",
            "RENAME USER a TO b",
            "INSERT INTO t VALUES ('TRUNCATE t')",
        ] {
            assert_eq!(effect(sql), Effect::Nothing, "{sql}");
        }
    }
}
