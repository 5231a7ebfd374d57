//! Conversions between arguments and options of a world.

use ff_sim::{InvariantSet, Options, StoreKind};

use super::args::{Store, WorldArgs};
use super::ending::Unusable;

/// The options that the arguments ask for.
pub fn options(args: &WorldArgs) -> Result<Options, Unusable> {
    let mut options = Options { store: kind(args.store)?, ..Options::default() };
    if !args.invariants.is_empty() {
        let none = InvariantSet::NONE;
        options.invariants = args.invariants.iter().fold(none, |set, one| set.with(*one));
    }
    Ok(options)
}

#[allow(clippy::unnecessary_wraps)] // Without the feature `lua` it is one.
fn kind(store: Store) -> Result<StoreKind, Unusable> {
    match store {
        Store::Memory => Ok(StoreKind::Memory),
        #[cfg(feature = "lua")]
        Store::Lua => Ok(StoreKind::Lua),
        #[cfg(not(feature = "lua"))]
        Store::Lua => {
            Err(Unusable::new("this build has no Lua store: build it with the feature `lua`"))
        }
    }
}

/// The store's name on the command line.
pub const fn store_name(store: Store) -> &'static str {
    match store {
        Store::Memory => "memory",
        Store::Lua => "lua",
    }
}
