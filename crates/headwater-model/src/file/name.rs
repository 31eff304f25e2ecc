//! Names of tables and columns as the file writes them: `books`, `shop.books`, `"Odd.Schema"."Tab le"`.

use std::fmt::Write as _;

use crate::TableName;

/// Reads `table` or `schema.table`; a part in double quotes may hold anything, with `""` for a quote.
/// The error is what is wrong, and the byte it is at.
pub fn parse_table_name(text: &str) -> Result<TableName, (usize, String)> {
    let mut parts: Vec<Box<str>> = Vec::new();
    let mut rest = text;
    loop {
        let at = text.len() - rest.len();
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            unquote(quoted).ok_or((at, "a quoted name has no closing `\"`".to_owned()))?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if part.trim().is_empty() {
            return Err((at, "a table name is empty".to_owned()));
        }
        if let Some(i) = part.find('"').filter(|_| !rest.starts_with('"')) {
            return Err((at + i, "a quote stands in the middle of a name".to_owned()));
        }
        if part.contains('\0') {
            return Err((at, "a name holds a zero byte".to_owned()));
        }
        parts.push(part.into());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => {
                return Err((text.len() - after.len(), "something follows the closing `\"`".to_owned()));
            }
        }
    }
    match <[Box<str>; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok(TableName { schema: Some(schema), name }),
        Err(parts) => match <[Box<str>; 1]>::try_from(parts) {
            Ok([name]) => Ok(TableName { schema: None, name }),
            Err(_) => Err((0, "a table is named by itself or as schema.table".to_owned())),
        },
    }
}

/// The name as the file writes it: parts are quoted where [`parse_table_name`] needs it.
pub fn show_table_name(name: &TableName) -> String {
    let mut out = String::new();
    for part in name.schema.iter().chain([&name.name]) {
        if !out.is_empty() {
            out.push('.');
        }
        if part.contains(['.', '"']) || part.trim() != &**part {
            let _ = write!(out, "\"{}\"", part.replace('"', "\"\""));
        } else {
            out.push_str(part);
        }
    }
    out
}

/// A quoted name after its opening quote: the name, and what follows the closing quote.
pub(super) fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_print_as_they_read() {
        for text in ["books", "shop.books", "\"Odd.Schema\".\"Tab\"\"le\"", "Tab le", "größe.名前"] {
            let name = parse_table_name(text).expect(text);
            assert_eq!(parse_table_name(&show_table_name(&name)), Ok(name), "{text}");
        }
        assert_eq!(parse_table_name("\"a.b\".c"), Ok(TableName::new(Some("a.b"), "c")));
    }

    #[test]
    fn malformed_table_names_say_where() {
        for (text, at) in
            [("", 0), ("a.", 2), (".a", 0), ("a.b.c", 0), ("\"a", 0), ("\"a\"b", 3), ("a\"b", 1), ("\"\"", 0)]
        {
            assert_eq!(parse_table_name(text).expect_err(text).0, at, "{text}");
        }
    }
}
