//! The house rules that no compiler checks, read from the sources of the whole workspace.
//!
//! Each test collects every place that breaks its rule and prints them all. The last section tests
//! the readers themselves on small texts, since a rule that sees nothing is always kept.

mod imports;
mod items;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{Crate, Imports, circles};
use items::{function_lengths, split_tests};

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

/// Functions that are longer than [`MAX_FUNCTION_LINES`]: file, name, present length. This list may
/// only shrink: shorten the function, then the number, and in the end take the row out.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// The crates whose sources have rules of their own.
const CRATES: [&str; 5] = ["core", "io-valkey", "sdk", "cli", "sim"];

/// The rooms of core above the words, from the ground up. A word is any other module of core.
const FLOORS: [&str; 5] = ["execution", "store", "op", "agent", "backend"];

/// The layers of `core/src/execution`, from the ground up; its other files are above them.
const EXECUTION: [&str; 4] = ["record", "retention", "view", "rule"];

/// The floors of the adapter in io-valkey, from the ground up.
const ADAPTER: [&[&str]; 5] =
    [&["failure", "target"], &["node"], &["info", "topology"], &["hub"], &["backend"]];

/// How long what talks to servers may be: the adapter with the wire form, and the function library.
const MAX_ADAPTER_LINES: usize = 1_900;
const MAX_LIBRARY_LINES: usize = 300;

/// The files that may spell the hash tags of keys: the key builder, and the words that parse and
/// print partitions.
const KEY_FILES: [&str; 3] = ["core/src/store/keys.rs", "core/src/id.rs", "core/src/partition.rs"];

/// This file has invented tags in its own tests.
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
    report("give each thing in these files a file of its own", broken);
}

#[test]
fn functions_are_at_most_70_lines_long() {
    let mut present: BTreeMap<(String, String), usize> = BTreeMap::new();
    for source in rust_sources() {
        let functions = function_lengths(&source.text);
        for (name, lines) in functions.into_iter().filter(|f| f.1 > MAX_FUNCTION_LINES) {
            let longest = present.entry((source.path.clone(), name)).or_default();
            *longest = lines.max(*longest);
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
            None => broken.push(format!("{path}: take out `{name}`, which is short enough")),
        }
    }
    for ((path, name), lines) in present {
        broken.push(format!("{path}: `{name}` has {lines} lines"));
    }
    report("split these functions, or mend the list of exceptions", broken);
}

#[test]
fn key_text_is_built_only_in_the_key_module() {
    let tags = ["{fp:", "{{b:", "{{q:", "{{w:", "{{meta}}"];
    let mut broken = Vec::new();
    for file in CRATES.iter().flat_map(|room| Crate::read(room).files.into_values()) {
        if KEY_FILES.contains(&file.path.as_str()) {
            continue;
        }
        let lines = file.code.lines().filter(|line| tags.iter().any(|tag| line.contains(tag)));
        broken.extend(lines.map(|line| format!("{}: {}", file.path, line.trim())));
    }
    report("build these keys in core/src/store/keys.rs", broken);
}

#[test]
fn every_invariant_stands_in_core_sim_and_tests() {
    let architecture = sources().into_iter().find(|source| source.path == "docs/architecture.md");
    let named = invariant_tags(&architecture.expect("the architecture page exists").text);
    assert!(!named.is_empty(), "docs/architecture.md names no invariant");

    let (mut core, mut sim, mut tests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
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
    for (room, tags) in [("core/src", &core), ("sim/src", &sim), ("the tests", &tests)] {
        for tag in named.difference(tags) {
            broken.push(format!("{tag} stands nowhere in {room}"));
        }
        for tag in tags.difference(&named) {
            broken.push(format!("{tag} stands in {room}, but not in docs/architecture.md"));
        }
    }
    report("give each invariant its tag in every place", broken);
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
                broken.push(format!("{}:{number} names a machine's {path}", source.path));
            }
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| reminders.contains(word)) {
                broken.push(format!("{}:{number} says {word}", source.path));
            }
        }
    }
    report("do these now, or open an issue; and name no machine", broken);
}

#[test]
fn imports_form_no_circle() {
    let broken = CRATES.iter().flat_map(|room| circles(&Crate::read(room).imports())).collect();
    report("move what these files share to a floor below both", broken);
}

#[test]
fn imports_in_core_never_go_up() {
    let imports = Crate::read("core").imports().into_iter();
    let upwards = imports.filter(|((from, to), _)| floor(from) < floor(to));
    let broken = upwards.map(|(_, text)| text).collect();
    report("words < execution < store < op < agent < backend: imports go down", broken);
}

#[test]
fn imports_in_execution_never_go_up() {
    let layer = |module: &[String]| match module {
        [room, layer, ..] if room == "execution" => {
            EXECUTION.iter().position(|name| name == layer).unwrap_or(EXECUTION.len())
        }
        [room] if room == "execution" => EXECUTION.len() + 1,
        _ => 0,
    };
    let imports = Crate::read("core").imports().into_iter();
    let upwards = imports.filter(|((from, to), _)| {
        from.first().is_some_and(|room| room == "execution") && layer(from) < layer(to)
    });
    let broken = upwards.map(|(_, text)| text).collect();
    report("record < retention < view < rule < commands: imports go down", broken);
}

