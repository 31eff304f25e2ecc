//! What becomes of a value on its way into a column whose values have no kind in common ([`crate::ColumnType::Dynamic`]).

/// By a column's declared type (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Text that reads as a number becomes one, whole if it can.
    Integer,
    /// Numbers become text.
    Text,
    /// Declared `BLOB`: values stay as they are.
    Blob,
    /// Nothing declared: values stay as they are.
    None,
    /// As `Integer`, but whole numbers become floats.
    Real,
    /// As `Integer`.
    Numeric,
}

impl Affinity {
    pub fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if declared.is_empty() {
            Affinity::None
        } else if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}
