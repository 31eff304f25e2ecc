//! A function of one column, as rankings and figures write it: `sum(quantity)`, `count(*)`, `max("Odd name")`.

use super::name::unquote;

/// The function's name in lower case, and its column, `None` for `*`. The error is what is wrong, and the bytes it is at.
pub(super) type Call = (String, Option<Box<str>>);

pub(super) fn parse(text: &str) -> Result<Call, (std::ops::Range<usize>, String)> {
    let whole = 0..text.len();
    let Some(open) = text.find('(') else {
        return Err((whole, format!("`{}` is no function of a column", text.trim())));
    };
    let Some(inner) = text[open + 1..].trim_end().strip_suffix(')') else {
        return Err((open..text.len(), "the `(` has no closing `)` at the end".to_owned()));
    };
    let at = open + 1..open + 1 + inner.len();
    let name = text[..open].trim().to_ascii_lowercase();
    let argument = inner.trim();
    if argument == "*" {
        return Ok((name, None));
    }
    let column = match argument.strip_prefix('"') {
        Some(quoted) => match unquote(quoted) {
            Some((column, "")) => column,
            _ => return Err((at, "a quoted name ends with its closing `\"`".to_owned())),
        },
        None if argument.contains(['(', ')', '"', ',']) => {
            return Err((at, format!("`{argument}` is not a column")));
        }
        None => argument.to_owned(),
    };
    match column.is_empty() {
        true => Err((whole, format!("`{name}` names no column"))),
        false => Ok((name, Some(column.into()))),
    }
}

/// The call as [`parse`] reads it.
pub(super) fn show(function: &str, column: Option<&str>) -> String {
    let Some(column) = column else { return format!("{function}(*)") };
    let odd = column == "*" || column.trim() != column || column.contains(['(', ')', '"', ',']);
    match odd {
        true => format!("{function}(\"{}\")", column.replace('"', "\"\"")),
        false => format!("{function}({column})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_print_as_they_read() {
        for column in ["quantity", "Odd name", "a(b)", "*", " x", "say \"hi\"", "a,b", "größe"] {
            let shown = show("sum", Some(column));
            assert_eq!(parse(&shown), Ok(("sum".to_owned(), Some(column.into()))), "{shown}");
        }
        assert_eq!(parse(" COUNT ( * ) "), Ok(("count".to_owned(), None)));
    }

    #[test]
    fn malformed_calls_say_where() {
        for text in
            ["", "sum", "sum(", "sum()", "sum(a", "sum(a) + 1", "sum(a + max(b))", "sum(\"a)", "sum(a, b)"]
        {
            let (at, _) = parse(text).expect_err(text);
            assert!(at.end <= text.len(), "{text}: {at:?}");
        }
    }
}
