//! The layers of crates: imports go down, and never form a circle.

use std::collections::BTreeSet;

use crate::imports::{Crate, circles, is_below};
use crate::source::{SOURCES, Source};
use crate::{CRATES, report};

/// The layers of the modules below one module of a crate.
struct Layers {
    folder: &'static str,
    parent: &'static str,
    /// The lowest is the first. Each module below the parent is in one of them; `*` stands for all
    /// modules that are not listed.
    order: &'static str,
    /// Whether the modules of one layer may import from each other.
    is_open: bool,
}

const CORE: Layers = Layers {
    folder: "core",
    parent: "crate",
    order: "* < execution < store < op < agent < backend",
    is_open: true,
};

const OP: Layers = Layers {
    folder: "core",
    parent: "crate::op",
    order: "operation, retry_budget, context, loaded < doubt, patience, query < config, resource \
            < command < work, read",
    is_open: true,
};

const IO_VALKEY: Layers = Layers {
    folder: "io-valkey",
    parent: "crate",
    order: "wire, redaction < model, server",
    is_open: false,
};

const ADAPTER: Layers = Layers {
    folder: "io-valkey",
    parent: "crate::server",
    order: "stream < failure, trouble < target < node < info, topology, polls, writes < hub \
            < backend",
    is_open: true,
};

const IO_SQLITE: Layers = Layers {
    folder: "io-sqlite",
    parent: "crate",
    order: "clock, disk, failure, rows < location, stream < turn < schema, commit, take \
            < keeper, reader, examine, wake < writer < backend",
    is_open: true,
};

const SIM: Layers = Layers {
    folder: "sim",
    parent: "crate",
    order: "determinism < plan < report < fault < model < invariant < store < process \
            < world, exhaustive, simulation < bugs < command",
    is_open: false,
};

/// The number of files and folders in `core/src/op`, at most. The file `mod.rs` does not count.
const MAX_OP_MODULES: usize = 14;

#[test]
fn imports_form_no_circle() {
    let broken = CRATES.iter().flat_map(|name| circles(&Crate::read(&*SOURCES, name).imports()));
    report("move the shared items of these files to a layer below both", broken);
}

#[test]
fn imports_never_go_up() {
    let all = [CORE, OP, IO_VALKEY, ADAPTER, IO_SQLITE, SIM];
    let broken = all.iter().flat_map(|layers| layers.violations(&*SOURCES));
    report("import from lower layers only, and list every module in its layer", broken);
}

impl Layers {
    /// Returns the imports that go up, the listed modules that do not exist, and the modules that
    /// are not listed.
    fn violations<'a>(&self, sources: impl IntoIterator<Item = &'a Source>) -> Vec<String> {
        let read = Crate::read(sources, self.folder);
        let listed = self.modules().filter(|name| *name != "*");
        let paths = listed.map(|name| format!("{}::{name}", self.parent));
        let missing = paths.filter(|path| !read.files.contains_key(path));
        let modules = read.files.keys().filter(|module| is_below(module, self.parent));
        let unlisted = modules.filter(|module| self.layer(module).is_none());
        let upward = read.imports().into_iter().filter(|((from, to), _)| self.goes_up(from, to));
        let missing = missing.map(|path| format!("the layers list {path}, which does not exist"));
        let unlisted = unlisted.map(|module| format!("no layer lists {module}"));
        missing.chain(unlisted).chain(upward.map(|(_, text)| text)).collect()
    }

    fn modules(&self) -> impl Iterator<Item = &'static str> {
        self.order.split([' ', ',', '<']).filter(|name| !name.is_empty())
    }

    fn goes_up(&self, from: &str, to: &str) -> bool {
        let is_other = self.child(from) != self.child(to);
        self.layer(from)
            .zip(self.layer(to))
            .is_some_and(|(from, to)| from < to || (from == to && is_other && !self.is_open))
    }

    /// Returns the number of a module's layer. The parent gathers all modules, so it is above them.
    fn layer(&self, module: &str) -> Option<usize> {
        let layer = |name| {
            let mut layers = self.order.split(" < ");
            layers.position(|layer| layer.trim().split(", ").any(|listed| listed == name))
        };
        match self.child(module)? {
            "" => Some(usize::MAX),
            name => layer(name).or_else(|| layer("*")),
        }
    }

    /// Returns the name below the parent; it is empty for the parent.
    fn child<'a>(&self, module: &'a str) -> Option<&'a str> {
        let below = module.strip_prefix(self.parent).filter(|_| is_below(module, self.parent))?;
        Some(below.split("::").nth(1).unwrap_or_default())
    }
}

