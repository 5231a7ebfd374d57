//! The layers of crates: imports go down, and never form a circle.

use std::collections::BTreeSet;

use crate::imports::{Crate, Imports, Module, circles};
use crate::{CRATES, Source, report, root};

/// The layers of core above the basic types, lowest first. Every other module of core is a basic
/// type.
const LAYERS: [&str; 5] = ["execution", "store", "op", "agent", "backend"];

/// The layers of `core/src/op`, lowest first. Every module of `op` is in one of them.
const OP_LAYERS: &[&[&str]] = &[
    &["operation", "context", "loaded"],
    &["doubt", "patience", "query"],
    &["config"],
    &["command"],
    &["work", "read"],
];

/// The number of files and folders in `core/src/op`, at most. The file `mod.rs` does not count.
const MAX_OP_MODULES: usize = 14;

/// The layers of the adapter in `io-valkey/src/server`, lowest first.
const ADAPTER_LAYERS: &[&[&str]] =
    &[&["failure", "target"], &["node"], &["info", "topology"], &["hub"], &["backend"]];

#[test]
fn imports_form_no_circle() {
    let broken = CRATES.iter().flat_map(|name| circles(&Crate::read(name).imports())).collect();
    report("move the shared items of these files to a layer below both", broken);
}

#[test]
fn imports_in_core_never_go_up() {
    let core = Crate::read("core");
    let mut broken = missing(&core, &[], LAYERS);
    broken.extend(upward(&core.imports(), |module| Some(core_layer(module))));
    report("basic types < execution < store < op < agent < backend: imports go down", broken);
}

/// Returns the number of a module's layer in core. The crate root gathers all modules, so it is
/// above them.
fn core_layer(module: &[String]) -> usize {
    match module.first() {
        None => LAYERS.len() + 1,
        Some(name) => LAYERS.iter().position(|layer| layer == name).map_or(0, |index| index + 1),
    }
}

#[test]
fn imports_in_op_never_go_up() {
    let broken = op_violations(&Crate::read("core"));
    report("operation < doubt, patience < config < command < work, read", broken);
}

/// Returns the imports within `op` that go up, the listed modules that do not exist, and the
/// modules that are not listed.
fn op_violations(core: &Crate) -> Vec<String> {
    let listed = OP_LAYERS.iter().copied().flatten().copied();
    let mut broken = missing(core, &["op"], listed.clone());
    let modules = core.files.keys().filter(|module| module.len() == 2 && module[0] == "op");
    let unlisted = modules.filter(|module| listed.clone().all(|name| name != module[1]));
    broken.extend(unlisted.map(|module| format!("op::{} is not in OP_LAYERS", module[1])));
    broken.extend(upward(&core.imports(), |module| match &module[..] {
        [op, name, ..] if op == "op" => layer_in(OP_LAYERS, name),
        _ => None,
    }));
    broken
}

#[test]
fn op_has_at_most_14_modules() {
    let folder = root().join("core/src/op");
    let entries = std::fs::read_dir(folder).expect("core/src/op can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name());
    let names: BTreeSet<_> = names.filter(|name| name != "mod.rs").collect();
    assert!(
        names.len() <= MAX_OP_MODULES,
        "core/src/op has {} modules, at most {MAX_OP_MODULES} are allowed; group them: {names:?}",
        names.len()
    );
}

/// The wire form depends on none of its users, and these do not depend on each other.
#[test]
fn imports_in_io_valkey_never_go_up() {
    let io_valkey = Crate::read("io-valkey");
    let listed = ADAPTER_LAYERS.iter().copied().flatten().copied();
    let mut broken = missing(&io_valkey, &["server"], listed);
    broken.extend(missing(&io_valkey, &[], ["wire", "model", "server"]));
    let imports = io_valkey.imports();
    broken.extend(upward(&imports, |module| Some(io_valkey_layer(module))));
    let is_model = |module: &Module| module.first().is_some_and(|name| name == "model");
    let to_model = imports.iter().filter(|((from, to), _)| is_model(to) && !is_model(from));
    broken.extend(to_model.map(|(_, text)| text.clone()));
    report("wire < model, wire < the layers of the adapter: imports go down", broken);
}

fn io_valkey_layer(module: &[String]) -> usize {
    match module.first().map(String::as_str) {
        Some("wire") => 0,
        Some("model") => 1,
        Some("server") => {
            let layer = module.get(1).and_then(|name| layer_in(ADAPTER_LAYERS, name));
            2 + layer.unwrap_or(ADAPTER_LAYERS.len())
        }
        _ => usize::MAX,
    }
}

/// Returns the number of the layer that lists the module.
fn layer_in(layers: &[&[&str]], name: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&name))
}

