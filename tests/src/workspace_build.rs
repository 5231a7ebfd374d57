//! Builds of programs inside of tests, that compile nothing again.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds programs and examples of the workspace in the folder and profile of this program, and
/// returns that folder.
///
/// # Panics
///
/// When the build fails.
pub fn build(targets: &[&str]) -> PathBuf {
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
    command.args(["build", "--quiet", "--workspace", "--example", "approval"]).args(targets);
    command.args(["--profile", profile, "--target-dir"]).arg(target);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    // Cargo describes the test's package in its environment. A build script that reads this would
    // be run again, and all that depends on it compiled again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let built = command.status().expect("cargo runs");
    assert!(built.success(), "`cargo build --workspace {}` failed", targets.join(" "));
    folder
}