#[test]
fn op_has_at_most_14_modules() {
    let modules = op_modules(&*SOURCES);
    assert!((1..=MAX_OP_MODULES).contains(&modules.len()), "group these modules: {modules:?}");
    let many = (0..=MAX_OP_MODULES).map(|n| Source::new(&format!("core/src/op/m{n}/x.rs"), ""));
    assert_eq!(op_modules(&many.collect::<Vec<_>>()).len(), MAX_OP_MODULES + 1);
}

fn op_modules<'a>(sources: impl IntoIterator<Item = &'a Source>) -> BTreeSet<&'a str> {
    let below = |source: &'a Source| source.path.strip_prefix("core/src/op/")?.split('/').next();
    sources.into_iter().filter_map(below).filter(|name| *name != "mod.rs").collect()
}

// ------------------------------------------------------------------------------------- the tests

/// Creates a source for each listed module and for the parent. One of them has these imports.
fn sources(layers: &Layers, module: &str, imports: &[&str]) -> Vec<Source> {
    let parent = layers.parent.replace("crate", "").replace("::", "/");
    let source = |name: &str| {
        let imports = imports.iter().filter(|_| name == module).map(|path| format!("use {path};"));
        let path = format!("{}/src{parent}/{}.rs", layers.folder, name.replace('*', "id"));
        Source::new(&path, &format!("pub struct A;{}", imports.collect::<String>()))
    };
    layers.modules().chain(["mod"]).map(source).collect()
}

#[test]
fn upward_imports_and_stale_lists_are_found() {
    let found = |layers: &Layers, module: &str, imports: &[&str]| -> Vec<String> {
        let found = layers.violations(&sources(layers, module, imports)).into_iter();
        found.map(|text| text.split('`').nth(1).unwrap_or(&text).to_owned()).collect()
    };
    let none = [""; 0];
    assert_eq!(found(&CORE, "op", &["crate::id::A", "crate::store::A"]), none);
    assert_eq!(found(&CORE, "execution", &["crate::store::A"]), ["crate::store::A"]);
    let down = ["super::read::A", "super::command::A", "super::operation::A"];
    assert_eq!(found(&OP, "work", &down), none);
    let up = ["super::command::A", "super::doubt::A", "super::A"];
    assert_eq!(found(&OP, "patience", &up), ["super::A", "super::command::A"]);
    assert_eq!(found(&IO_VALKEY, "wire", &["super::model::A"]), ["super::model::A"]);
    assert_eq!(found(&IO_VALKEY, "server", &["crate::model::A"]), ["crate::model::A"]);
    assert_eq!(found(&ADAPTER, "node", &["super::hub::A"]), ["super::hub::A"]);
    assert_eq!(found(&IO_SQLITE, "rows", &["crate::writer::A"]), ["crate::writer::A"]);
    assert_eq!(found(&SIM, "plan", &["crate::world::A"]), ["crate::world::A"]);
    assert_eq!(found(&SIM, "world", &["crate::simulation::A"]), ["crate::simulation::A"]);
    assert_eq!(found(&SIM, "bugs", &["crate::simulation::A"]), none);

    let mut sources = sources(&OP, "", &[]);
    sources[0] = Source::new("core/src/op/extra.rs", "");
    let missing = "the layers list crate::op::operation, which does not exist";
    assert_eq!(OP.violations(&sources), [missing, "no layer lists crate::op::extra"]);
}

#[test]
fn a_circle_is_found_and_a_chain_is_allowed() {
    let circles = |c: &str| {
        let texts = [("a", "use crate::b::B;"), ("b", "fn f() { crate::c::g() }"), ("c", c)];
        let sources = texts.map(|(name, text)| Source::new(&format!("x/src/{name}.rs"), text));
        circles(&Crate::read(&sources, "x").imports()).len()
    };
    assert_eq!((circles("pub fn g() {}"), circles("use super::a::A;")), (0, 3));
}
