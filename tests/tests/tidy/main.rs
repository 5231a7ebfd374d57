//! The house rules that no compiler checks. The tests read the sources of the whole workspace.
//!
//! Each test prints every violation of its rule, and finds those of a bad sample.

mod functions;
mod imports;
mod layers;
mod packages;
mod source;
mod words;

use std::collections::BTreeSet;
use std::process::Command;

use imports::Crate;
use regex::Regex;
use source::{SOURCES, Source, root, rust};

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 600;

/// The crates with additional rules for their sources.
const CRATES: [&str; 8] =
    ["core", "io-http", "io-sqlite", "io-valkey", "sdk", "server", "cli", "sim"];

/// The lines of the code that talks to servers, the adapter with the wire form, at most.
const MAX_ADAPTER_LINES: usize = 3_700;
/// The lines of the function library, at most.
const MAX_LIBRARY_LINES: usize = 420;

/// The files that may contain the hash tags of keys: the key builder, and the types that parse and
/// print partitions.
const KEY_FILES: [&str; 3] = ["core/src/store/keys.rs", "core/src/id.rs", "core/src/partition.rs"];

#[track_caller]
fn report(advice: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{advice}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    report("break these lines", rust().flat_map(wide_lines));
    let sample = format!("//{}\n//{}\n", "\u{e9}".repeat(98), "\u{e9}".repeat(99));
    assert_eq!(wide_lines(&Source::new("a.rs", &sample)), ["a.rs:2"]);
}

fn wide_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().zip(1..);
    let wide = lines.filter(|(line, _)| line.chars().count() > MAX_COLUMNS);
    wide.map(|(_, number)| format!("{}:{number}", source.path)).collect()
}

#[test]
fn files_are_at_most_600_lines_long() {
    report("split these files by topic", rust().filter_map(long_file));
    let sample = |lines: usize| Source::new("a.rs", &"//\n".repeat(lines));
    assert_eq!(long_file(&sample(600)), None);
    assert_eq!(long_file(&sample(601)).as_deref(), Some("a.rs has 601 lines"));
}

fn long_file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_FILE_LINES).then(|| format!("{} has {lines} lines", source.path))
}

#[test]
fn key_text_is_built_only_in_the_key_module() {
    let files = CRATES.iter().flat_map(|name| Crate::read(&*SOURCES, name).files.into_values());
    let others = files.filter(|file| !KEY_FILES.contains(&&*file.source.path));
    let broken = others.flat_map(|file| key_texts(file.source));
    report("build these keys in core/src/store/keys.rs", broken);
    let sample =
        "// {fp:\nf!(\"a\");\nf!(\"x{{q:{n}}}\");\n#[cfg(test)]\nconst A: &str = \"{fp:\";";
    assert_eq!(key_texts(&Source::new("a.rs", sample)), ["a.rs:3: \"x{{q:{n}}}\""]);
}

fn key_texts(source: &Source) -> Vec<String> {
    let tags = ["{fp:", "{{b:", "{{q:", "{{w:", "{{meta}}"];
    let found = source.code().filter(|at| tags.iter().any(|tag| source.token(*at).contains(tag)));
    let place = |at: usize| source.place(source.tokens[at].range.start);
    found.map(|at| format!("{}: {}", place(at), source.token(at))).collect()
}

#[test]
fn every_invariant_is_tagged_in_core_sim_and_tests() {
    report("correct the tags of these invariants", wrong_tags(&SOURCES));

    // A tag in this file would count.
    let source = |path: &str, text: &str| Source::new(path, &text.replace("TAG", "[INV-"));
    let sources = [
        source("docs/architecture.md", "TAGA-1] `TAGB-12\\]`"),
        source("core/src/a.rs", "// TAGA-1] TAGB-12] TAGa-1] TAGC]"),
        source("sim/src/a.rs", "// TAGB-12]\n#[cfg(test)]\nmod tests {\n// TAGA-1]\n}"),
        source("sdk/tests/a.rs", "// TAGB-12] TAGC-1]"),
    ];
    let expected = [
        "INV-A-1 is missing in sim/src",
        "INV-C-1 is missing in docs/architecture.md",
        "INV-C-1 is missing in core/src",
        "INV-C-1 is missing in sim/src",
    ];
    assert_eq!(wrong_tags(&sources), expected);
}

