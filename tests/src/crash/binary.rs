//! The command `ff`, built like the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the program: `FF_BIN` if it is set; otherwise it is built once, in the target folder
/// and profile of this program.
///
/// # Panics
///
/// When the build fails.
pub fn ff() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("FF_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("the path of the program is known");
    let mut folder = own.parent().expect("a program is in a folder").to_owned();
    // Tests are in a subfolder of the programs.
    if folder.ends_with("deps") {
        folder.pop();
    }
    let name = folder.file_name().expect("the folder of a profile").to_string_lossy().into_owned();
    let profile = if name == "debug" { "dev" } else { &name };
    let target = folder.parent().expect("a profile's folder is in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // With the whole workspace and an example, cargo chooses the features that it chooses for
    // `cargo test --workspace`, so that nothing is compiled again.
    command.args(["build", "--quiet", "--workspace", "--bin", "ff", "--example", "approval"]);
    command.args(["--profile", profile, "--target-dir"]).arg(target);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Cargo describes the test's package in its environment. A build script that reads this would
    // be run again, and all that depends on it compiled again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "`cargo build --bin ff` failed");
    folder.join("ff")
}