fn floor(module: &[String]) -> usize {
    match module.first() {
        None => FLOORS.len() + 1, // The crate root gathers all rooms, so it is above them.
        Some(room) => FLOORS.iter().position(|floor| floor == room).map_or(0, |index| index + 1),
    }
}

/// The wire form knows neither of those who use it, nor do these know of each other.
#[test]
fn imports_in_io_valkey_never_go_up() {
    let floor = |module: &[String]| match module.first().map(String::as_str) {
        Some("wire") => 0,
        Some("model") => 1,
        Some("server") => {
            let room = module.get(1).map_or("", String::as_str);
            2 + ADAPTER.iter().position(|floor| floor.contains(&room)).unwrap_or(ADAPTER.len())
        }
        _ => usize::MAX,
    };
    let imports = Crate::read("io-valkey").imports().into_iter();
    let upwards = imports.filter(|((from, to), _)| {
        let is_model = from.first().is_some_and(|room| room == "model");
        let to_model = to.first().is_some_and(|room| room == "model");
        floor(from) < floor(to) || (to_model && !is_model)
    });
    let broken = upwards.map(|(_, text)| text).collect();
    report("wire < model, wire < the floors of the adapter: imports go down", broken);
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

/// A text file of the workspace; its path is relative to the root, with slashes.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace root exists")
}

/// Every text file of the tree, in the order of paths, without build output and git's own files.
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

/// The files that git knows, or nothing when this is no git checkout: then all files count.
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

/// Whether the line has this absolute path, and not only as the tail of another path.
fn names_absolute_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-.}".contains(c))
    })
}

/// Every tag of an invariant in the text, without its brackets.
fn invariant_tags(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.replace("\\]", "]").split("[INV-").skip(1) {
        let Some((tag, _)) = rest.split_once(']') else { continue };
        let Some((name, number)) = tag.split_once('-') else { continue };
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase());
        let counted = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        if named && counted {
            found.insert(format!("INV-{tag}"));
        }
    }
    found
}

// ------------------------------------------------------------------------- the readers themselves

#[test]
fn the_function_reader_sees_all_forms() {
    let outer = "fn a() {}\npub(crate) async fn b(\n    x: u8,\n) -> u8\nwhere\n    u8: Copy,\n\
                 {\n    if x > 1 {\n        2\n    } else {\n        3\n    }\n}\n";
    let inner = "trait T {\n    fn c();\n    fn d(\n        &self,\n    ) -> u8;\n    \
                 const fn e() { // why\n        f();\n    }\n}\n";
    let expected = [("a", 1), ("b", 12), ("c", 1), ("d", 3), ("e", 3)];
    let expected = expected.map(|(name, lines)| (name.to_owned(), lines));
    assert_eq!(function_lengths(&[outer, inner].concat()), expected);
}

#[test]
fn the_tag_and_path_readers_are_exact() {
    let tags = invariant_tags("[INV-ABC-12] [INV-abc-1] [INV-ABC] [INV-A-B] `[INV-D-3]`");
    assert_eq!(tags, BTreeSet::from(["INV-ABC-12".to_owned(), "INV-D-3".to_owned()]));
    assert!(names_absolute_path("cd /opt/x", "/opt/") && names_absolute_path("/opt/", "/opt/"));
    assert!(!names_absolute_path("docs/opt/x", "/opt/"));
}

fn imports_of(texts: &[(&str, &str)]) -> Imports {
    let sources = texts.iter().map(|(path, text)| {
        let source = Source { path: (*path).to_owned(), text: (*text).to_owned() };
        (source.path.clone(), source)
    });
    Crate::parse(sources.collect()).imports()
}

#[test]
fn the_import_reader_follows_re_exports_and_skips_tests() {
    let imports = imports_of(&[
        ("lib.rs", "pub mod a;\npub mod room;\npub use a::A;\npub(crate) use room::*;"),
        ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::room::B;\n}"),
        ("room/mod.rs", "mod b;\nmod c;\n#[cfg(test)]\nmod t;\npub use self::b::B;\npub use c::*;"),
        ("room/b.rs", "use crate::{\n    A,\n    room::{C as D, self},\n};\npub struct B;"),
        ("room/c.rs", "// crate::b\npub struct C(super::super::a::A, std::io::Error);"),
        ("room/t.rs", "use crate::a::A;"),
    ]);
    let expected = [
        "room/b.rs takes `crate::A` from a.rs",
        "room/b.rs takes `crate::room` from room/mod.rs",
        "room/b.rs takes `crate::room::C` from room/c.rs",
        "room/c.rs takes `super::super::a::A` from a.rs",
    ];
    assert!(imports.values().eq(expected.iter()), "{imports:#?}");
}

#[test]
fn a_circle_is_found_and_a_chain_is_none() {
    let (a, b) = (("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::c::g() }"));
    let chain = imports_of(&[a, b, ("c.rs", "pub fn g() {}")]);
    let circle = imports_of(&[a, b, ("c.rs", "use super::a::A;")]);
    assert_eq!((circles(&chain).len(), circles(&circle).len()), (0, 3));
}
