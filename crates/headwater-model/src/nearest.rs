//! The name that a misspelt one was probably meant to be.

/// The candidate closest to `name`, if one is close enough to be worth suggesting. Case and the difference between
/// `-` and `_` count for nothing.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let allowed = match wanted.chars().count() {
        0 => return None,
        1..=3 => 1,
        4..=5 => 2,
        n => n.div_ceil(3).min(4),
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &folded(candidate)), candidate))
        .filter(|(distance, candidate)| {
            // A name that shares nothing with the wanted one is no suggestion, however short both are.
            *distance <= allowed && *distance < candidate.chars().count().max(2)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_name_that_was_meant() {
        assert_eq!(nearest("custmers", ["orders", "customers"]), Some("customers"));
        assert_eq!(nearest("form", ["from", "store", "where"]), Some("from"));
        assert_eq!(nearest("hold-for", ["hold_for"]), Some("hold_for"));
        assert_eq!(nearest("URL", ["url"]), Some("url"));
        assert_eq!(nearest("book", ["books", "authors"]), Some("books"));
        assert_eq!(nearest("xyz", ["url", "from"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
