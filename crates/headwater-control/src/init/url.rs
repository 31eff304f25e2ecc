//! The URL as the file may hold it: without the password.

/// A URL with its password taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// For the file: the password is `${VARIABLE}`.
    pub url: String,
    /// The environment variable that the file now refers to, if there was a password.
    pub variable: Option<&'static str>,
}

/// Takes the password out of a URL that was given on the command line, and escapes what the file would read as a
/// reference.
pub fn without_password(url: &str) -> Reference {
    let plain = |url: &str| Reference { url: url.replace('$', "$$"), variable: None };
    let Some((scheme, rest)) = url.split_once("://") else { return plain(url) };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let variable = if scheme.starts_with("postgres") { "PGPASSWORD" } else { "SOURCE_PASSWORD" };
    if let Some(at) = rest[..authority_end].rfind('@')
        && let Some(colon) = rest[..at].find(':')
        && colon + 1 < at
    {
        let (user, after) = (rest[..colon].replace('$', "$$"), rest[at..].replace('$', "$$"));
        return Reference {
            url: format!("{scheme}://{user}:${{{variable}}}{after}"),
            variable: Some(variable),
        };
    }
    // As a parameter: `?password=`.
    if let Some(query) = rest.find('?') {
        for pair in rest[query + 1..].split('&') {
            if let Some(value) = pair.strip_prefix("password=")
                && !value.is_empty()
            {
                let start = pair.as_ptr() as usize - rest.as_ptr() as usize + "password=".len();
                let (before, after) = (rest[..start].replace('$', "$$"), &rest[start + value.len()..]);
                return Reference {
                    url: format!("{scheme}://{before}${{{variable}}}{}", after.replace('$', "$$")),
                    variable: Some(variable),
                };
            }
        }
    }
    plain(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_reaches_the_file() {
        let to = |url: &str| without_password(url).url;
        assert_eq!(to("postgres://me:p$w@h:5432/d?a=b"), "postgres://me:${PGPASSWORD}@h:5432/d?a=b");
        assert_eq!(
            to("postgres://h/d?user=me&password=x&a=b"),
            "postgres://h/d?user=me&password=${PGPASSWORD}&a=b"
        );
        assert_eq!(to("postgres://me@h/d"), "postgres://me@h/d");
        assert_eq!(to("sqlite:/tmp/a$b.db"), "sqlite:/tmp/a$$b.db");
        assert_eq!(without_password("postgres://me@h/d").variable, None);
    }
}
