//! The FlowFabric HTTP service (`docs/http.md`): routes for programs that submit executions, for
//! workers in any language, and for operators.
//!
//! The service decides nothing: a route checks who calls, parses the request, makes a call of
//! `ff-sdk`, and writes the outcome or the error. Several processes can serve one store.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use ff_server::{Server, Settings};
//!
//! let backend = ff_sdk::open("valkey://127.0.0.1:6379").await?;
//! let server = Server::bind("127.0.0.1:8080".parse()?, backend, Settings::default()).await?;
//! println!("listening on {}", server.url());
//! let interrupted = async { tokio::signal::ctrl_c().await.expect("signals can be received") };
//! server.run_until(interrupted).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod answer;
mod app;
mod body;
mod bytes;
mod job_line;
mod listen;
mod metrics;
mod openapi;
mod origin;
mod page;
mod params;
mod position;
mod routes;
mod session;
mod settings;
mod tokens;
pub mod view;

pub use job_line::{JobLine, JobPayload};
pub use listen::{Server, ServerError};
pub use metrics::Metrics;
pub use openapi::document;
pub use position::{InvalidPosition, PageCursor};
pub use settings::{DEFAULT_NAMESPACE, Settings, Tls};
pub use tokens::{NewToken, Role, Tokens, TokensError};
