//! The command `ff`, built like the tests.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::workspace_build::build;

/// The path of the program: `FF_BIN` if it is set; otherwise it is built once, in the target folder
/// and profile of this program.
///
/// # Panics
///
/// When the build fails.
pub fn ff() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = || build(&["--bin", "ff"]).join("ff");
    BUILT.get_or_init(|| std::env::var_os("FF_BIN").map_or_else(built, PathBuf::from)).clone()
}
