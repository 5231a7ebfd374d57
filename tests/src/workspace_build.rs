//! Builds of programs inside of tests, that compile nothing again.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds with the profile and the target folder of this program.
#[derive(Debug)]
pub struct Builds {
    /// The target folder.
    pub target: PathBuf,
    profile: String,
    /// The folder of programs.
    folder: PathBuf,
}

impl Builds {
    /// Finds them from the path of this program.
    ///
    /// # Panics
    ///
    /// When the program is not in a target folder.
    pub fn of_this_program() -> Self {
        let own = std::env::current_exe().expect("the path of the program is known");
        let mut folder = own.parent().expect("a program is in a folder").to_owned();
        // Tests are in a subfolder of the programs.
        if folder.ends_with("deps") {
            folder.pop();
        }
        let name = folder.file_name().expect("the folder of a profile").to_string_lossy();
        let profile = if name == "debug" { "dev".to_owned() } else { name.into_owned() };
        let target = folder.parent().expect("a profile's folder is in the target folder");
        Self { target: target.to_owned(), profile, folder }
    }

    /// Runs cargo with these arguments and variables of the environment.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn cargo(&self, args: &[&str], environment: &[(&str, &str)]) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(args).args(["--profile", &self.profile, "--target-dir"]).arg(&self.target);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
        // Cargo describes the test's package in its environment. A build script that reads this
        // would be run again, and all that depends on it compiled again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        let status = command.envs(environment.iter().copied()).status().expect("cargo runs");
        assert!(status.success(), "`cargo {}` failed", args.join(" "));
    }
}

/// Builds programs and examples of the workspace in the folder and profile of this program, and
/// returns that folder.
///
/// # Panics
///
/// When the build fails.
pub fn build(targets: &[&str]) -> PathBuf {
    let builds = Builds::of_this_program();
    // With the whole workspace and an example, cargo chooses the features that it chooses for
    // `cargo test --workspace`, so that nothing is compiled again.
    let common = ["build", "--quiet", "--workspace", "--example", "approval"];
    builds.cargo(&[&common, targets].concat(), &[]);
    builds.folder
}
