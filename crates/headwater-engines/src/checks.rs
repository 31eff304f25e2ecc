//! What the definitions of checks share, whatever the engine.

use headwater_model::exam::Limit;

pub(crate) const fn limit(name: &'static str, usual: f64) -> Limit {
    Limit { name, usual }
}

/// The page of a check.
macro_rules! page {
    ($id:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/findings/", $id, ".md"))
    };
}
pub(crate) use page;
