//! What the server has against a statement, and where in the statement that is: it tells no place, but repeats the text that it does not
//! understand, or names what it does not know.

use mysql_async::ServerError;

const NO_SUCH_TABLE: u16 = 1146;
const SYNTAX: u16 = 1064;
const NO_SUCH_COLUMN: u16 = 1054;

/// Whether it is that there is no such table.
pub(super) fn is_missing(refused: &ServerError, table: &str) -> bool {
    refused.code == NO_SUCH_TABLE && refused.message.contains(&format!(".{table}'"))
}

/// What is wrong, for who wrote the statement.
pub(super) fn told(refused: &ServerError, sql: &str) -> String {
    let at = place_of(refused, sql);
    match refused.code {
        SYNTAX if sql[at..].starts_with(['?', '$']) => {
            "a parameter: write a value instead, this planner looks at values".into()
        }
        SYNTAX => "the server does not understand the statement from here on".into(),
        _ => refused.message.clone(),
    }
}

/// Where in the statement a refusal is about, in bytes: the server repeats the text, or names what it does not know.
pub(super) fn place_of(refused: &ServerError, sql: &str) -> usize {
    let behind = |mark: &str| refused.message.split_once(mark).map(|(_, rest)| rest);
    match refused.code {
        SYNTAX => {
            let Some(rest) = behind("near '") else { return 0 };
            let near = rest.rfind("' at line").map_or(rest, |end| &rest[..end]);
            match near.is_empty() {
                // At its end.
                true => sql.char_indices().next_back().map_or(0, |(at, _)| at),
                false => sql.rfind(near).unwrap_or(0),
            }
        }
        NO_SUCH_TABLE | NO_SUCH_COLUMN => {
            let Some(rest) = behind("'") else { return 0 };
            let name = rest.split('\'').next().unwrap_or_default();
            word(sql, name.rsplit('.').next().unwrap_or_default()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Where a word stands by itself.
fn word(sql: &str, word: &str) -> Option<usize> {
    let (lower, word) = (sql.to_ascii_lowercase(), word.to_ascii_lowercase());
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let places = lower.match_indices(&word).map(|(at, _)| at);
    let alone =
        |at: &usize| !lower[..*at].ends_with(is_part) && !lower[at + word.len()..].starts_with(is_part);
    places.into_iter().find(|at| !word.is_empty() && alone(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_a_place_in_the_statement() {
        let refused =
            |code, message: &str| ServerError { code, message: message.into(), state: String::new() };
        let end = refused(SYNTAX, "You have an error … to use near '' at line 1");
        assert_eq!(place_of(&end, "SELECT 'ä' FROM ü"), 17);
        assert_eq!(place_of(&end, ""), 0);
        let near = refused(SYNTAX, "… to use near '? AND b = 'x'' at line 1");
        assert_eq!(place_of(&near, "SELECT 1 WHERE a = ? AND b = 'x'"), 19);
        assert!(told(&near, "SELECT 1 WHERE a = ? AND b = 'x'").starts_with("a parameter"));
        let column = refused(NO_SUCH_COLUMN, "Unknown column 'o.id' in 'field list'");
        assert_eq!(place_of(&column, "SELECT idle, o.id FROM o"), 15);
    }
}
