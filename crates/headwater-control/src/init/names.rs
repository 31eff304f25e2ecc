//! Names for views and embedded fields, from the names of tables and columns.

use std::collections::BTreeSet;

/// One row of a table, in words: `order_lines` → `order_line`. English as far as a few rules go; the rest stays.
pub(super) fn singular(name: &str) -> String {
    let lower = name.to_lowercase();
    let cut = |count: usize, add: &str| format!("{}{add}", &name[..name.len() - count]);
    let stays = ["ss", "us", "is", "series", "news", "species"];
    if !name.is_ascii() || name.len() < 4 || stays.iter().any(|end| lower.ends_with(end)) {
        name.to_owned()
    } else if lower.ends_with("ies") {
        cut(3, "y")
    } else if ["sses", "xes", "ches", "shes", "uses"].iter().any(|end| lower.ends_with(end)) {
        cut(2, "")
    } else if lower.ends_with('s') {
        cut(1, "")
    } else {
        name.to_owned()
    }
}

/// The name of what a foreign key points at: `author_id` → `author`; of several columns, the table's.
pub(super) fn pointed_at(columns: &[Box<str>], table: &str) -> String {
    if let [column] = columns {
        for end in ["_id", "_uuid", "_key", "_no", "_ref", "Id", "ID"] {
            if let Some(stem) = column.strip_suffix(end)
                && !stem.is_empty()
            {
                return stem.to_owned();
            }
        }
    }
    singular(table)
}

/// `wanted` as the name of a view, an access pattern or a source: letters, digits, `_` and `-`, not one that is taken.
pub(super) fn entry(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(40)
        .collect();
    // Names that begin with the prefix are reserved.
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.to_lowercase().starts_with("headwater_") {
        name.insert_str(0, "t_");
    }
    let name = free(&name, |name| !taken.contains(&name.to_lowercase()));
    taken.insert(name.to_lowercase());
    name
}

/// `wanted`, or `wanted_2`, `wanted_3` …: the first that is free.
pub(super) fn free(wanted: &str, is_free: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    for n in 2.. {
        if is_free(&name) {
            break;
        }
        name = format!("{wanted}_{n}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_people_say_them() {
        for (many, one) in [
            ("books", "book"),
            ("order_lines", "order_line"),
            ("categories", "category"),
            ("boxes", "box"),
            ("addresses", "address"),
            ("status", "status"),
            ("series", "series"),
            ("staff", "staff"),
            ("bus", "bus"),
            ("größes", "größes"),
        ] {
            assert_eq!(singular(many), one);
        }
        assert_eq!(pointed_at(&["author_id".into()], "people"), "author");
        assert_eq!(pointed_at(&["authorId".into()], "people"), "author");
        assert_eq!(pointed_at(&["author".into()], "people"), "people");
        assert_eq!(pointed_at(&["a".into(), "b".into()], "cities"), "city");
    }

    #[test]
    fn names_of_views_are_ones_the_file_takes() {
        let mut taken = BTreeSet::new();
        assert_eq!(entry("Tab le", &mut taken), "Tab_le");
        assert_eq!(entry("tab le", &mut taken), "tab_le_2");
        assert_eq!(entry("名前", &mut taken), "t___");
        assert_eq!(entry("1st", &mut taken), "t_1st");
        assert_eq!(entry("Headwater_x", &mut taken), "t_Headwater_x");
    }
}
