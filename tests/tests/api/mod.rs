//! The public interface of ff-sdk: a snapshot, and whether each type that it names is exported.
//!
//! If a change of the interface is intended, run
//! `INSTA_UPDATE=always cargo test -p ff-tests --test suite api` and review the difference.

mod listing;
mod render;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ff_tests::workspace_build::Builds;
use insta::Settings;
use serde_json::Value;

use listing::Listing;

/// The crates whose items ff-sdk exports.
const CRATES: [&str; 5] = ["ff_core", "ff_io_http", "ff_io_sqlite", "ff_io_valkey", "ff_sdk"];

/// A crate as rustdoc describes it.
pub struct Crate {
    /// The name in Rust.
    name: &'static str,
    json: Value,
    /// The IDs of items by their kinds and the paths where they are defined.
    ids: BTreeMap<(String, String), String>,
}

impl Crate {
    fn new(name: &'static str, json: Value) -> Self {
        let paths = json["paths"].as_object().expect("the description has paths");
        let ids = paths.iter().filter(|(_, summary)| summary["crate_id"] == 0);
        let ids = ids.map(|(id, summary)| (of_kind(summary), id.clone())).collect();
        Self { name, json, ids }
    }
}

/// Returns the kind of an item and its path.
fn of_kind(summary: &Value) -> (String, String) {
    let path: Vec<&str> = render::list(&summary["path"]).iter().map(render::text).collect();
    (render::text(&summary["kind"]).to_owned(), path.join("::"))
}

/// Describes the libraries of the workspace as rustdoc's JSON, and returns the folder of the files.
/// Without the whole workspace, cargo would choose other features and compile dependencies again.
fn describe() -> PathBuf {
    let builds = Builds::of_this_program();
    let rustdoc = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/rustdoc");
    let flags = "-Z unstable-options --output-format json";
    let environment = [("RUSTDOC", rustdoc), ("RUSTDOCFLAGS", flags)];
    builds.cargo(&["doc", "--quiet", "--workspace", "--lib", "--no-deps"], &environment);
    builds.target.join("doc")
}

#[test]
fn the_interface_of_the_sdk_is_as_recorded_and_each_type_in_it_has_a_name_there() {
    let folder = describe();
    let crates = CRATES.map(|name| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json")));
        let json = serde_json::from_str(&text.expect("rustdoc wrote the description"));
        Crate::new(name, json.expect("the description is JSON"))
    });
    let listing = Listing::of(&crates, "ff_sdk");

    let missing: Vec<_> = listing.missing().collect();
    assert!(missing.is_empty(), "export these from sdk/src/lib.rs:\n{}", missing.join("\n"));

    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("..");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("api", listing.text()));
}
