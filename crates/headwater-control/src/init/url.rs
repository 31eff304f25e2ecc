//! The URL as the file may hold it: without the password, and what a source of it is called.

use std::collections::BTreeSet;

use super::names::entry;

/// A URL with its password taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// For the file: the password is `${VARIABLE}`.
    pub url: String,
    /// The environment variable that the file now refers to, if there was a password.
    pub variable: Option<String>,
}

/// Takes the password out of a URL that was given on the command line, and escapes what the file would read as a
/// reference. Each source that has a name has a password of its own.
pub fn without_password(url: &str, name: Option<&str>) -> Reference {
    let plain = |url: &str| Reference { url: url.replace('$', "$$"), variable: None };
    let Some((scheme, rest)) = url.split_once("://") else { return plain(url) };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let variable = match name {
        Some(name) => format!("{}_PASSWORD", name.to_uppercase()),
        None if scheme.starts_with("postgres") => "PGPASSWORD".to_owned(),
        None => "SOURCE_PASSWORD".to_owned(),
    };
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

/// What the sources of these URLs are called in one file, after their databases; nothing if there is only one.
pub fn names(urls: &[String]) -> Vec<Option<String>> {
    if urls.len() == 1 {
        return vec![None];
    }
    let mut taken = BTreeSet::new();
    // Names that differ only between - and _ are one name.
    urls.iter().map(|url| Some(entry(&database(url).replace('-', "_"), &mut taken))).collect()
}

/// A file's name without what stands behind its point; without a database, what kind of database it is.
fn database(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let name = match rest.strip_prefix("//") {
        Some(rest) => rest.rsplit_once('/').map_or("", |(_, database)| database),
        None => rest.rsplit('/').next().unwrap_or_default(),
    };
    let name = name.split('.').next().unwrap_or_default().trim_end_matches('_');
    if name.is_empty() { scheme } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_called_after_their_databases() {
        let of = |urls: &[&str]| -> Vec<Option<String>> {
            names(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["postgres://me:pw@h/shop"]), [None]);
        let several = [
            "postgres://me:pw@h:5432/shop?sslmode=require",
            "sqlite:/var/lib/Shop.db",
            "mysql://me@h/web-shop",
            "mysql://me@h/web_shop",
            "dynamodb://us-east-1/stock_",
            "dynamodb://us-east-1",
            "postgres://me@h/",
        ];
        let called = of(&several).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(called, ["shop", "Shop_2", "web_shop", "web_shop_2", "stock", "dynamodb", "postgres"]);
    }

    #[test]
    fn a_password_never_reaches_the_file() {
        let to = |url: &str| without_password(url, None).url;
        assert_eq!(to("postgres://me:p$w@h:5432/d?a=b"), "postgres://me:${PGPASSWORD}@h:5432/d?a=b");
        assert_eq!(
            to("postgres://h/d?user=me&password=x&a=b"),
            "postgres://h/d?user=me&password=${PGPASSWORD}&a=b"
        );
        assert_eq!(to("postgres://me@h/d"), "postgres://me@h/d");
        assert_eq!(to("sqlite:/tmp/a$b.db"), "sqlite:/tmp/a$$b.db");
        assert_eq!(without_password("postgres://me@h/d", None).variable, None);
        let named = without_password("postgres://me:pw@h/d", Some("shop"));
        assert_eq!(named.url, "postgres://me:${SHOP_PASSWORD}@h/d");
        assert_eq!(named.variable.as_deref(), Some("SHOP_PASSWORD"));
    }
}
