//! The listing of a crate's public interface: one block for each name at its root.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::render::{Renderer, list, text};
use super::{Crate, of_kind};

/// The public interface of a crate.
pub struct Listing<'a> {
    crates: &'a [Crate],
    /// The names at the root, with the items.
    blocks: BTreeMap<String, Vec<String>>,
    /// The exported names by the kinds and the paths where the items are defined.
    exported: BTreeMap<(String, String), String>,
    /// The paths of the types and traits that signatures name, each with a place.
    named: BTreeMap<String, String>,
}

/// The implementations of a type.
#[derive(Default)]
struct Implementations {
    /// Methods, and traits with parameters or types.
    lines: BTreeSet<String>,
    /// The traits of the type without any.
    plain: BTreeSet<String>,
}

/// An item of a crate.
#[derive(Clone, Copy)]
struct Item<'a> {
    home: &'a Crate,
    json: &'a Value,
}

impl<'a> Item<'a> {
    /// Returns the kind and the content.
    fn inner(self) -> (&'a str, &'a Value) {
        let fields = self.json["inner"].as_object().expect("an item has a content");
        let (kind, content) = fields.iter().next().expect("the content has a kind");
        (kind, content)
    }

    /// Returns another item of the same crate.
    fn other(self, id: &Value) -> Item<'a> {
        Item { home: self.home, json: &self.home.json["index"][id.to_string()] }
    }

    fn is_non_exhaustive(self) -> bool {
        list(&self.json["attrs"]).iter().any(|it| it.to_string().contains("non_exhaustive"))
    }

    fn name(self) -> &'a str {
        text(&self.json["name"])
    }
}

impl<'a> Listing<'a> {
    /// Lists the items at the root of a crate and in its modules.
    pub fn of(crates: &'a [Crate], root: &str) -> Self {
        let (blocks, exported, named) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut listing = Self { crates, blocks, exported, named };
        let home = crates.iter().find(|found| found.name == root).expect("the crate is read");
        let root = &home.json["index"][home.json["root"].to_string()];
        let mut modules = vec![(String::new(), Item { home, json: root })];
        let mut items = Vec::new();
        while let Some((prefix, module)) = modules.pop() {
            for id in list(&module.inner().1["items"]) {
                let member = module.other(id);
                if member.inner().0 == "module" {
                    modules.push((format!("{prefix}{}::", member.name()), member));
                } else {
                    items.extend(listing.export(&prefix, member));
                }
            }
        }
        for (name, item) in items {
            let lines = listing.lines(&name, item);
            listing.blocks.entry(name).or_default().extend(lines);
        }
        listing
    }

    /// Notes the path of the item that an item of a module exports, and returns the item with its
    /// name if no other name denotes it.
    fn export(&mut self, prefix: &str, item: Item<'a>) -> Option<(String, Item<'a>)> {
        let (kind, content) = item.inner();
        let exports = kind == "use";
        let (id, name) = if exports {
            (&content["id"], &content["name"])
        } else {
            (&item.json["id"], &item.json["name"])
        };
        let name = format!("{prefix}{}", text(name));
        let summary = of_kind(&item.home.json["paths"][id.to_string()]);
        if let Some(known) = self.exported.get(&summary) {
            let line = format!("is {known}");
            self.blocks.entry(name).or_default().push(line);
            return None;
        }
        self.exported.insert(summary.clone(), name.clone());
        let own = item.other(id);
        if !own.json.is_null() {
            return Some((name, own));
        }
        let found = self.crates.iter().find_map(|home| Some((home, home.ids.get(&summary)?)));
        let Some((home, id)) = found else {
            assert_eq!(summary.0, "proc_derive", "{} is not described", summary.1);
            self.blocks.entry(name).or_default().push("derive macro".to_owned());
            return None;
        };
        Some((name, Item { home, json: &home.json["index"][id] }))
    }

    /// Returns the lines of types and traits that no exported name denotes.
    pub fn missing(&self) -> impl Iterator<Item = String> {
        let ours = |path: &&String| {
            self.crates.iter().any(|home| path.starts_with(&format!("{}::", home.name)))
        };
        let named = self.named.keys().filter(ours);
        let missing = named.filter(|path| !self.exports(path));
        missing.map(|path| format!("{path}, named by {}", self.named[path]))
    }