fn wrong_tags(sources: &[Source]) -> Vec<String> {
    let tag = Regex::new(r"\[(INV-[A-Z]+-[0-9]+)\\?\]").expect("a valid pattern");
    let mut found = BTreeSet::new();
    for source in sources {
        let path = &*source.path;
        let is_test = format!("/{path}").contains("/tests/") || path.ends_with("/tests.rs");
        for tag in tag.captures_iter(&source.text).filter_map(|found| found.get(1)) {
            let part = match path {
                "docs/architecture.md" => path,
                _ if !path.ends_with(".rs") => continue,
                _ if is_test || source.is_test(tag.start()) => "the tests",
                _ if path.starts_with("core/src/") => "core/src",
                _ if path.starts_with("sim/src/") => "sim/src",
                _ => continue,
            };
            found.insert((tag.as_str(), part));
        }
    }
    let tags: BTreeSet<&str> = found.iter().map(|(tag, _)| *tag).collect();
    assert!(!tags.is_empty(), "there are tags");
    let parts = ["docs/architecture.md", "core/src", "sim/src", "the tests"];
    let pairs = tags.iter().flat_map(|tag| parts.map(|part| (*tag, part)));
    let missing = pairs.filter(|pair| !found.contains(pair));
    missing.map(|(tag, part)| format!("{tag} is missing in {part}")).collect()
}

#[test]
fn files_name_no_machine_and_leave_nothing_to_do() {
    let tracked = tracked_files();
    let is_tracked = |source: &&Source| {
        tracked.as_ref().is_none_or(|tracked| tracked.lines().any(|path| path == source.path))
    };
    let broken = SOURCES.iter().filter(is_tracked).flat_map(unfinished);
    report("do these tasks now or open an issue, and remove machine paths", broken);

    let (folder, reminder) = ("home", "DO");
    let sample = format!("cd /{folder}/x\ndocs/{folder}/x\n// TO{reminder}: x\nA_TO{reminder}");
    let expected = [format!("a.md:1 has /{folder}/"), format!("a.md:3 has TO{reminder}")];
    assert_eq!(unfinished(&Source::new("a.md", &sample)), expected);
}

/// Returns the files that git tracks, if this is a git checkout.
fn tracked_files() -> Option<String> {
    let output = Command::new("git").arg("ls-files").current_dir(root()).output().ok()?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success() && !listed.is_empty()).then_some(listed)
}

/// Returns the absolute paths of machines, and the reminders of unfinished work.
fn unfinished(source: &Source) -> Vec<String> {
    let pattern = r"(?:^|[^\w\-.}])(/(?:root|work|home)/)|\b(TO[D]O|FIX[M]E|X[X]X)\b";
    let pattern = Regex::new(&format!("(?m){pattern}")).expect("a valid pattern");
    let parts = pattern.captures_iter(&source.text).filter_map(|all| all.get(1).or(all.get(2)));
    parts.map(|part| format!("{} has {}", source.place(part.start()), part.as_str())).collect()
}

#[test]
fn io_valkey_stays_small() {
    let below = |source: &&Source| {
        let below = source.path.strip_prefix("io-valkey/src/").unwrap_or_default();
        below == "lib.rs" || below.starts_with("wire/") || below.starts_with("server/")
    };
    let lines: usize = SOURCES.iter().filter(below).map(lines_without_tests).sum();
    assert!((1..=MAX_ADAPTER_LINES).contains(&lines), "the adapter has {lines} lines");
    let library = SOURCES.iter().find(|source| source.path == "io-valkey/lua/flowfabric.lua");
    let lines = library.expect("the function library exists").text.lines().count();
    assert!(lines <= MAX_LIBRARY_LINES, "the function library has {lines} lines");
    let sample = "struct A;\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(lines_without_tests(&Source::new("a.rs", sample)), 1);
}

fn lines_without_tests(source: &Source) -> usize {
    // With the empty line before it.
    let tests = source.tests.iter().map(|range| source.text[range.clone()].lines().count() + 1);
    source.text.lines().count() - tests.sum::<usize>()
}
