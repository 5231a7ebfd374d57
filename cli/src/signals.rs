//! What the user's signals ask of a worker.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::outcome::Failed;

/// What a worker is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// To go on.
    #[default]
    Work,
    /// To end what runs, and claim no more.
    Drain,
    /// To stop at once.
    Stop,
}

/// Follows the signals: the first Ctrl-C or SIGTERM asks to drain, the second to stop.
pub fn follow() -> Result<watch::Receiver<Wish>, Failed> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failed::runtime)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Failed::runtime)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(Failed::runtime)?;
    let (sender, receiver) = watch::channel(Wish::Work);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
            }
            sender.send_modify(|wish| {
                *wish = if *wish == Wish::Work { Wish::Drain } else { Wish::Stop };
            });
        }
    });
    Ok(receiver)
}

/// Resolves when the worker is asked for that much. The one who asks may be gone: then never.
pub async fn asked(wishes: &mut watch::Receiver<Wish>, wanted: Wish) {
    if wishes.wait_for(|wish| *wish >= wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
