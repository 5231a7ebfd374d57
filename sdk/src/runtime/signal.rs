//! Shutdown by the signals of the operating system.

/// The signal that asked this process to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownSignal {
    /// SIGINT, or Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// Waits until this process is asked to shut down: by SIGTERM or SIGINT, on other systems than Unix
/// by Ctrl-C. For [`WorkerRuntime::run_until`](crate::WorkerRuntime::run_until), which returns the
/// signal.
///
/// ```no_run
/// # async fn run(runtime: ff_sdk::WorkerRuntime) -> Result<(), ff_sdk::SdkError> {
/// let signal = runtime.run_until(ff_sdk::shutdown_signal()).await?;
/// println!("stopped by {signal:?}");
/// # Ok(())
/// # }
/// ```
///
/// From the first poll on, these signals no longer end the process by themselves, also when this
/// future has been dropped. A signal reaches the futures that were polled before it. So wait for it
/// in one place and pass it on: of two futures, one could miss the only signal.
///
/// It needs a tokio runtime with I/O enabled. If the system refuses to report the signals, this logs
/// an error and never resolves; the signals end the process then.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn shutdown_signal() -> ShutdownSignal {
    match next_signal().await {
        Ok(signal) => {
            tracing::info!(?signal, "shutdown requested");
            signal
        }
        Err(error) => {
            tracing::error!(%error, "cannot listen to signals; they will end the process");
            std::future::pending().await
        }
    }
}

#[cfg(unix)]
async fn next_signal() -> std::io::Result<ShutdownSignal> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminated.recv() => Ok(ShutdownSignal::Terminate),
        _ = interrupted.recv() => Ok(ShutdownSignal::Interrupt),
    }
}

#[cfg(not(unix))]
async fn next_signal() -> std::io::Result<ShutdownSignal> {
    tokio::signal::ctrl_c().await.map(|()| ShutdownSignal::Interrupt)
}
