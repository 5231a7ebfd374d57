//! A reader of the imports between the files of a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::items::{split_tests, without_comment};
use crate::{Source, rust_sources};

/// The path of a module below its crate's root. The root is the empty path.
pub type Module = Vec<String>;

/// The sources of one crate, without tests.
pub struct Crate {
    pub files: BTreeMap<Module, File>,
}

pub struct File {
    pub path: String,
    /// The source without comments and tests.
    pub code: String,
    mentions: Vec<Mention>,
    defines: BTreeSet<String>,
}

/// A path in the code. Each branch of a `use` tree is a separate mention.
struct Mention {
    path: Vec<String>,
    /// The name that a `use` brings into this module; `*` for all.
    binds: Option<String>,
    exported: bool,
}

/// The importing and the imported module, with a description of one import.
pub type Imports = BTreeMap<(Module, Module), String>;

impl Crate {
    /// Reads the crate in this folder of the workspace.
    pub fn read(folder: &str) -> Crate {
        let prefix = format!("{folder}/src/");
        let sources = rust_sources().into_iter().filter_map(|source| {
            let below = source.path.strip_prefix(&prefix)?.to_owned();
            Some((below, source))
        });
        Crate::parse(sources.collect())
    }

    /// Parses the files, each with its path below `src`.
    pub fn parse(sources: Vec<(String, Source)>) -> Crate {
        let is_library = sources.iter().any(|(below, _)| below == "lib.rs");
        let mut files = BTreeMap::new();
        let mut test_modules = Vec::new();
        for (below, Source { path, text }) in sources {
            let is_program = below == "main.rs" || below.starts_with("bin/");
            if is_program && is_library {
                continue; // A separate crate that uses the library.
            }
            let module = module_of(&below);
            let (code, tests) = split_tests(&text);
            for line in tests.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
                    test_modules.push(child_of(&module, name));
                }
            }
            let code = code.lines().map(without_comment).collect::<Vec<_>>().join("\n");
            let mentions = read_mentions(&code);
            let defines = read_definitions(&code);
            files.insert(module, File { path, code, mentions, defines });
        }
        files.retain(|module, _| !test_modules.iter().any(|tests| module.starts_with(tests)));
        Crate { files }
    }

    /// Returns the imports between files. A re-export from a child module does not count.
    pub fn imports(&self) -> Imports {
        let mut found = Imports::new();
        for (from, file) in &self.files {
            for mention in &file.mentions {
                let Some(to) = self.resolve(from, &mention.path, 8) else { continue };
                if to == *from || (mention.exported && to.starts_with(from)) {
                    continue;
                }
                let path = mention.path.join("::");
                let text = format!("{} imports `{path}` from {}", file.path, self.files[&to].path);
                found.entry((from.clone(), to)).or_insert(text);
            }
        }
        found
    }

    /// Returns the module of this crate that defines the item of a path. Follows re-exports.
    fn resolve(&self, from: &[String], path: &[String], depth: u32) -> Option<Module> {
        let mut module = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                let steps = path.iter().take_while(|name| *name == "super").count();
                module.truncate(module.len().saturating_sub(steps));
                rest = &path[steps..];
            }
            child if !self.files.contains_key(&child_of(from, child)) => return None,
            _ => {}
        }
        while let Some((name, deeper)) = rest.split_first() {
            let child = child_of(&module, name);
            if !self.files.contains_key(&child) {
                break;
            }
            (module, rest) = (child, deeper);
        }
        let file = self.files.get(&module)?;
        let Some(name) = rest.first().filter(|_| depth > 0) else { return Some(module) };
        let origins = |bound: &str| -> Vec<Module> {
            let mentions = file.mentions.iter().filter(|m| m.binds.as_deref() == Some(bound));
            mentions.filter_map(|m| self.resolve(&module, &m.path, depth - 1)).collect()
        };
        let named = origins(name).into_iter().next();
        if named.is_some() || file.defines.contains(name) {
            return named.or(Some(module));
        }
        let mut globbed = origins("*").into_iter();
        globbed.find(|origin| self.files[origin].defines.contains(name)).or(Some(module))
    }
}

fn child_of(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

fn module_of(below: &str) -> Module {
    let names = below.trim_end_matches(".rs").split('/');
    let mut module: Module = names.map(str::to_owned).collect();
    if module.last().is_some_and(|name| ["lib", "main", "mod"].contains(&name.as_str())) {
        module.pop();
    }
    module
}

/// Returns the names of the items that the code defines.
fn read_definitions(code: &str) -> BTreeSet<String> {
    let kinds = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
    let names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let pairs = names.windows(2).filter(|pair| kinds.contains(&pair[0]));
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// Returns the paths in the code, in `use` items and elsewhere.
fn read_mentions(code: &str) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if let Some((visibility, first)) = use_item(line) {
            let mut tree = first.to_owned();
            while !tree.contains(';') {
                tree += lines.next().unwrap_or(";").trim();
            }
            let exported = visibility.starts_with("pub");
            let paths = use_paths(tree.trim_end_matches(';'));
            mentions.extend(paths.iter().map(|path| used(path, exported)));
            continue;
        }
        for path in line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)) {
            if path.contains("::") {
                let path = path.trim_end_matches(':').split("::").map(str::to_owned).collect();
                mentions.push(Mention { path, binds: None, exported: false });
            }
        }
    }
    mentions
}

/// Returns the visibility and the tree of the `use` item that starts on this line.
fn use_item(line: &str) -> Option<(&str, &str)> {
    let (visibility, tree) = line.trim_start().split_once("use ")?;
    let is_item = visibility.is_empty() || visibility == "pub " || visibility.ends_with(") ");
    is_item.then_some((visibility, tree))
}

/// Returns the paths of a `use` tree: `a::{b, c as d}` has `a::b` and `a::c as d`.
fn use_paths(tree: &str) -> Vec<String> {
    let Some((stem, branches)) = tree.trim().split_once('{') else {
        return Vec::from_iter(Some(tree.trim().to_owned()).filter(|path| !path.is_empty()));
    };
    let mut depth = 0;
    let branches = branches.strip_suffix('}').unwrap_or(branches).split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    branches.flat_map(use_paths).map(|path| format!("{stem}{path}")).collect()
}

fn used(path: &str, exported: bool) -> Mention {
    let (path, alias) = path.split_once(" as ").map_or((path, None), |(p, a)| (p, Some(a)));
    let path = path.trim_end_matches("::self");
    let binds = alias.or(path.rsplit("::").next()).map(str::to_owned);
    let path = path.trim_end_matches("::*").split("::").map(str::to_owned).collect();
    Mention { path, binds, exported }
}

/// Returns the imports whose target imports the importing module, directly or not.
pub fn circles(imports: &Imports) -> Vec<String> {
    let leads_back = |(from, to): &(Module, Module)| {
        let mut seen = BTreeSet::from([to]);
        let mut pending = vec![to];
        while let Some(module) = pending.pop() {
            let next = imports.keys().filter(|(from, _)| from == module).map(|(_, to)| to);
            pending.extend(next.filter(|next| seen.insert(*next)));
        }
        seen.contains(from)
    };
    let in_circle = imports.iter().filter(|(ends, _)| leads_back(ends));
    in_circle.map(|(_, text)| text.clone()).collect()
}