    fn exports(&self, path: &str) -> bool {
        self.exported.keys().any(|(_, exported)| exported == path)
    }

    /// Returns the whole listing.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for (name, block) in &self.blocks {
            lines.push(format!("{name}:"));
            lines.extend(block.iter().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }

    /// Returns the lines of an item, and notes what it names.
    fn lines(&mut self, name: &str, item: Item<'_>) -> Vec<String> {
        let place = name.to_owned();
        let paths = &item.home.json["paths"];
        let mut renderer = Renderer { paths, named: BTreeMap::new(), place };
        let (kind, content) = item.inner();
        let mut members = Vec::new();
        let head = match kind {
            "function" => function(&mut renderer, item),
            "constant" => format!("const: {}", renderer.ty(&content["type"])),
            "type_alias" => {
                let parameters = renderer.parameters(&content["generics"]["params"]);
                format!("type{parameters} = {}", renderer.ty(&content["type"]))
            }
            "struct" => {
                let (form, rest) = fields(&mut renderer, item, &content["kind"]);
                members.extend(rest);
                format!("struct{}{form}", generics(&mut renderer, content))
            }
            "enum" => {
                for id in list(&content["variants"]) {
                    let variant = item.other(id);
                    let (form, rest) = fields(&mut renderer, variant, &variant.inner().1["kind"]);
                    let open = if variant.is_non_exhaustive() { " .." } else { "" };
                    members.push(format!("{}{form}{open}", variant.name()));
                    members.extend(rest.iter().map(|line| format!("  {line}")));
                }
                format!("enum{}", generics(&mut renderer, content))
            }
            "trait" => {
                members.extend(list(&content["items"]).iter().map(|id| {
                    let member = item.other(id);
                    associated(&mut renderer, member)
                }));
                let bounds = renderer.bounds(&content["bounds"]);
                let colon = if bounds.is_empty() { "" } else { ": " };
                format!("trait{}{colon}{bounds}", generics(&mut renderer, content))
            }
            _ => panic!("unknown kind of item {kind}"),
        };
        let mut impls = Implementations::default();
        for id in list(&content["impls"]) {
            self.implementation(&mut renderer, item.other(id), &mut impls);
        }
        for id in list(&content["implementations"]) {
            let found = item.other(id);
            // Those of types are with the types.
            if found.json["inner"]["impl"]["for"]["resolved_path"].is_null() {
                self.implementation(&mut renderer, found, &mut impls);
            }
        }
        members.extend(impls.lines);
        if !impls.plain.is_empty() {
            members.push(format!("impl {}", Vec::from_iter(impls.plain).join(", ")));
        }
        for (path, place) in renderer.named {
            self.named.entry(path).or_insert(place);
        }
        let open = if item.is_non_exhaustive() { " .." } else { "" };
        let members = members.into_iter().map(|line| format!("  {line}"));
        [format!("{head}{open}")].into_iter().chain(members).collect()
    }

    /// Adds the lines of an implementation: its methods, or its trait.
    fn implementation(
        &self,
        renderer: &mut Renderer<'_>,
        item: Item<'_>,
        to: &mut Implementations,
    ) {
        let content = &item.json["inner"]["impl"];
        let generic = !list(&content["generics"]["params"]).is_empty();
        if content.is_null() || !content["blanket_impl"].is_null() {
            return;
        }
        let of = &content["trait"];
        if of.is_null() {
            let before =
                if generic { format!("impl{} ", header(renderer, content)) } else { String::new() };
            let members = list(&content["items"]).iter().map(|id| item.other(id));
            to.lines
                .extend(members.map(|member| format!("{before}{}", associated(renderer, member))));
            return;
        }
        let path = of_kind(&item.home.json["paths"][of["id"].to_string()]).1;
        let last = path.rsplit("::").next().unwrap_or_default();
        let ours = self.crates.iter().any(|home| path.starts_with(&format!("{}::", home.name)));
        let negative = content["is_negative"] == true;
        let automatic = content["is_synthetic"] == true;
        // Rust adds these by itself. A type that is not `Send` or `Sync` deserves a line.
        let implied = automatic && !(negative && ["Send", "Sync"].contains(&last));
        if implied || last == "StructuralPartialEq" || ours && !self.exports(&path) {
            return;
        }
        let mut types = Vec::new();
        for member in list(&content["items"]).iter().map(|id| item.other(id)) {
            if member.inner().0 == "assoc_type" {
                types.push(associated(renderer, member));
            }
        }
        let types =
            if types.is_empty() { String::new() } else { format!(" {{ {} }}", types.join("; ")) };
        let not = if negative { "!" } else { "" };
        let parameters = renderer.parameters(&content["generics"]["params"]);
        let (of, on) = (renderer.path(of), renderer.ty(&content["for"]));
        let predicates = renderer.predicates(&content["generics"]);
        let plain = parameters.is_empty() || of == "Deserialize<'de>" && parameters == "<'de>";
        if plain && types.is_empty() && renderer.place.ends_with(&on) {
            to.plain.insert(format!("{not}{of}"));
            return;
        }
        to.lines.insert(format!("impl{parameters} {not}{of} for {on}{predicates}{types}"));
    }
}

