//! The bound on the lines of a function, and the parameters that are tuples.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::{Expr, FnArg, ItemFn, ItemImpl, Pat, PatType, Signature, Stmt, Type, parse_str};

use crate::report;
use crate::source::{Source, rust};

const MAX_FUNCTION_LINES: usize = 70;
/// The lines before the `match` of a function that consists of one `match`, at most.
const MAX_LINES_BEFORE_MATCH: usize = 5;
/// The lines of each arm of such a `match`, at most.
const MAX_ARM_LINES: usize = 12;

/// Returns the first token of every function, including those in the bodies of macros.
fn functions(source: &Source) -> impl Iterator<Item = usize> {
    let starts = |at: &usize| source.token(*at) == "fn" && !source.token(at + 1).starts_with('(');
    (0..source.tokens.len()).filter(starts)
}

/// Returns the name of the trait if the function is directly in the `impl` block of one.
fn implemented_trait(source: &Source, function: usize) -> Option<String> {
    let open = source.tokens[function].parent?;
    let level = source.tokens[open].parent;
    let siblings = (0..open).rev().filter(|at| source.tokens[*at].parent == level);
    let mut header = siblings.take_while(|at| ![";", "}"].contains(&source.token(*at)));
    let start = header.find(|at| source.token(*at) == "impl")?;
    let header = format!("{}}}", &source.text[source.range(start, open)]);
    let block: ItemImpl = parse_str(&header.replace('$', "")).ok()?;
    Some(block.trait_?.0.segments.last()?.ident.to_string())
}

// ------------------------------------------------------------------------------------- the lines

/// A function that consists of one `match` with short arms may be longer: splitting it would hide
/// that it handles every case.
#[test]
fn functions_are_at_most_70_lines_long() {
    report("shorten these functions", rust().flat_map(long_functions));
}

fn long_functions(source: &Source) -> Vec<String> {
    let long = functions(source).filter_map(|at| {
        let range = source.range(at, source.item_end(at));
        let (start, text) = (range.start, &source.text[range]);
        let lines = text.lines().count();
        let is_long = lines > MAX_FUNCTION_LINES && !is_one_match(text);
        let found =
            || format!("{}: `{}` has {lines} lines", source.place(start), source.token(at + 1));
        is_long.then(found)
    });
    long.collect()
}

/// Whether the body of a function is one `match`: its last expression is `match ... { ... }` or
/// `Ok(match ... { ... })`, before it are at most [`MAX_LINES_BEFORE_MATCH`] lines of `let` and
/// `use` statements and comments, and no arm has more than [`MAX_ARM_LINES`] lines.
fn is_one_match(function: &str) -> bool {
    let Ok(function) = parse_str::<ItemFn>(&function.replace('$', "")) else { return false };
    let Some((Stmt::Expr(last, None), before)) = function.block.stmts.split_last() else {
        return false;
    };
    let found = match last {
        Expr::Call(call) if matches!(&*call.func, Expr::Path(path) if path.path.is_ident("Ok")) => {
            call.args.first()
        }
        other => Some(other),
    };
    let Some(Expr::Match(found)) = found else { return false };
    let open = function.block.brace_token.span.open().start().line;
    let ends = found.arms.iter().skip(1).map(|arm| arm.span().start().line);
    let ends = ends.chain([found.brace_token.span.close().start().line]);
    before.iter().all(|statement| matches!(statement, Stmt::Local(_) | Stmt::Item(_)))
        && last.span().start().line - open <= MAX_LINES_BEFORE_MATCH + 1
        && found
            .arms
            .iter()
            .zip(ends)
            .all(|(arm, end)| end - arm.span().start().line <= MAX_ARM_LINES)
}

#[test]
fn long_functions_of_all_forms_are_found() {
    let body = |lines: usize| format!("{{\n{}}}\n", "f();\n".repeat(lines - 2));
    let forms = [
        "fn a() ",
        "trait T { const fn b(&self); fn c()\nwhere\n    X: Y,\n",
        "m! { fn d(x in y) ",
    ];
    let source = |lines: usize| {
        let text = format!("{}{}", forms[0], body(lines));
        let text = format!("{text}{}{}}}", forms[1], body(lines - 3));
        Source::new("a.rs", &format!("{text}{}{}}}", forms[2], body(lines)))
    };
    assert_eq!(long_functions(&source(MAX_FUNCTION_LINES)), [""; 0]);
    let names = ["1: `a`", "72: `c`", "143: `d`"];
    let expected = names.map(|name| format!("a.rs:{name} has 71 lines"));
    assert_eq!(long_functions(&source(MAX_FUNCTION_LINES + 1)), expected);
}

