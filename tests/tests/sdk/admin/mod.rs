//! The admin client: one behaviour in process and over HTTP (`docs/spec.md`, 9 and 11).

mod behaviour;
mod stub;
mod transport;
