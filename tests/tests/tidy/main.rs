//! The house rules that no compiler checks. The tests read the sources of the whole workspace.
//!
//! Each test prints every violation of its rule. The readers of the sources have tests on small
//! texts, because a reader that sees nothing finds no violation.

mod imports;
mod items;
mod layers;
mod signatures;
mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::Crate;
use items::{functions, split_tests};

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// The functions that are longer than [`MAX_FUNCTION_LINES`]: file, name and current length. The
/// list may only shrink: shorten the function, then lower the number, and finally remove the row.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// The crates with additional rules for their sources.
const CRATES: [&str; 5] = ["core", "io-valkey", "sdk", "cli", "sim"];

/// The lines of the code that talks to servers, the adapter with the wire form, at most.
const MAX_ADAPTER_LINES: usize = 1_900;
/// The lines of the function library, at most.
const MAX_LIBRARY_LINES: usize = 300;

/// The files that may contain the hash tags of keys: the key builder, and the types that parse and
/// print partitions.
const KEY_FILES: [&str; 3] = ["core/src/store/keys.rs", "core/src/id.rs", "core/src/partition.rs"];

/// The folder of these checks.
const THIS_FOLDER: &str = "tests/tests/tidy";
/// This file, whose tests have invented tags.
const THIS_FILE: &str = "tests/tests/tidy/main.rs";

// ------------------------------------------------------------------------------------- the rules

