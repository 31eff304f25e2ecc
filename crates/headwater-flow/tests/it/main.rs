//! Flow against real engines.

mod derive;