/// Returns the parameters of an implementation and the type that has it.
fn header(renderer: &mut Renderer<'_>, content: &Value) -> String {
    let parameters = renderer.parameters(&content["generics"]["params"]);
    let on = renderer.ty(&content["for"]);
    format!("{parameters} {on}{}", renderer.predicates(&content["generics"]))
}

fn generics(renderer: &mut Renderer<'_>, content: &Value) -> String {
    let parameters = renderer.parameters(&content["generics"]["params"]);
    format!("{parameters}{}", renderer.predicates(&content["generics"]))
}

fn function(renderer: &mut Renderer<'_>, item: Item<'_>) -> String {
    let content = item.inner().1;
    let header = &content["header"];
    let words = ["const", "async", "unsafe"];
    let words = words.iter().filter(|word| header[format!("is_{word}")] == true);
    let words: String = words.map(|word| format!("{word} ")).collect();
    let parameters = renderer.parameters(&content["generics"]["params"]);
    let signature = renderer.signature(&content["sig"]);
    let predicates = renderer.predicates(&content["generics"]);
    format!("{words}fn {}{parameters}{signature}{predicates}", item.name())
}

/// Returns the line of a member of a trait or an implementation.
fn associated(renderer: &mut Renderer<'_>, item: Item<'_>) -> String {
    let (kind, content) = item.inner();
    let name = item.name();
    match kind {
        "function" => {
            let body = content["has_body"] == true && item.json["visibility"] == "default";
            format!("{}{}", function(renderer, item), if body { " { .. }" } else { "" })
        }
        "assoc_const" => format!("const {name}: {}", renderer.ty(&content["type"])),
        "assoc_type" => {
            let bounds = renderer.bounds(&content["bounds"]);
            let colon = if bounds.is_empty() { "" } else { ": " };
            let ty = &content["type"];
            let ty = if ty.is_null() { String::new() } else { format!(" = {}", renderer.ty(ty)) };
            format!("type {name}{}{colon}{bounds}{ty}", generics(renderer, content))
        }
        _ => panic!("unknown member {kind}"),
    }
}

/// Returns the form of a struct or a variant, and the lines of its named fields.
fn fields(renderer: &mut Renderer<'_>, item: Item<'_>, kind: &Value) -> (String, Vec<String>) {
    let mut ty = |id: &Value| match item.other(id).json["inner"].get("struct_field") {
        Some(field) => renderer.ty(field),
        None => "_".to_owned(),
    };
    if let Some(tuple) = kind.get("tuple") {
        let types: Vec<String> = list(tuple).iter().map(ty).collect();
        return (format!("({})", types.join(", ")), Vec::new());
    }
    let named = kind.get("plain").or(kind.get("struct")).unwrap_or(&Value::Null);
    let shown = list(&named["fields"]).iter();
    let mut lines: Vec<String> =
        shown.map(|id| format!("{}: {}", item.other(id).name(), ty(id))).collect();
    lines.extend((named["has_stripped_fields"] == true).then(|| "..".to_owned()));
    (String::new(), lines)
}
