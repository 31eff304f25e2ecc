#![allow(clippy::unwrap_used)]

mod engines;
