//! A few connections of our own, kept open between uses and never more than a set number.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use headwater_model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::Config;
use super::connection::{Connection, Purpose};

pub(super) struct Pool {
    config: Arc<Config>,
    purpose: Purpose,
    /// What every new connection runs first.
    setup: Option<String>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// A connection in use. Dropped, it is closed; [`Lease::keep`] puts it back, and is called only when its last
/// command ended well, so that no connection in an unknown state is ever used again.
pub(super) struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(config: Arc<Config>, size: usize) -> Pool {
        Pool {
            config,
            purpose: Purpose::Sql,
            setup: None,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(size)),
        }
    }

    /// A pool whose connections run this SQL first.
    pub fn with_setup(config: Arc<Config>, size: usize, setup: String) -> Pool {
        Pool { setup: Some(setup), ..Pool::new(config, size) }
    }

    /// A pool of connections to a store.
    pub fn of_store(config: Arc<Config>, size: usize, setup: &str) -> Pool {
        Pool { purpose: Purpose::Store, ..Pool::with_setup(config, size, setup.to_owned()) }
    }

    pub async fn get(&self) -> Result<Lease> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|e| Error::bug("the pool was closed").with_cause(e))?;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(mut connection) => {
                    // One that was kept from before a failover may still stand, at a server that is primary no more.
                    if !self.config.line.is_current(connection.course.as_ref()) || !connection.is_idle().await
                    {
                        continue;
                    }
                    connection
                }
                None => self.open().await?,
            };
            return Ok(Lease { connection: Some(connection), idle: self.idle.clone(), _permit: permit });
        }
    }
}

impl Pool {
    async fn open(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.config, self.purpose).await?;
        if let Some(setup) = &self.setup {
            connection.query(setup).await.map_err(|error| error.while_doing("set up a connection"))?;
        }
        Ok(connection)
    }
}

impl Lease {
    pub fn keep(mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl Deref for Lease {
    type Target = Connection;

    #[allow(clippy::expect_used)]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("only `keep` takes it, and ends the lease")
    }
}

impl DerefMut for Lease {
    #[allow(clippy::expect_used)]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("only `keep` takes it, and ends the lease")
    }
}
