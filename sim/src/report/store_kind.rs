//! The stores that can answer.

/// The store that answers. A seed gives the same run with either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// Core's reference store.
    #[default]
    Memory,
    /// The function library of Valkey and Redis in process; each of its replies is compared with
    /// the reference store's.
    #[cfg(feature = "lua")]
    Lua,
}
