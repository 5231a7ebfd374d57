#[cfg(feature = "lua-model")]
pub mod model;
