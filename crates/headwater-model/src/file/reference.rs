//! Secrets by reference: `${NAME}` inside a string, `file:/path` for a whole one. `$$` is one `$`.
//!
//! A password written into the file itself is refused: files are committed, copied and shown.

use std::ops::Range;
use std::path::Path;

/// Where references lead. The model does no I/O: the caller hands this in.
pub trait References {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file; the error is why it cannot be read.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// A string with its references replaced.
#[derive(Debug)]
pub(super) struct Expanded {
    pub text: String,
    /// The text with everything that came by reference, and every password, starred out.
    pub shown: String,
    /// Whether any of it came by reference.
    pub referred: bool,
}

pub(super) struct BadReference {
    pub message: String,
    pub remedy: String,
    /// The byte of the string at which the reference begins, if it is one inside the string.
    pub at: Option<usize>,
}

pub(super) const STARS: &str = "***";

/// Replaces references in a setting or an amount.
pub(super) fn expand(text: &str, references: &dyn References) -> Result<Expanded, BadReference> {
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(Expanded { text: read(path, references)?, shown: STARS.to_owned(), referred: true });
    }
    let mut expanded = Expanded { text: String::new(), shown: String::new(), referred: false };
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(literal) => expanded.text.push_str(&literal),
            Piece::Variable { name, at } => {
                expanded.text.push_str(&variable(name, at, references)?);
                expanded.referred = true;
            }
        }
    }
    expanded.shown = if expanded.referred { STARS.to_owned() } else { expanded.text.clone() };
    Ok(expanded)
}

/// Replaces references in a URL. A variable before the `@` is a user or a password as people write it: what URLs
/// reserve in it is escaped. Elsewhere it is taken as it is.
pub(super) fn expand_url(text: &str, references: &dyn References) -> Result<Expanded, BadReference> {
    if let Some(path) = text.strip_prefix("file:") {
        let text = read(path, references)?;
        return Ok(Expanded { shown: hide_password(&text), text, referred: true });
    }
    let login = login(text).unwrap_or(0..0);
    let mut expanded = Expanded { text: String::new(), shown: String::new(), referred: false };
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(literal) => {
                expanded.text.push_str(&literal);
                expanded.shown.push_str(&literal);
            }
            Piece::Variable { name, at } => {
                let value = variable(name, at, references)?;
                expanded.referred = true;
                let after_login = at >= login.end;
                let in_query = text[..at].contains('?');
                if login.contains(&at) {
                    expanded.text.push_str(&escape(&value));
                } else {
                    expanded.text.push_str(&value);
                }
                if after_login && !in_query {
                    expanded.shown.push_str(&value)
                } else {
                    expanded.shown.push_str(STARS)
                }
            }
        }
    }
    expanded.shown = hide_password(&expanded.shown);
    Ok(expanded)
}

/// The bytes of a password that stands in a URL for everyone to read: `user:password@` or `?password=`.
pub(super) fn literal_password(url: &str) -> Option<Range<usize>> {
    passwords(url).into_iter().find(|range| !url[range.clone()].contains("${"))
}

/// The URL with passwords replaced by `***`.
pub fn hide_password(url: &str) -> String {
    let mut shown = url.to_owned();
    for range in passwords(url).into_iter().rev() {
        shown.replace_range(range, STARS);
    }
    shown
}

/// The URL with a password put behind its user, escaped.
pub(super) fn with_password(url: &str, password: &str) -> Option<String> {
    let host = url.find("://")? + 3;
    let user_end = login(url).map_or(host, |login| login.end);
    if url[host..user_end].contains(':') {
        return None;
    }
    let at = if user_end == host { "@" } else { "" };
    Some(format!("{}:{}{at}{}", &url[..user_end], escape(password), &url[user_end..]))
}

/// Whether the URL names a path on this machine and nothing else: `x+unix:///run/x.sock`.
pub(super) fn has_no_host(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/'))
}

/// The bytes between `://` and the `@` before the host.
fn login(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + 3;
    // A variable's name holds none of these, so braces need no care.
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |i| start + i);
    if let Some(at) = url[start..end].rfind('@') {
        return Some(start..start + at);
    }
    // A password may itself hold an unescaped slash. What would be its start is then no port.
    let (_, after_colon) = url[start..end].split_once(':')?;
    if after_colon.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    url[start..].rfind('@').map(|at| start..start + at)
}

/// Where passwords stand, not empty ones, in the order of the text.
fn passwords(url: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if let Some(login) = login(url)
        && let Some(colon) = url[login.clone()].find(':')
    {
        found.push(login.start + colon + 1..login.end);
    }
    if let Some(query) = url.find('?') {
        let mut at = query + 1;
        for pair in url[at..].split(['&', '#']) {
            if let Some((name, value)) = pair.split_once('=')
                && (name.to_ascii_lowercase().contains("password")
                    || name.to_ascii_lowercase().contains("secret"))
            {
                found.push(at + pair.len() - value.len()..at + pair.len());
            }
            at += pair.len() + 1;
        }
    }
    found.retain(|range| !range.is_empty());
    found
}

