//! A value that is watched: tokio's `watch`, except that those who wait are woken in the order in which they began to.
//!
//! Tokio's own wakes them in an order that it draws. What the data plane does would then depend on a draw that no seed
//! decides (see [`crate::machine`]).

use std::sync::Arc;

use tokio::sync::watch::Ref;
use tokio::sync::watch::error::RecvError;
use tokio::sync::{Notify, watch};

pub(crate) struct Sender<T> {
    /// `None` only while it is dropped.
    value: Option<watch::Sender<T>>,
    told: Arc<Notify>,
}

#[derive(Clone)]
pub struct Receiver<T> {
    value: watch::Receiver<T>,
    told: Arc<Notify>,
}

pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Sender<T> {
        Sender { value: Some(watch::Sender::new(value)), told: Arc::default() }
    }

    fn value(&self) -> &watch::Sender<T> {
        self.value.as_ref().expect("there until it is dropped")
    }

    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { value: self.value().subscribe(), told: Arc::clone(&self.told) }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        self.value().borrow()
    }

    pub fn send_replace(&self, value: T) -> T {
        let before = self.value().send_replace(value);
        self.told.notify_waiters();
        before
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = self.value().send_if_modified(modify);
        if modified {
            self.told.notify_waiters();
        }
        modified
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.value = None;
        self.told.notify_waiters();
    }
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> Ref<'_, T> {
        self.value.borrow()
    }

    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.value.borrow_and_update()
    }

    /// Waits for a value that was not looked at. An error: the sender is gone.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        let told = Arc::clone(&self.told);
        loop {
            let mut waiting = std::pin::pin!(told.notified());
            // Before it is looked: what is sent between the two is not missed.
            waiting.as_mut().enable();
            match self.value.has_changed() {
                Ok(true) => {
                    self.value.mark_unchanged();
                    return Ok(());
                }
                Ok(false) => waiting.await,
                // Closed; ends with its error unless there is a last value.
                Err(_) => return self.value.changed().await,
            }
        }
    }

    /// Waits for a value that is wanted, the present one included. An error: the sender is gone.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, RecvError> {
        let told = Arc::clone(&self.told);
        loop {
            let mut waiting = std::pin::pin!(told.notified());
            waiting.as_mut().enable();
            if wanted(&self.value.borrow_and_update()) {
                return Ok(self.value.borrow_and_update());
            }
            // Closed, and the last value is not wanted.
            self.value.has_changed()?;
            waiting.await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
        for _ in 0..50 {
            let (sender, receiver) = channel(0);
            let woken = Arc::new(std::sync::Mutex::new(Vec::new()));
            let waiting: Vec<_> = (0..8)
                .map(|number| {
                    let (mut receiver, woken) = (receiver.clone(), Arc::clone(&woken));
                    tokio::spawn(async move {
                        receiver.changed().await.unwrap();
                        woken.lock().unwrap().push(number);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            sender.send_replace(1);
            for waits in waiting {
                waits.await.unwrap();
            }
            assert_eq!(*woken.lock().unwrap(), (0..8).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn nothing_is_missed_and_the_end_is_told() {
        let (sender, mut receiver) = channel(0);
        let counts = tokio::spawn(async move {
            let mut newest = 0;
            while receiver.changed().await.is_ok() {
                newest = *receiver.borrow_and_update();
            }
            newest
        });
        for number in 1..=1000 {
            sender.send_replace(number);
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut other = sender.subscribe();
        assert_eq!(*other.wait_for(|number| *number >= 1000).await.unwrap(), 1000);
        let waits = tokio::spawn(async move { other.wait_for(|number| *number > 1000).await.is_err() });
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(counts.await.unwrap(), 1000);
        assert!(waits.await.unwrap());
    }
}
