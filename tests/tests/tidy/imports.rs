//! A reader of the imports between the files of a crate.

use std::collections::{BTreeMap, BTreeSet};

use syn::{ItemUse, UseTree, parse_str};

use crate::source::Source;

/// The sources of one crate, without tests. Each file has the path of its module, such as
/// `crate::op::work`.
pub struct Crate<'a> {
    pub files: BTreeMap<String, File<'a>>,
}

pub struct File<'a> {
    pub source: &'a Source,
    mentions: Vec<Mention>,
    defines: BTreeSet<&'a str>,
}

/// A path in the code. Each branch of a `use` tree is a separate mention.
struct Mention {
    path: String,
    /// The name that a `use` brings into this module; `*` for all.
    binds: Option<String>,
    exported: bool,
}

/// The importing and the imported module, with a description of one import.
pub type Imports = BTreeMap<(String, String), String>;

impl<'a> Crate<'a> {
    /// Reads the crate in this folder of the workspace. The program beside a library is a separate
    /// crate.
    pub fn read(sources: impl IntoIterator<Item = &'a Source>, folder: &str) -> Crate<'a> {
        let prefix = format!("{folder}/src/");
        let below = |source: &'a Source| {
            let path = source.path.strip_prefix(&prefix)?.strip_suffix(".rs")?;
            Some((format!("crate::{}", path.replace('/', "::")), source))
        };
        let mut sources: BTreeMap<_, _> = sources.into_iter().filter_map(below).collect();
        if sources.contains_key("crate::lib") {
            sources.retain(|path, _| path != "crate::main" && !is_below(path, "crate::bin"));
        }
        let mut files = BTreeMap::new();
        let mut tests = Vec::new();
        for (path, source) in sources {
            let mut names = ["::lib", "::main", "::mod"].into_iter();
            let module = names.find_map(|name| path.strip_suffix(name)).unwrap_or(&path);
            let items = source.tests.iter().map(|range| &source.text[range.clone()]);
            let names = items.filter_map(|item| item.strip_suffix(';')?.rsplit_once("mod "));
            tests.extend(names.map(|(_, name)| format!("{module}::{name}")));
            files.insert(module.to_owned(), File::read(source));
        }
        files.retain(|module, _| !tests.iter().any(|test| is_below(module, test)));
        Crate { files }
    }

    /// Returns the imports between files. A re-export from a child module does not count.
    pub fn imports(&self) -> Imports {
        let mut found = Imports::new();
        for (from, file) in &self.files {
            for mention in &file.mentions {
                let Some(to) = self.resolve(from, &mention.path, 8) else { continue };
                if to == *from || (mention.exported && is_below(&to, from)) {
                    continue;
                }
                let (file, target) = (&file.source.path, &self.files[&to].source.path);
                let text = format!("{file} imports `{}` from {target}", mention.path);
                found.entry((from.clone(), to)).or_insert(text);
            }
        }
        found
    }

    /// Returns the module of this crate that defines the item of a path. Follows re-exports.
    fn resolve(&self, from: &str, path: &str, depth: u32) -> Option<String> {
        let absolute = self.absolute(from, path)?;
        let mut module = absolute.as_str();
        let mut name = None;
        while !self.files.contains_key(module) {
            let (parent, child) = module.rsplit_once("::")?;
            (module, name) = (parent, Some(child));
        }
        let file = &self.files[module];
        let Some(name) = name.filter(|_| depth > 0) else { return Some(module.to_owned()) };
        let origins = |bound: &str| -> Vec<String> {
            let mentions = file.mentions.iter().filter(|m| m.binds.as_deref() == Some(bound));
            mentions.filter_map(|m| self.resolve(module, &m.path, depth - 1)).collect()
        };
        let mut found = origins(name);
        if found.is_empty() && !file.defines.contains(name) {
            found = origins("*");
            found.retain(|origin| self.files[origin].defines.contains(name));
        }
        Some(found.into_iter().next().unwrap_or_else(|| module.to_owned()))
    }

    /// Returns the path from the root of this crate, if it does not lead into another one.
    fn absolute(&self, mut from: &str, path: &str) -> Option<String> {
        let path = format!("{path}::");
        let mut rest = path.strip_prefix("self::").unwrap_or(&path);
        while let Some(deeper) = rest.strip_prefix("super::") {
            (from, rest) = (from.rsplit_once("::")?.0, deeper);
        }
        let absolute = format!("{from}::{rest}");
        let absolute = if rest.starts_with("crate::") { rest } else { &absolute };
        let child = path.split_once("::")?.0;
        let is_child = self.files.contains_key(&format!("{from}::{child}"));
        (is_child || ["crate", "self", "super"].contains(&child))
            .then(|| absolute.trim_end_matches("::").to_owned())
    }
}

