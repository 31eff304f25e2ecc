//! What advice about indexes needs whatever the engine: what statements ask of tables, which columns an index could begin with, and
//! which plans there are to choose from, and what is measured on a copy. Which indexes those become, what they cost and who is asked about them is the engine's.

pub(crate) mod asked;
pub(crate) mod configs;
pub(crate) mod heads;
pub(crate) mod trial;
