//! No tuple stands in for several parameters.

use std::collections::BTreeSet;

use crate::items::{function_name, indentation};
use crate::text::separate;
use crate::{report, rust_sources};

#[test]
fn functions_have_no_tuple_parameters() {
    let codes: Vec<(String, String)> = rust_sources()
        .into_iter()
        .map(|source| (source.path, separate(&source.text).code))
        .collect();
    let traits: BTreeSet<String> = codes.iter().flat_map(|(_, code)| trait_names(code)).collect();
    let mut broken = Vec::new();
    for (path, code) in &codes {
        for found in tuple_parameters(code) {
            // The signature of a foreign trait is not ours to choose.
            if found.implements.is_none_or(|name| traits.contains(&name)) {
                broken.push(format!(
                    "{path}:{}: `{}` takes {}",
                    found.line, found.function, found.text
                ));
            }
        }
    }
    report("give each of these parameters its name, or make the tuple a type", broken);
}

/// A parameter whose pattern or type is a tuple.
#[derive(Debug)]
struct TupleParameter {
    line: usize,
    function: String,
    text: String,
    /// The name of the trait that the function implements.
    implements: Option<String>,
}

/// Returns the names of the traits that the code defines.
fn trait_names(code: &str) -> Vec<String> {
    let words = code.split(|char: char| !char.is_alphanumeric() && char != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "trait");
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// Returns the tuple parameters of all functions in code without comments. A parameter counts if
/// its pattern or its type is a tuple of at least two elements, or its type a reference to one.
fn tuple_parameters(code: &str) -> Vec<TupleParameter> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    let mut offset = 0;
    for (index, line) in code.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += line.len();
        let Some(function) = function_name(line) else { continue };
        let name = start + line.find("fn ").expect("the line has a function") + 3;
        let after =
            code[name..].trim_start_matches(|c: char| c.is_alphanumeric() || "_$".contains(c));
        let after = without_generics(after);
        if !after.starts_with('(') {
            continue;
        }
        for parameter in elements(&after[1..group_length(after) - 1]) {
            let Some((pattern, kind)) = split_type(parameter) else { continue };
            let kind = kind.trim_start_matches('&').trim_start_matches("mut ");
            if is_tuple(pattern) || is_tuple(kind) {
                let text = parameter.split_whitespace().collect::<Vec<_>>().join(" ");
                let implements = implemented_trait(&lines, index);
                let function = function.clone();
                found.push(TupleParameter { line: index + 1, function, text, implements });
            }
        }
    }
    found
}

/// Splits a parameter into its pattern and its type. A receiver has no type, and neither has a
/// parameter of a macro such as `x in 0..9`.
fn split_type(parameter: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    let bytes = parameter.as_bytes();
    let colon = (0..bytes.len()).find(|at| {
        depth += depth_change(bytes, *at);
        let is_path = bytes.get(at + 1) == Some(&b':') || (*at > 0 && bytes[at - 1] == b':');
        depth == 0 && bytes[*at] == b':' && !is_path
    })?;
    Some((parameter[..colon].trim(), parameter[colon + 1..].trim()))
}

/// Whether the text is a tuple of at least two elements and nothing else.
fn is_tuple(text: &str) -> bool {
    text.starts_with('(')
        && group_length(text) == text.len()
        && elements(&text[1..text.len() - 1]).len() > 1
}

/// Returns the name of the trait whose `impl` block holds the function on this line.
fn implemented_trait(lines: &[&str], function: usize) -> Option<String> {
    let inner = indentation(lines[function]);
    let is_outer = |line: &str| !line.trim().is_empty() && indentation(line) < inner;
    let last = (0..function).rev().find(|index| is_outer(lines[*index]))?;
    let outer = indentation(lines[last]);
    let is_header = |line: &str| {
        indentation(line) == outer
            && line.trim_start().starts_with(|c: char| c.is_alphabetic())
            && !line.trim_start().starts_with("where")
    };
    let first = (0..=last).rev().find(|index| is_header(lines[*index]))?;
    let header = lines[first..=last].join(" ");
    let after = header.trim_start().trim_start_matches("unsafe ").strip_prefix("impl")?;
    let (path, _) = without_generics(after).split_once(" for ")?;
    let path = path.split('<').next().unwrap_or_default();
    path.trim().rsplit("::").next().map(str::to_owned)
}

