//! What the suites that cross crates share: a ground to stand on, a line to a store that can be
//! disturbed, and the scenarios, each of which runs against every backend from one source.

pub mod conformance;
pub mod crash;
pub mod ground;
pub mod kit;
pub mod line;
pub mod paced;
pub mod scenario;
pub mod server;

pub use ground::Ground;
pub use line::Line;
pub use paced::Paced;
