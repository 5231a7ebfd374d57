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

/// Listens to the signals that ask this process to shut down, from this call on: SIGTERM and
/// SIGINT, on other systems than Unix Ctrl-C. The future resolves with the first of them. It is for
/// [`WorkerRuntime::run_until`](crate::WorkerRuntime::run_until), which returns the signal.
///
/// ```no_run
/// # async fn run(runtime: ff_sdk::WorkerRuntime) -> Result<(), ff_sdk::SdkError> {
/// let signal = runtime.run_until(ff_sdk::shutdown_signal()).await?;
/// println!("stopped by {signal:?}");
/// # Ok(())
/// # }
/// ```
///
/// From this call on, these signals no longer end the process by themselves, also when the future
/// has been dropped. A signal reaches the futures that were created before it. So create one, and
/// pass its result on: of two, one could miss the only signal.
///
/// If the system refuses to report the signals, this logs an error and the future never resolves;
/// the signals end the process then.
///
/// # Panics
///
/// Outside a tokio runtime with I/O enabled.
///
/// # Cancel safety
///
/// The future is cancel safe.
pub fn shutdown_signal() -> impl Future<Output = ShutdownSignal> + Send + use<> {
    let signals = Signals::listen();
    async {
        let signal = match signals {
            Ok(signals) => signals.next().await,
            Err(error) => Err(error),
        };
        match signal {
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
}

#[cfg(unix)]
struct Signals {
    terminated: tokio::signal::unix::Signal,
    interrupted: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = signal(SignalKind::terminate())?;
        Ok(Self { terminated, interrupted: signal(SignalKind::interrupt())? })
    }

    async fn next(mut self) -> std::io::Result<ShutdownSignal> {
        tokio::select! {
            _ = self.terminated.recv() => Ok(ShutdownSignal::Terminate),
            _ = self.interrupted.recv() => Ok(ShutdownSignal::Interrupt),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(self) -> std::io::Result<ShutdownSignal> {
        tokio::signal::ctrl_c().await.map(|()| ShutdownSignal::Interrupt)
    }
}
