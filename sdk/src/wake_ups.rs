//! Waiting for wake-ups, also without any: a backend may have none, or end their stream.

use ff_core::backend::WakeUps;
use futures_util::FutureExt;
use tokio::time::Instant;

/// Waits for a wake-up until a time; returns whether there was one.
pub(crate) async fn wait_for(wake_ups: &mut Option<Box<dyn WakeUps>>, until: Instant) -> bool {
    let Some(stream) = wake_ups else {
        tokio::time::sleep_until(until).await;
        return false;
    };
    match tokio::time::timeout_at(until, stream.next()).await {
        Ok(Some(_)) => true,
        Ok(None) => {
            *wake_ups = None;
            false
        }
        Err(_) => false,
    }
}

/// Consumes the wake-ups received so far; returns whether there was one.
pub(crate) fn drain(wake_ups: &mut Option<Box<dyn WakeUps>>) -> bool {
    let mut any = false;
    while let Some(stream) = wake_ups {
        match stream.next().now_or_never() {
            Some(Some(_)) => any = true,
            Some(None) => *wake_ups = None,
            None => break,
        }
    }
    any
}
