//! Views read by Redis clients.

mod bounds;
mod clients;
mod commands;
mod fresh;
mod site;
