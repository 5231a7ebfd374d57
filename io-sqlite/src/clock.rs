//! The clock of the store.

use std::sync::Arc;
use std::time::SystemTime;

use ff_core::time::TimestampMs;

/// The clock of a store: the clock of this machine, which all processes of the file share, unless a
/// test sets another one. Clones are the same clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> TimestampMs + Send + Sync>);

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self::of(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let ms = since.unwrap_or_default().as_millis();
            TimestampMs::new(u64::try_from(ms).unwrap_or(u64::MAX))
        })
    }

    /// A clock that shows what the function returns. Programs that share a file must have the same
    /// clock.
    pub fn of(now: impl Fn() -> TimestampMs + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> TimestampMs {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