/// Returns the text after the generic parameters at its start, if it has any.
fn without_generics(text: &str) -> &str {
    if text.starts_with('<') { &text[group_length(text)..] } else { text }
}

/// Returns the elements between commas, without an empty last one.
fn elements(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut start = 0;
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        depth += depth_change(bytes, at);
        if depth == 0 && bytes[at] == b',' {
            found.push(text[start..at].trim());
            start = at + 1;
        }
    }
    found.push(text[start..].trim());
    found.retain(|element| !element.is_empty());
    found
}

/// Returns the length of the group in brackets at the start of the text, or of the whole text if
/// the group does not end.
fn group_length(text: &str) -> usize {
    let mut depth = 0;
    let bytes = text.as_bytes();
    let end = (0..bytes.len()).find(|at| {
        depth += depth_change(bytes, *at);
        depth == 0
    });
    end.map_or(text.len(), |end| end + 1)
}

/// Returns how the byte changes the depth of brackets. The arrows `->` and `=>` are not brackets.
fn depth_change(bytes: &[u8], at: usize) -> i32 {
    let is_arrow = at > 0 && b"-=".contains(&bytes[at - 1]);
    match bytes[at] {
        b'(' | b'[' | b'{' => 1,
        b')' | b']' | b'}' => -1,
        b'<' => 1,
        b'>' if !is_arrow => -1,
        _ => 0,
    }
}

// ------------------------------------------------------------------------------------- the tests

/// Returns each tuple parameter in the form `line function: text`.
fn tuple_texts(source: &str) -> Vec<String> {
    let found = tuple_parameters(&separate(source).code);
    found.iter().map(|p| format!("{} {}: {}", p.line, p.function, p.text)).collect()
}

#[test]
fn tuple_parameters_are_found() {
    let source = "fn a(x: u8, (y, z): (u8, u8)) {}\npub(crate) async fn b<F: Fn(u8) -> u8>(\n    \
                  f: F,\n    pair: &mut (&str, usize),\n) -> u8 {\n    1\n}\n\
                  trait T {\n    fn c(&self, list: (A, Vec<(B, C)>));\n}\n";
    let expected =
        ["1 a: (y, z): (u8, u8)", "2 b: pair: &mut (&str, usize)", "9 c: list: (A, Vec<(B, C)>)"];
    assert_eq!(tuple_texts(source), expected);
}

#[test]
fn other_parameters_are_no_tuples() {
    let source = "fn a(self: Box<Self>, x: (), y: (dyn Fn(u8) + 'static), z: &[(A, B)]) {}\n\
                  fn b(f: impl Fn((A, B)) -> (C, D), m: BTreeMap<A, (B, C)>) -> (A, B) {}\n\
                  fn c((x, y) in pairs(), z in 0..a::b) { |(x, y): (A, B)| x; }\n\
                  // fn d((a, b): (A, B)) {}\nconst E: &str = \"fn e(x: (A, B)) {}\";\n";
    assert_eq!(tuple_texts(source), [""; 0]);
}

#[test]
fn the_implemented_trait_of_a_function_is_found() {
    let of = |source: &str| tuple_parameters(source).remove(0).implements;
    let function = "    fn f(x: (A, B)) {}\n}\n";
    assert_eq!(of(&format!("impl X {{\n{function}")), None);
    assert_eq!(of(&format!("impl<T: Y> a::From<(A, B)> for X<T> {{\n{function}")), some("From"));
    let clause = "impl<T> Sum for X<T>\nwhere\n    T: for<'a> Y<'a>,\n{\n    fn g() {}\n\n";
    assert_eq!(of(&format!("{clause}{function}")), some("Sum"));
    assert_eq!(of("fn f(x: (A, B)) {}\n"), None);
    assert_eq!(trait_names("pub trait A: B {}\nunsafe trait C<T> {}"), ["A", "C"]);
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}