/// Returns the imports from a lower layer to a higher one. Modules without a layer do not count.
fn upward(imports: &Imports, layer: impl Fn(&Module) -> Option<usize>) -> Vec<String> {
    let goes_up = |from, to| layer(from).zip(layer(to)).is_some_and(|(from, to)| from < to);
    let found = imports.iter().filter(|((from, to), _)| goes_up(from, to));
    found.map(|(_, text)| text.clone()).collect()
}

/// Returns the listed modules below `parent` that do not exist.
fn missing<'a>(
    krate: &Crate,
    parent: &[&str],
    listed: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let path = |name: &str| parent.iter().chain([&name]).map(|name| (*name).to_owned()).collect();
    let absent = listed.into_iter().map(path).filter(|path| !krate.files.contains_key(path));
    absent
        .map(|path: Module| format!("the layers list {}, which does not exist", path.join("::")))
        .collect()
}

// ------------------------------------------------------------------------------------- the tests

fn crate_of(texts: &[(&str, &str)]) -> Crate {
    let sources = texts.iter().map(|(path, text)| {
        let source = Source { path: (*path).to_owned(), text: (*text).to_owned() };
        (source.path.clone(), source)
    });
    Crate::parse(sources.collect())
}

#[test]
fn the_import_reader_follows_re_exports_and_skips_tests() {
    let imports = crate_of(&[
        ("lib.rs", "pub mod a;\npub mod folder;\npub use a::A;\npub(crate) use folder::*;"),
        ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::folder::B;\n}"),
        (
            "folder/mod.rs",
            "mod b;\nmod c;\n#[cfg(test)]\nmod t;\npub use self::b::B;\npub use c::*;",
        ),
        ("folder/b.rs", "use crate::{\n    A,\n    folder::{C as D, self},\n};\npub struct B;"),
        ("folder/c.rs", "// crate::b\npub struct C(super::super::a::A, std::io::Error);"),
        ("folder/t.rs", "use crate::a::A;"),
    ])
    .imports();
    let expected = [
        "folder/b.rs imports `crate::A` from a.rs",
        "folder/b.rs imports `crate::folder` from folder/mod.rs",
        "folder/b.rs imports `crate::folder::C` from folder/c.rs",
        "folder/c.rs imports `super::super::a::A` from a.rs",
    ];
    assert!(imports.values().eq(expected.iter()), "{imports:#?}");
}

#[test]
fn a_circle_is_found_and_a_chain_is_allowed() {
    let a = ("a.rs", "use crate::b::B;");
    let b = ("b.rs", "fn f() { crate::c::g() }");
    let chain = crate_of(&[a, b, ("c.rs", "pub fn g() {}")]).imports();
    let circle = crate_of(&[a, b, ("c.rs", "use super::a::A;")]).imports();
    assert_eq!((circles(&chain).len(), circles(&circle).len()), (0, 3));
}

#[test]
fn the_check_of_op_finds_upward_imports_and_stale_lists() {
    let listed = OP_LAYERS.iter().copied().flatten().copied();
    let path = |name: &str| format!("op/{name}.rs");
    let mut sources: Vec<(String, &str)> =
        listed.map(|name| (path(name), "pub struct A;")).collect();
    let violations = |sources: &[(String, &str)]| {
        let texts: Vec<(&str, &str)> =
            sources.iter().map(|(path, text)| (&**path, *text)).collect();
        op_violations(&crate_of(&texts))
    };
    let position = |name: &str, sources: &[(String, &str)]| {
        let found = sources.iter().position(|(listed, _)| *listed == path(name));
        found.expect("the module is listed")
    };
    let work = position("work", &sources);
    sources[work].1 = "use super::read::A;\nuse super::command::A;\nuse super::operation::A;";
    assert_eq!(violations(&sources), [""; 0]);
    let patience = position("patience", &sources);
    sources[patience].1 = "use super::command::A;\nuse super::doubt::A;";
    let upward = "op/patience.rs imports `super::command::A` from op/command.rs";
    assert_eq!(violations(&sources), [upward]);
    sources.remove(patience);
    assert_eq!(violations(&sources), ["the layers list op::patience, which does not exist"]);
    sources.push((path("patience"), ""));
    sources.push((path("extra"), ""));
    assert_eq!(violations(&sources), ["op::extra is not in OP_LAYERS"]);
}
