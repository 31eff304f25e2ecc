//! Names that every provider's rules take: of resources, of what they refer to each other by.

/// `Shop DB` as `shop-db`: lower case letters, digits and single hyphens, beginning with a letter, at most 20.
pub(super) fn system(database: &str) -> String {
    let mut name = String::new();
    for c in database.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().take(20).collect();
    match name.trim_end_matches('-') {
        "" => "headwater".to_owned(),
        name => name.to_owned(),
    }
}

/// What a URL calls its database; empty if it does not say.
pub(super) fn database_in(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    path.split(['?', '#']).next().unwrap_or_default()
}

/// The name of a database that is made anew: letters, digits and `_`, beginning with a letter, at most 60.
pub(super) fn database(wanted: &str) -> String {
    let name: String =
        wanted.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(60).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { "app".to_owned() }
}

/// `elasticache-valkey` as `elasticache_valkey`.
pub(super) fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// `book_index` as `BookIndex`.
pub(super) fn pascal(id: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
    };
    id.split('_').map(word).collect()
}

/// `book_index` as `book-index`.
pub(super) fn slug(id: &str) -> String {
    id.replace('_', "-")
}

/// Text of others in a comment or a quoted description: one line, nothing that ends a quote or begins a reference.
pub(super) fn prose(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '\\' | '`' => '\'',
            '$' | '%' | '{' | '}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_database_gives_a_name_that_all_services_take() {
        for (database, name) in [
            ("shop", "shop"),
            ("Shop DB", "shop-db"),
            ("9lives__of--cats", "lives-of-cats"),
            ("größe", "gr-e"),
            ("", "headwater"),
            ("名前", "headwater"),
            ("a_very_long_name_of_a_database", "a-very-long-name-of"),
        ] {
            assert_eq!(system(database), name);
        }
        assert_eq!(super::database("my-shop"), "my_shop");
        assert_eq!(database_in("postgres://me:p@h:5432/shop?sslmode=disable"), "shop");
        assert_eq!(database_in("postgres://h"), "");
        assert_eq!(database_in("sqlite:x.db"), "");
        assert_eq!(super::database("9"), "app");
        assert_eq!(pascal("book_index"), "BookIndex");
        assert_eq!(prose("a \"b\" ${c}\n#"), "a 'b'   c  #");
    }
}
