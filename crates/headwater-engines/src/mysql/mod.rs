//! MariaDB 10.5 and MySQL 8.0, or later: as a source, followed by the row-based binary log, and as a store of read models.
//!
//! - `source`: the [`headwater_model::Source`]; which connection does what
//! - `store`: the [`headwater_model::Store`]: views as tables
//! - `config`: the URL and the settings · `connection`: sessions, pools, which server may be spoken to
//! - `gtid`, `course`: both notations of global transaction ids, and the history that positions are of
//! - `event`, `log`, `ddl`: the log's events, put together · `layout`, `cell`, `json`: its rows
//! - `codec`: kinds of columns, and values as text · `zero`: dates that are none
//! - `catalog`: what only the database's catalog knows · `prepare`, `inspect`: what following needs, a look
//! - `follow`: the running read · `moment`, `chunk`: a read transaction and its position, a chunk
//! - `answer`, `dialect`: access patterns as SQL, and how these servers say it
//! - `checks`: what erodes such a server, and how to see it
//! - `advisor`: which indexes its workload asks for · `sandbox`: a server of our own to ask
//! - `error`: what the server's errors ask the caller to do
//!
//! Not supported: XA transactions, tables without a primary key or without transactions, MariaDB's `UUID`, `INET4` and
//! `INET6`, compressed columns, and character sets with several bytes that are not Unicode.

mod advisor;
mod answer;
mod catalog;
mod cell;
mod checks;
mod chunk;
mod codec;
mod config;
mod connection;
mod course;
mod ddl;
mod dialect;
mod error;
mod event;
mod follow;
mod gtid;
mod inspect;
mod json;
mod layout;
mod log;
mod moment;
mod prepare;
pub(crate) mod sandbox;
mod source;
mod store;
mod zero;

pub(crate) use advisor::Advisor;
pub(crate) use checks::{Examiner, checks};
pub use source::Source;
pub use store::Store;
pub(crate) use store::{fits, reach as store_reach};
