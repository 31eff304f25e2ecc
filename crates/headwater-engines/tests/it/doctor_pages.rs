//! The pages of the checks of `doctor`.

use std::collections::BTreeSet;

use headwater_engines::registry;

/// Each check has a page with what a person needs to decide, and the pages are those of checks.
#[test]
fn every_check_has_its_page() {
    let overview = include_str!("../../../../docs/doctor.md");
    let mut ids = BTreeSet::new();
    for check in registry::checks() {
        assert!(ids.insert(check.id), "{} twice", check.id);
        let row = format!("| [{0}](findings/{0}.md) | {1} |", check.id, check.title());
        assert!(overview.contains(&row), "docs/doctor.md lacks {row}");
        for section in ["Why it matters", "When it is reported", "What to do", "Cost", "Risk"] {
            assert!(
                check.section(section).is_some_and(|text| !text.is_empty()),
                "{} lacks {section}",
                check.id
            );
        }
        for limit in check.limits {
            assert!(
                check.page.contains(&format!("`{}`", limit.name)),
                "{}: {} is not explained",
                check.id,
                limit.name
            );
        }
    }
}