impl<'a> File<'a> {
    fn read(source: &'a Source) -> File<'a> {
        let kinds = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
        let is_name = |at| source.token(at).starts_with(|c: char| c.is_alphabetic() || c == '_');
        let mut file = File { source, mentions: Vec::new(), defines: BTreeSet::new() };
        let mut end = 0; // of the `use` item or the path before
        for at in source.code() {
            let before = source.token(at.wrapping_sub(1));
            if kinds.contains(&before) {
                file.defines.insert(source.token(at));
            }
            if at < end {
                continue;
            }
            end = at + 1;
            if source.token(at) == "use" && !source.token(end).starts_with('<') {
                end = source.siblings(at).find(|at| source.token(*at) == ";").unwrap_or(at);
                let item = source.text[source.range(at, end)].replace('$', "");
                if let Ok(item) = parse_str::<ItemUse>(&item) {
                    file.add_tree(&item.tree, "", ["pub", ")"].contains(&before));
                }
            } else if before == "in" && source.token(at.wrapping_sub(3)) == "pub" {
                continue; // The path of a visibility.
            } else if is_name(at) && before != "::" {
                while source.token(end) == "::" && is_name(end + 1) {
                    end += 2;
                }
                let path = (at..end).map(|at| source.token(at)).collect();
                file.mentions.push(Mention { path, binds: None, exported: false });
            } else if let Some(path) = source.token(at).strip_prefix('"') {
                let path = path.trim_end_matches('"').to_owned(); // As in `#[serde(with = "...")]`.
                file.mentions.push(Mention { path, binds: None, exported: false });
            }
        }
        file.mentions.retain(|mention| mention.binds.is_some() || mention.path.contains("::"));
        file
    }

    /// Adds the paths of a `use` tree: `a::{b, c as d}` has `a::b` and `a::c`, which it binds to d.
    fn add_tree(&mut self, tree: &UseTree, stem: &str, exported: bool) {
        let (name, alias) = match tree {
            UseTree::Path(path) => {
                return self.add_tree(&path.tree, &format!("{stem}{}::", path.ident), exported);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_tree(tree, stem, exported));
            }
            UseTree::Name(name) => (name.ident.to_string(), None),
            UseTree::Rename(name) => (name.ident.to_string(), Some(name.rename.to_string())),
            UseTree::Glob(_) => (String::new(), Some("*".to_owned())),
        };
        let path = format!("{stem}{name}");
        let path = path.trim_end_matches("::self").trim_end_matches("::").to_owned();
        let binds = alias.or(path.rsplit("::").next().map(str::to_owned));
        self.mentions.push(Mention { path, binds, exported });
    }
}

/// Whether the module is this one, or in it.
pub fn is_below(module: &str, parent: &str) -> bool {
    module.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns the imports whose target imports the importing module, directly or not.
pub fn circles(imports: &Imports) -> Vec<String> {
    let leads_back = |(from, to): &(String, String)| {
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

#[test]
fn imports_follow_re_exports_and_skip_tests() {
    let sources = [
        ("lib", "pub mod a;\npub mod folder;\npub use a::A;\npub(crate) use folder::*;"),
        ("main", "use crate::a::A;"),
        ("a", "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::folder::B;\n}"),
        ("folder/mod", "mod b;\nmod c;\n#[cfg(test)]\nmod t;\npub use self::b::B;\npub use c::*;"),
        ("folder/b", "use crate::{\n    A,\n    folder::{C as D, self},\n};\npub struct B;"),
        ("folder/c", "// crate::b\npub struct C(super::super::a::A, std::io::Error);"),
        ("folder/d", "m!(\"crate::a\", <super::b::B>::f());\nuse super::*;"),
        ("folder/e", "pub(in crate::folder) const E: u8 = 1;"),
        ("folder/t", "use crate::a::A;"),
    ]
    .map(|(name, text)| Source::new(&format!("x/src/{name}.rs"), text));
    let imports = Crate::read(&sources, "x").imports();
    let imports = imports.values().map(|text| text.replace("x/src/", "").replace(".rs", ""));
    let expected = [
        "folder/b imports `crate::A` from a",
        "folder/b imports `crate::folder` from folder/mod",
        "folder/b imports `crate::folder::C` from folder/c",
        "folder/c imports `super::super::a::A` from a",
        "folder/d imports `crate::a` from a",
        "folder/d imports `super` from folder/mod",
        "folder/d imports `super::b::B` from folder/b",
    ];
    assert_eq!(imports.collect::<Vec<_>>(), expected);
}
