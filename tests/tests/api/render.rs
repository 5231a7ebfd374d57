//! Types and signatures of rustdoc's JSON as Rust writes them, with the last name of each path.
//!
//! The JSON changes with versions of rustdoc. This reads only fields that all versions since 1.89
//! have, and panics on a type that it does not know.

use std::collections::BTreeMap;

use serde_json::Value;

/// The text of types of one crate. It notes every type and trait that it names.
pub struct Renderer<'a> {
    pub paths: &'a Value,
    /// The paths of the named types and traits, each with a place that names it.
    pub named: BTreeMap<String, String>,
    /// The item that is rendered.
    pub place: String,
}

/// Returns the elements of a list; `null` has none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns a text of the JSON.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a text, not {value}"))
}

/// Returns the name and the content of a variant: a text, or an object with one field.
fn variant(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(name) => (name, &Value::Null),
        Value::Object(fields) if fields.len() == 1 => {
            let (name, content) = fields.iter().next().expect("there is one field");
            (name, content)
        }
        _ => panic!("expected a variant, not {value}"),
    }
}

fn in_brackets(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!("<{}>", parts.join(", ")) }
}

impl Renderer<'_> {
    /// Returns a type.
    pub fn ty(&mut self, ty: &Value) -> String {
        let (kind, content) = variant(ty);
        match kind {
            "resolved_path" => self.path(content),
            "generic" | "primitive" => text(content).to_owned(),
            "infer" => "_".to_owned(),
            "tuple" => match &self.types(content)[..] {
                [single] => format!("({single},)"),
                several => format!("({})", several.join(", ")),
            },
            "slice" => format!("[{}]", self.ty(content)),
            "array" => format!("[{}; {}]", self.ty(&content["type"]), text(&content["len"])),
            "borrowed_ref" => {
                let lifetime = content["lifetime"].as_str().map(|name| format!("{name} "));
                let mutable = if content["is_mutable"] == true { "mut " } else { "" };
                format!("&{}{mutable}{}", lifetime.unwrap_or_default(), self.ty(&content["type"]))
            }
            "impl_trait" => format!("impl {}", self.bounds(content)),
            "dyn_trait" => {
                let traits = list(&content["traits"]).iter();
                let mut bounds: Vec<String> = traits.map(|bound| self.poly_trait(bound)).collect();
                bounds.extend(content["lifetime"].as_str().map(str::to_owned));
                format!("dyn {}", bounds.join(" + "))
            }
            "function_pointer" => format!("fn{}", self.signature(&content["sig"])),
            "qualified_path" => {
                let own = self.ty(&content["self_type"]);
                let name = text(&content["name"]);
                let of = &content["trait"];
                // `T::Output`, if the trait is that of a bound.
                let named = of.is_null() || self.name(of).is_empty();
                let arguments = self.arguments(&content["args"]);
                if named {
                    format!("{own}::{name}{arguments}")
                } else {
                    format!("<{own} as {}>::{name}{arguments}", self.path(of))
                }
            }
            _ => panic!("unknown type {ty}"),
        }
    }

    /// Returns the types of a list.
    fn types(&mut self, types: &Value) -> Vec<String> {
        list(types).iter().map(|ty| self.ty(ty)).collect()
    }

    /// Returns the last name of a path.
    fn name<'p>(&self, path: &'p Value) -> &'p str {
        // Before 1.88 the field was `name`.
        let whole = path["path"].as_str().unwrap_or_default();
        whole.rsplit("::").next().unwrap_or_default()
    }

    /// Returns the path of a type or trait with its arguments, and notes it.
    pub fn path(&mut self, path: &Value) -> String {
        let known = &self.paths[path["id"].to_string()]["path"];
        let full: Vec<&str> = list(known).iter().map(text).collect();
        if !full.is_empty() {
            self.named.entry(full.join("::")).or_insert_with(|| self.place.clone());
        }
        format!("{}{}", self.name(path), self.arguments(&path["args"]))
    }

    fn arguments(&mut self, arguments: &Value) -> String {
        if arguments.is_null() {
            return String::new();
        }
        let (kind, content) = variant(arguments);
        match kind {
            "angle_bracketed" => {
                let mut parts: Vec<String> =
                    list(&content["args"]).iter().map(|part| self.argument(part)).collect();
                for constraint in list(&content["constraints"]) {
                    let name = text(&constraint["name"]);
                    let (kind, binding) = variant(&constraint["binding"]);
                    parts.push(match kind {
                        "equality" => format!("{name} = {}", self.argument(binding)),
                        _ => format!("{name}: {}", self.bounds(binding)),
                    });
                }
                in_brackets(&parts)
            }
            "parenthesized" => {
                let inputs = self.types(&content["inputs"]).join(", ");
                format!("({inputs}){}", self.output(&content["output"]))
            }
            _ => panic!("unknown arguments {arguments}"),
        }
    }

    fn argument(&mut self, argument: &Value) -> String {
        let (kind, content) = variant(argument);
        match kind {
            "lifetime" => text(content).to_owned(),
            "type" => self.ty(content),
            "const" | "constant" => text(&content["expr"]).to_owned(),
            "infer" => "_".to_owned(),
            _ => panic!("unknown argument {argument}"),
        }
    }

    /// Returns bounds, joined by `+`.
    pub fn bounds(&mut self, bounds: &Value) -> String {
        let mut parts = Vec::new();
        for bound in list(bounds) {
            let (kind, content) = variant(bound);
            parts.push(match kind {
                "trait_bound" => {
                    let maybe = if content["modifier"] == "maybe" { "?" } else { "" };
                    format!("{maybe}{}", self.poly_trait(content))
                }
                "outlives" => text(content).to_owned(),
                // Which lifetimes an `impl Trait` captures.
                "use" => continue,
                _ => panic!("unknown bound {bound}"),
            });
        }
        parts.join(" + ")
    }

    fn poly_trait(&mut self, bound: &Value) -> String {
        let lifetimes = self.parameters(&bound["generic_params"]);
        let binder = if lifetimes.is_empty() { lifetimes } else { format!("for{lifetimes} ") };
        format!("{binder}{}", self.path(&bound["trait"]))
    }

    fn output(&mut self, output: &Value) -> String {
        if output.is_null() { String::new() } else { format!(" -> {}", self.ty(output)) }
    }

    /// Returns the arguments and the result of a function.
    pub fn signature(&mut self, signature: &Value) -> String {
        let mut inputs = Vec::new();
        for input in list(&signature["inputs"]) {
            let (name, ty) = (text(&input[0]), self.ty(&input[1]));
            inputs.push(match (name, &*ty) {
                ("self", "Self") => "self".to_owned(),
                ("self", "&Self") => "&self".to_owned(),
                ("self", "&mut Self") => "&mut self".to_owned(),
                // The pattern of an argument does not belong to the interface.
                _ if !name.chars().all(|c| c.is_alphanumeric() || c == '_') => format!("_: {ty}"),
                ("", _) => ty,
                _ => format!("{name}: {ty}"),
            });
        }
        format!("({}){}", inputs.join(", "), self.output(&signature["output"]))
    }

    /// Returns generic parameters in brackets.
    pub fn parameters(&mut self, parameters: &Value) -> String {
        let mut parts = Vec::new();
        for parameter in list(parameters) {
            let name = text(&parameter["name"]);
            let (kind, content) = variant(&parameter["kind"]);
            match kind {
                "lifetime" => parts.push(name.to_owned()),
                "const" => parts.push(format!("const {name}: {}", self.ty(&content["type"]))),
                // Stands for an `impl Trait` among the arguments.
                _ if content["is_synthetic"] == true => {}
                _ => {
                    let bounds = self.bounds(&content["bounds"]);
                    let colon = if bounds.is_empty() { "" } else { ": " };
                    let default = &content["default"];
                    let default = if default.is_null() {
                        None
                    } else {
                        Some(format!(" = {}", self.ty(default)))
                    };
                    parts.push(format!("{name}{colon}{bounds}{}", default.unwrap_or_default()));
                }
            }
        }
        in_brackets(&parts)
    }

    /// Returns the where clause.
    pub fn predicates(&mut self, generics: &Value) -> String {
        let mut parts = Vec::new();
        for predicate in list(&generics["where_predicates"]) {
            let (kind, content) = variant(predicate);
            parts.push(match kind {
                "bound_predicate" => {
                    let ty = self.ty(&content["type"]);
                    format!("{ty}: {}", self.bounds(&content["bounds"]))
                }
                "lifetime_predicate" => {
                    let outlives: Vec<&str> = list(&content["outlives"]).iter().map(text).collect();
                    format!("{}: {}", text(&content["lifetime"]), outlives.join(" + "))
                }
                _ => {
                    let left = self.ty(&content["lhs"]);
                    format!("{left} = {}", self.argument(&content["rhs"]))
                }
            });
        }
        if parts.is_empty() { String::new() } else { format!(" where {}", parts.join(", ")) }
    }
}
