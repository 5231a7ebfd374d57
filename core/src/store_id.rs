//! The identity of a store.

use std::fmt;

/// The identity of a store: a random number that the program draws that sets the store up. A store
/// that was emptied and set up again has another one.
///
/// ```
/// use ff_core::store_id::StoreId;
///
/// assert_eq!(StoreId::new(0xab).to_string(), "00000000000000ab");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(u64);

impl StoreId {
    /// Creates the identity with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names a store in a message.
pub(crate) fn named(store: Option<StoreId>) -> String {
    store.map_or_else(|| "no store".to_owned(), |id| format!("store {id}"))
}
