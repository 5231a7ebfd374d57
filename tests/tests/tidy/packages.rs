//! The packages of the crates that are published contain all files that their sources include.
//!
//! `cargo xtask package` compiles each package too, which takes minutes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::report;
use crate::source::{SOURCES, Source, root};

/// Runs cargo without a network in the root of the workspace, and returns what it prints.
fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(args).arg("--offline").current_dir(root()).output();
    let output = output.expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`cargo {}` failed:\n{errors}", args.join(" "));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Returns what cargo says of each crate that is published.
fn published() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let Value::Array(packages) = metadata["packages"].take() else { panic!("a list of packages") };
    packages.into_iter().filter(|package| package["publish"].is_null()).collect()
}

#[test]
fn the_published_crates_can_be_packaged_with_all_that_they_include() {
    let packages = published();
    let names: BTreeSet<&str> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let expected = "ff-core ff-io-http ff-io-sqlite ff-io-valkey ff-sdk ff-sdk-macros ff-server \
                    ff-sim ff-sim-macros flowfabric-cli";
    assert_eq!(names, expected.split(' ').collect());

    let mut package = vec!["package", "--no-verify", "--allow-dirty", "--quiet", "--target-dir"];
    let target = tempfile::tempdir().expect("a temporary folder");
    package.push(target.path().to_str().expect("a path in UTF-8"));
    package.extend(names.iter().flat_map(|name| ["--package", name]));
    cargo(&package);

    let mut broken = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().expect("a package has a name");
        let fields = ["description", "license", "readme", "keywords", "categories", "rust_version"];
        let empty =
            |field: &&&str| package[**field].is_null() || package[**field] == Value::Array(vec![]);
        broken.extend(fields.iter().filter(empty).map(|field| format!("{name} has no {field}")));

        let listed = cargo(&["package", "--list", "--allow-dirty", "--quiet", "--package", name]);
        let listed: BTreeSet<&str> = listed.lines().collect();
        let manifest =
            Path::new(package["manifest_path"].as_str().expect("a path of the manifest"));
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok());
        let folder = format!("{}/", folder.expect("a folder of the workspace").display());
        broken.extend(missing(&SOURCES, &folder, &listed));
    }
    report("add these to the packages", broken);

    let text = "include_str!(\"../a.txt\"); #[path = \"b/c.rs\"] mod c;\n\
                include_bytes!(\"./d\");\n#[doc = include_str!(\"../../e.md\")]\n\
                #[cfg(test)]\nmod t { include_str!(\"f\"); }";
    let sources = [Source::new("x/src/lib.rs", text), Source::new("x/tests/a.rs", text)];
    let listed = ["LICENSE-MIT", "README.md", "a.txt", "src/lib.rs"].into();
    let expected = ["LICENSE-APACHE", "src/b/c.rs", "src/d"];
    assert_eq!(missing(&sources, "x/", &listed), expected.map(|path| format!("x/{path}")));
}

/// Returns the files that a package lacks: licences, and those that its sources include outside of
/// tests and of documentation that is compiled as tests.
fn missing(sources: &[Source], folder: &str, listed: &BTreeSet<&str>) -> Vec<String> {
    let pattern = r#"(#\[doc\s*=\s*)?(?:include(?:_str|_bytes)?!\(\s*|#\[path\s*=\s*)"([^"]+)""#;
    let pattern = Regex::new(pattern).expect("a valid pattern");
    let mut needed: BTreeSet<String> =
        ["LICENSE-APACHE", "LICENSE-MIT", "README.md"].map(str::to_owned).into();
    for source in sources {
        let Some(path) = source.path.strip_prefix(folder).filter(|path| listed.contains(path))
        else {
            continue;
        };
        for found in pattern.captures_iter(&source.text) {
            let at = found.get(0).expect("a match").start();
            if found.get(1).is_none() && !source.is_test(at) {
                needed.insert(joined(path, &found[2]));
            }
        }
    }
    needed.retain(|path| !listed.contains(&**path));
    needed.into_iter().map(|path| format!("{folder}{path}")).collect()
}

/// Returns the path that a file names relative to its folder, below the folder of the crate.
fn joined(from: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}
