//! The reference store itself, past all checks.

use ff_core::store::MemoryStore;

use super::backing::Backing;
use super::server::Server;

impl Server {
    /// The reference store, which tests look into and spoil.
    pub fn memory(&mut self) -> &mut MemoryStore {
        match &mut self.store {
            Backing::Memory(store) => store,
            #[cfg(feature = "lua")]
            Backing::Lua(_) => unreachable!("tests look into the reference store only"),
        }
    }
}