#[test]
fn a_function_of_one_match_is_recognised() {
    let is_one = |body: &str| is_one_match(&format!("fn f(\n    x: X,\n) -> Y {{\n{body}}}\n"));
    let arm = |lines: usize| format!("A => {{\n{}}}\n", "g();\n".repeat(lines - 2));
    let arms = "A => 1,\nB\n| C => {\n    2\n}\n// Why.\n_ => 3,\n";
    let lets = "let y = 1;\n".repeat(MAX_LINES_BEFORE_MATCH);
    assert!(is_one(&format!("match x {{\n{arms}}}\n")));
    assert!(is_one(&format!("use X::*;\nlet y = f(\n    x,\n);\nmatch y {{\n{arms}}}")));
    assert!(is_one(&format!("Ok(match f(\n    x,\n) {{\n{arms}}})\n")));
    assert!(is_one(&format!("{lets}match y {{\n{arms}}}\n")));
    assert!(is_one(&format!("match x {{\n{arms}{}{arms}}}\n", arm(MAX_ARM_LINES))));

    assert!(!is_one(&format!("match x {{\n{arms}{}{arms}}}\n", arm(MAX_ARM_LINES + 1))));
    assert!(!is_one(&format!("{lets}let z = y;\nmatch z {{\n{arms}}}\n")));
    assert!(!is_one(&format!("g();\nmatch x {{\n{arms}}}\n")));
    assert!(!is_one(&format!("match x {{\n{arms}}}\ng()\n")));
    assert!(!is_one(&format!("match x {{\n{arms}}}\n.g()\n")));
    assert!(!is_one(&format!("if x {{\nmatch x {{\n{arms}}}\n}}\n")));
    assert!(!is_one("x + 1\n"));
}

// -------------------------------------------------------------------------------- the parameters

#[test]
fn functions_have_no_tuple_parameters() {
    let traits: BTreeSet<&str> = rust().flat_map(trait_names).collect();
    let broken = rust().flat_map(|source| tuple_parameters(source, &traits));
    report("give each of these parameters its name, or make the tuple a type", broken);
}

fn trait_names(source: &Source) -> impl Iterator<Item = &str> {
    let named = (1..source.tokens.len()).filter(|at| source.token(at - 1) == "trait");
    named.map(|at| source.token(at))
}

/// Returns the parameters whose pattern or type is a tuple of at least two elements, or whose type
/// is a reference to one. The signature of a trait that is not listed is not ours to choose.
fn tuple_parameters(source: &Source, traits: &BTreeSet<&str>) -> Vec<String> {
    let is_ours =
        |at: &usize| implemented_trait(source, *at).is_none_or(|name| traits.contains(&*name));
    let found = functions(source).filter(is_ours).flat_map(|at| {
        let range = source.range(at, source.header_end(at) - 1);
        let (start, text) = (range.start, source.text[range].replace('$', ""));
        let inputs = parse_str::<Signature>(&text).into_iter().flat_map(|it| it.inputs);
        inputs.filter(has_tuple).map(move |input| {
            let text = input.span().source_text().unwrap_or_default();
            format!("{}: `{}` takes {text}", source.place(start), source.token(at + 1))
        })
    });
    found.collect()
}

fn has_tuple(input: &FnArg) -> bool {
    let FnArg::Typed(PatType { pat, ty, .. }) = input else { return false };
    let mut kind = &**ty;
    while let Type::Reference(reference) = kind {
        kind = &reference.elem;
    }
    matches!(&**pat, Pat::Tuple(tuple) if tuple.elems.len() > 1)
        || matches!(kind, Type::Tuple(tuple) if tuple.elems.len() > 1)
}

#[test]
fn tuple_parameters_are_found() {
    let find = |text: &str| tuple_parameters(&Source::new("a.rs", text), &BTreeSet::from(["T"]));
    let text = "fn a(x: u8, (y, z): (u8, u8)) {}\npub(crate) async fn b<F: Fn(u8) -> u8>(\n    \
                f: F,\n    pair: &mut (&str, usize),\n) -> u8 {\n    1\n}\n\
                trait T {\n    fn c(&self, list: (A, Vec<(B, C)>));\n}\n\
                m! { fn $d($x: (A, B)) {} }\n";
    let expected = [
        "a.rs:1: `a` takes (y, z): (u8, u8)",
        "a.rs:2: `b` takes pair: &mut (&str, usize)",
        "a.rs:9: `c` takes list: (A, Vec<(B, C)>)",
        "a.rs:11: `$` takes x: (A, B)",
    ];
    assert_eq!(find(text), expected);
    let others = "fn a(self: Box<Self>, x: (), y: (dyn Fn(u8) + 'static), z: &[(A, B)]) {}\n\
                  fn b(f: impl Fn((A, B)) -> (C, D), m: BTreeMap<A, (B, C)>) -> (A, B) {}\n\
                  m! { fn c((x, y) in pairs(), z in 0..a::b) { |(x, y): (A, B)| x; } }\n\
                  // fn d((a, b): (A, B)) {}\nconst E: &str = \"fn e(x: (A, B)) {}\";\n";
    assert_eq!(find(others), [""; 0]);

    let found = |header: &str| {
        find(&format!("const C: u8 = 1;\n{header} {{ fn g() {{}}\nfn f(x: (A, B)) {{}} }}")).len()
    };
    assert_eq!(found("impl X"), 1);
    assert_eq!(found("impl<T: Y> a::T<(A, B)> for X<T>"), 1);
    assert_eq!(found("impl<T: Y> a::From<(A, B)> for X<T>"), 0);
    assert_eq!(found("impl<T> Sum for X<T>\nwhere\n    T: for<'a> Y<'a>,\n"), 0);
    assert_eq!(find("impl Sum for X { fn h() { fn f(x: (A, B)) {} } }").len(), 1);
}