/// Escapes what means something in a URL's login.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn variable(name: &str, at: usize, references: &dyn References) -> Result<String, BadReference> {
    references.variable(name).ok_or_else(|| BadReference {
        message: format!("the environment variable `{name}` is not set"),
        remedy: format!("set it before you start headwater: export {name}=…"),
        at: Some(at),
    })
}

pub(super) fn read(path: &str, references: &dyn References) -> Result<String, BadReference> {
    let mut text = references.file(Path::new(path)).map_err(|why| BadReference {
        message: format!("cannot read the file `{path}`: {why}"),
        remedy: "name a file that headwater may read".to_owned(),
        at: None,
    })?;
    // Editors and `echo` end a file with a newline that is no part of the secret.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

enum Piece<'t> {
    Literal(String),
    Variable { name: &'t str, at: usize },
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadReference> {
    let (mut pieces, mut literal, mut at) = (Vec::new(), String::new(), 0);
    while let Some(dollar) = text[at..].find('$').map(|i| at + i) {
        literal.push_str(&text[at..dollar]);
        let after = &text[dollar + 1..];
        if after.starts_with('$') {
            literal.push('$');
            at = dollar + 2;
        } else if let Some(name) = after.strip_prefix('{') {
            let bad = |message: &str| BadReference {
                message: message.to_owned(),
                remedy: "write ${NAME} with letters, digits and _, or $$ for a plain $".to_owned(),
                at: Some(dollar),
            };
            let end = name.find('}').ok_or_else(|| bad("a `${` has no closing `}`"))?;
            let name = &name[..end];
            let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(bad("what stands between `${` and `}` is not the name of a variable"));
            }
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            pieces.push(Piece::Variable { name, at: dollar });
            at = dollar + 3 + end;
        } else {
            literal.push('$');
            at = dollar + 1;
        }
    }
    literal.push_str(&text[at..]);
    pieces.push(Piece::Literal(literal));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl References for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "PW" => Some("p@ss/w:rd%".to_owned()),
                "HOST" => Some("db.internal:5433".to_owned()),
                "URL" => Some("postgres://me:secret@h/d".to_owned()),
                _ => None,
            }
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            match path.to_str() {
                Some("/run/pw") => Ok("from-file\r\n".to_owned()),
                _ => Err("no such file".to_owned()),
            }
        }
    }

    fn url(text: &str) -> (String, String) {
        let expanded = expand_url(text, &Fixed).unwrap_or_else(|bad| panic!("{text}: {}", bad.message));
        (expanded.text, expanded.shown)
    }

    #[test]
    fn a_password_from_a_variable_is_escaped_and_hidden() {
        let (text, shown) = url("postgres://me:${PW}@${HOST}/shop");
        assert_eq!(text, "postgres://me:p%40ss%2Fw%3Ard%25@db.internal:5433/shop");
        assert_eq!(shown, "postgres://me:***@db.internal:5433/shop");
    }

    #[test]
    fn a_whole_url_by_reference_hides_its_password() {
        assert_eq!(url("${URL}"), ("postgres://me:secret@h/d".into(), "postgres://me:***@h/d".into()));
        assert_eq!(url("redis://:${PW}@h").1, "redis://:***@h");
        assert_eq!(url("redis://${PW}@h").1, "redis://***@h");
        assert_eq!(url("x://h/d?password=${PW}").1, "x://h/d?password=***");
    }

    #[test]
    fn dollars_escape_themselves() {
        let text = |text: &str| expand(text, &Fixed).map(|e| e.text).map_err(|bad| bad.message);
        assert_eq!(text("a$$b$c$"), Ok("a$b$c$".to_owned()));
        assert_eq!(text("$${PW}"), Ok("${PW}".to_owned()));
        assert_eq!(text("file:/run/pw"), Ok("from-file".to_owned()));
        assert!(text("${PW").is_err());
        assert!(text("${}").is_err());
        assert!(text("${A-B}").is_err());
    }

    #[test]
    fn errors_name_the_variable_and_where_it_is() {
        let bad = expand("ab${NOPE}", &Fixed).expect_err("not set");
        assert_eq!((bad.message.as_str(), bad.at), ("the environment variable `NOPE` is not set", Some(2)));
    }

    #[test]
    fn literal_passwords_are_found() {
        let found = |url: &str| literal_password(url).map(|range| url[range].to_owned());
        assert_eq!(found("postgres://me:hunter2@h/d").as_deref(), Some("hunter2"));
        assert_eq!(found("postgres://me:a/b@h/d").as_deref(), Some("a/b"));
        assert_eq!(found("postgres://h/d?user=me&password=x&y=1").as_deref(), Some("x"));
        for fine in [
            "postgres://me:${PW}@h/d",
            "postgres://me@h/d",
            "postgres://me:@h",
            "sqlite:a:b@c",
            "x://h:80/a@b",
        ] {
            assert_eq!(found(fine), None, "{fine}");
        }
    }

    #[test]
    fn a_password_is_put_behind_the_user() {
        assert_eq!(with_password("x://me@h/d", "a@b").as_deref(), Some("x://me:a%40b@h/d"));
        assert_eq!(with_password("redis://h:1", "p").as_deref(), Some("redis://:p@h:1"));
        assert_eq!(with_password("x://me:you@h", "p"), None);
        assert_eq!(with_password("sqlite:f", "p"), None);
    }
}