#[test]
fn lines_are_at_most_100_columns_wide() {
    let mut broken = Vec::new();
    for source in rust_sources() {
        let wide = numbered(&source.text).filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
        broken.extend(wide.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    report("break these lines", broken);
}

#[test]
fn files_are_at_most_600_lines_long() {
    let lengths =
        rust_sources().into_iter().map(|source| (source.path, source.text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > MAX_FILE_LINES);
    let broken = long.map(|(path, lines)| format!("{path} has {lines} lines")).collect();
    report("split these files by topic", broken);
}

/// A function that consists of one `match` with short arms may be longer: splitting it would hide
/// that it handles every case.
#[test]
fn functions_are_at_most_70_lines_long() {
    let mut present: BTreeMap<(String, String), usize> = BTreeMap::new();
    for source in rust_sources() {
        let functions = functions(&source.text).into_iter();
        for function in functions.filter(|f| f.lines > MAX_FUNCTION_LINES && !f.is_one_match) {
            let longest = present.entry((source.path.clone(), function.name)).or_default();
            *longest = function.lines.max(*longest);
        }
    }
    let mut broken = Vec::new();
    for (path, name, before) in LONG_FUNCTIONS {
        match present.remove(&((*path).to_owned(), (*name).to_owned())) {
            Some(lines) if lines == *before => {}
            Some(lines) if lines > *before => {
                broken.push(format!("{path}: `{name}` grew from {before} to {lines} lines"));
            }
            Some(lines) => broken.push(format!("{path}: lower `{name}` to {lines} lines")),
            None => broken.push(format!("{path}: remove `{name}`, which is short enough")),
        }
    }
    for ((path, name), lines) in present {
        broken.push(format!("{path}: `{name}` has {lines} lines"));
    }
    report("shorten these functions, or correct the list of exceptions", broken);
}

#[test]
fn key_text_is_built_only_in_the_key_module() {
    let tags = ["{fp:", "{{b:", "{{q:", "{{w:", "{{meta}}"];
    let mut broken = Vec::new();
    for file in CRATES.iter().flat_map(|name| Crate::read(name).files.into_values()) {
        if KEY_FILES.contains(&file.path.as_str()) {
            continue;
        }
        let lines = file.code.lines().filter(|line| tags.iter().any(|tag| line.contains(tag)));
        broken.extend(lines.map(|line| format!("{}: {}", file.path, line.trim())));
    }
    report("build these keys in core/src/store/keys.rs", broken);
}

#[test]
fn every_invariant_is_tagged_in_core_sim_and_tests() {
    let architecture = sources().into_iter().find(|source| source.path == "docs/architecture.md");
    let named = invariant_tags(&architecture.expect("the architecture page exists").text);
    assert!(!named.is_empty(), "docs/architecture.md has no tag of an invariant");

    let mut core = BTreeSet::new();
    let mut sim = BTreeSet::new();
    let mut tests = BTreeSet::new();
    for source in rust_sources().into_iter().filter(|source| source.path != THIS_FILE) {
        let path = format!("/{}", source.path);
        if path.contains("/tests/") || path.ends_with("/tests.rs") {
            tests.extend(invariant_tags(&source.text));
            continue;
        }
        let (code, test_code) = split_tests(&source.text);
        tests.extend(invariant_tags(&test_code));
        if path.starts_with("/core/src/") {
            core.extend(invariant_tags(&code));
        } else if path.starts_with("/sim/src/") {
            sim.extend(invariant_tags(&code));
        }
    }
    let mut broken = Vec::new();
    for (part, tags) in [("core/src", &core), ("sim/src", &sim), ("the tests", &tests)] {
        for tag in named.difference(tags) {
            broken.push(format!("{tag} is missing in {part}"));
        }
        for tag in tags.difference(&named) {
            broken.push(format!("{tag} is in {part}, but not in docs/architecture.md"));
        }
    }
    report("add the missing tags of these invariants", broken);
}

#[test]
fn files_name_no_machine_and_leave_nothing_to_do() {
    let paths = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    let reminders = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let tracked = tracked_files();
    let mut broken = Vec::new();
    for source in sources() {
        if tracked.as_ref().is_some_and(|tracked| !tracked.contains(&source.path)) {
            continue;
        }
        for (number, line) in numbered(&source.text) {
            if let Some(path) = paths.iter().find(|path| names_absolute_path(line, path)) {
                broken.push(format!("{}:{number} has the machine path {path}", source.path));
            }
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| reminders.contains(word)) {
                broken.push(format!("{}:{number} has a {word}", source.path));
            }
        }
    }
    report("do these tasks now or open an issue, and remove machine paths", broken);
}

#[test]
fn io_valkey_stays_small() {
    let all = sources();
    let adapter = all.iter().filter(|source| {
        let below = source.path.strip_prefix("io-valkey/src/").unwrap_or_default();
        below == "lib.rs" || below.starts_with("wire/") || below.starts_with("server/")
    });
    let lines: usize = adapter.map(|source| split_tests(&source.text).0.lines().count()).sum();
    assert!((1..=MAX_ADAPTER_LINES).contains(&lines), "the adapter has {lines} lines");
    let library = all.iter().find(|source| source.path == "lua/flowfabric.lua");
    let lines = library.expect("the function library exists").text.lines().count();
    assert!(lines <= MAX_LIBRARY_LINES, "the function library has {lines} lines");
}

// ---------------------------------------------------------------------------- the tree of sources

/// A text file of the workspace. Its path is relative to the root, with slashes.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace root exists")
}

/// Returns every text file of the tree in the order of paths, without build output and the files of
/// git.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("folders of the workspace can be listed") {
            let path = entry.expect("entries can be read").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    pending.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(&root).expect("the walk stays below the root");
                let path = relative.to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust_sources() -> Vec<Source> {
    let found: Vec<Source> =
        sources().into_iter().filter(|source| source.path.ends_with(".rs")).collect();
    assert!(found.iter().any(|source| source.path == THIS_FILE), "the walk finds this file");
    found
}

/// Returns the files that git tracks, or `None` if this is not a git checkout.
fn tracked_files() -> Option<BTreeSet<String>> {
    let output = Command::new("git").arg("ls-files").current_dir(root()).output().ok()?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let files: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    (output.status.success() && !files.is_empty()).then_some(files)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[track_caller]
fn report(advice: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{advice}:\n  {}\n", broken.join("\n  "));
}

/// Whether the line has this absolute path, and not only as the end of another path.
fn names_absolute_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-.}".contains(c))
    })
}

/// Returns every tag of an invariant in the text, without its brackets.
fn invariant_tags(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.replace("\\]", "]").split("[INV-").skip(1) {
        let Some((tag, _)) = rest.split_once(']') else { continue };
        let Some((name, number)) = tag.split_once('-') else { continue };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase());
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        if is_name && is_number {
            found.insert(format!("INV-{tag}"));
        }
    }
    found
}

// ------------------------------------------------------------------------------ tests of readers

#[test]
fn the_tag_and_path_readers_are_exact() {
    let tags = invariant_tags("[INV-ABC-12] [INV-abc-1] [INV-ABC] [INV-A-B] `[INV-D-3]`");
    assert_eq!(tags, BTreeSet::from(["INV-ABC-12".to_owned(), "INV-D-3".to_owned()]));
    assert!(names_absolute_path("cd /opt/x", "/opt/") && names_absolute_path("/opt/", "/opt/"));
    assert!(!names_absolute_path("docs/opt/x", "/opt/"));
}
