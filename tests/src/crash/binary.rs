//! The command `ff` as users have it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The program: `FF_BIN` when that is set, else built once, beside this program and like it.
///
/// # Panics
///
/// When it does not build.
pub fn ff() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("FF_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let mut folder = own.parent().expect("a program is in a folder").to_owned();
    // Tests are one folder below the programs.
    if folder.ends_with("deps") {
        folder.pop();
    }
    let name = folder.file_name().expect("the folder of a profile").to_string_lossy().into_owned();
    let profile = if name == "debug" { "dev" } else { &name };
    let target = folder.parent().expect("a profile's folder is in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "ff-cli", "--bin", "ff"]);
    command.args(["--profile", profile, "--target-dir"]).arg(target);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "`cargo build --package ff-cli --bin ff` failed");
    folder.join("ff")
}
