//! Waiting for what happens in its own time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Polls until `check` gives `Ok`, and returns what it gave. Panics after `timeout` with `what` and the last `Err`, so
/// let the error say what is seen instead:
///
/// ```ignore
/// eventually(Duration::from_secs(5), "the row arrives", async || {
///     match redis.cli(&["GET", "k"]).as_str() { "v" => Ok(()), other => Err(format!("got {other:?}")) }
/// }).await;
/// ```
pub async fn eventually<T, E, F, Fut>(timeout: Duration, what: &str, mut check: F) -> T
where
    E: std::fmt::Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match check().await {
            Ok(value) => return value,
            Err(last) if started.elapsed() >= timeout => {
                panic!("waited {timeout:?} in vain for: {what}; last seen: {last}")
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
