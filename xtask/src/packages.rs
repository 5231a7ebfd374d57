//! The crates that are published: each alone with each of its features, and as packages.

use serde_json::Value;

use crate::shell::{Failed, Outcome, cargo, output, run as run_command, silent};

/// The features that no user turns on. `cargo xtask simulate` builds the planted bugs, and
/// `cargo xtask mutants` the suite of core.
const INTERNAL: [&str; 2] = ["own-suite", "planted-bugs"];

/// Compiles each published crate alone, without features and with each of them. Cargo unites the
/// features of all selected crates, so a build of the workspace hides a missing feature.
///
/// # Errors
///
/// When a crate has a warning.
pub fn check_features() -> Outcome {
    let metadata = output(cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|error| Failed(format!("cannot read the output of cargo metadata: {error}")))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for package in packages.filter(|package| package["publish"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        let features = package["features"].as_object().into_iter().flatten();
        let features = features.map(|(feature, _)| feature.as_str());
        let features = features.filter(|feature| *feature != "default");
        let features = features.filter(|feature| !INTERNAL.contains(feature));
        for feature in [""].into_iter().chain(features) {
            println!("{name}, features: {}", if feature.is_empty() { "none" } else { feature });
            // Clippy has seen the code before. If quiet, cargo prints warnings and errors alone.
            let check = ["check", "--quiet", "--package", name, "--no-default-features"];
            silent(cargo(&[&check[..], &["--features", feature]].concat()))?;
        }
    }
    Ok(())
}

/// Packages all crates that are published, and compiles each from its package with the packages of
/// the others. Uploads nothing. Needs the registry, and takes some minutes.
///
/// # Errors
///
/// When a package cannot be made or compiled.
pub fn verify() -> Outcome {
    run_command(cargo(&["publish", "--workspace", "--dry-run", "--allow-dirty", "--locked"]))
}
