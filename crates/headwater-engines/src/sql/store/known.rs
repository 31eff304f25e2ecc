//! Which shape each view's table has, remembered between reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Result, View, ViewId};

use super::shape::{ColumnKind, Shape};

/// The columns `layout` and `fields` of a view's row in `headwater_view`, as they are written there.
pub(crate) type Written = (String, String);

/// What `headwater_view` said of a view.
pub(crate) struct Known<K> {
    pub shape: Shape<K>,
    pub written: Written,
}

/// What is known of each view. An answer that was made for another shape than the store's is thrown away, and the shape
/// forgotten.
pub(crate) struct Shapes<K> {
    known: Mutex<HashMap<ViewId, Arc<Known<K>>>>,
}

impl<K> Default for Shapes<K> {
    fn default() -> Shapes<K> {
        Shapes { known: Mutex::default() }
    }
}

impl<K: ColumnKind> Shapes<K> {
    pub fn get(&self, view: &View) -> Option<Arc<Known<K>>> {
        self.lock().get(&view.name).cloned()
    }

    /// Remembers what the store says of a view now.
    pub fn learn(&self, view: &View, written: Written) -> Result<Arc<Known<K>>> {
        let shape = Shape::read(&written.0, &written.1)?;
        let known = Arc::new(Known { shape, written });
        self.lock().insert(view.name.clone(), known.clone());
        Ok(known)
    }

    pub fn forget(&self, view: &View) {
        self.lock().remove(&view.name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ViewId, Arc<Known<K>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
