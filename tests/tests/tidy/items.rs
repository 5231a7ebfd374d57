//! A reader of items, by their indentation. The sources are formatted, so an item ends where a
//! brace closes at its indentation.

/// The lines before the `match` of a function that consists of one `match`, at most.
const MAX_LINES_BEFORE_MATCH: usize = 5;
/// The lines of each arm of such a `match`, at most.
const MAX_ARM_LINES: usize = 12;

/// A function of a source.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// The number of lines from the signature to the closing brace.
    pub lines: usize,
    /// Whether the body is one `match` with short arms, so that it may be of any length.
    pub is_one_match: bool,
}

/// Returns the functions of a source.
pub fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = function_name(line) {
            let item = &lines[index..=item_end(&lines, index)];
            found.push(Function { name, lines: item.len(), is_one_match: is_one_match(item) });
        }
    }
    found
}

/// Whether the body of a function is one `match`: its last expression is `match ... { ... }` or
/// `Ok(match ... { ... })`, before it are at most [`MAX_LINES_BEFORE_MATCH`] lines of `let` and
/// `use` statements and comments, and no arm has more than [`MAX_ARM_LINES`] lines.
fn is_one_match(function: &[&str]) -> bool {
    let indent = indentation(function[0]);
    let is_header_end = |line: &&str| indentation(line) == indent && line.ends_with('{');
    let Some(header_end) = function.iter().position(is_header_end) else { return false };
    let body = &function[header_end + 1..function.len() - 1];
    // The lines of the body that are neither indented deeper nor empty, with their positions.
    let outer: Vec<(usize, &str)> = (0..body.len())
        .filter_map(|index| Some((index, code_at(body[index], indent + 4)?)))
        .collect();
    let is_match = |code: &str| code.starts_with("match ") || code.starts_with("Ok(match ");
    let Some(start) = outer.iter().position(|(_, code)| is_match(code)) else { return false };
    let is_prelude = |code: &str| {
        ["let ", "use ", "//", ")", "]", "}", "."].iter().any(|start| code.starts_with(start))
    };
    if outer[start].0 > MAX_LINES_BEFORE_MATCH
        || !outer[..start].iter().all(|(_, code)| is_prelude(code))
    {
        return false;
    }
    // A scrutinee of several lines ends on a line with an opening brace.
    let head = outer[start..].iter().position(|(_, code)| code.ends_with('{'));
    match head.map(|head| &outer[start + head..]) {
        Some([(open, _), (close, _)]) => {
            *close == body.len() - 1 && arms_are_short(&body[open + 1..*close], indent + 8)
        }
        _ => false, // Another statement follows, or a method of the result.
    }
}

/// Whether each arm of a `match` has at most [`MAX_ARM_LINES`] lines.
fn arms_are_short(arms: &[&str], indent: usize) -> bool {
    let starts_arm = |line: &str| {
        code_at(line, indent)
            .is_some_and(|code| !code.starts_with([')', ']', '}', '|']) && !code.starts_with("//"))
    };
    let starts: Vec<usize> = (0..arms.len()).filter(|index| starts_arm(arms[*index])).collect();
    let ends = starts.iter().skip(1).copied().chain([arms.len()]);
    starts.iter().zip(ends).all(|(start, end)| end - start <= MAX_ARM_LINES)
}

/// Returns the code of a line with this indentation.
fn code_at(line: &str, indent: usize) -> Option<&str> {
    (!line.is_empty() && indentation(line) == indent).then(|| line.trim_start())
}

/// Returns the name of the function whose item starts on this line.
pub fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let qualifies = |word: &str| {
        ["pub", "const", "async", "unsafe", "default", "extern", "\"C\""].contains(&word)
            || word.starts_with("pub(")
            || word.ends_with(')')
            || word.starts_with('$')
    };
    let name = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_');
    before.split_whitespace().all(qualifies).then(|| name.collect())
}

/// Returns the last line of the item that starts on line `start`.
fn item_end(lines: &[&str], start: usize) -> usize {
    let indent = indentation(lines[start]);
    let mut open = false;
    for (index, line) in lines.iter().enumerate().skip(start) {
        let code = without_comment(line).trim();
        let at_indent = indentation(line) == indent;
        if open && at_indent && code.starts_with('}') {
            return index;
        }
        if !open && (code.ends_with(';') || (at_indent && code.ends_with(['}', ',']))) {
            return index;
        }
        open |= at_indent && code.ends_with('{');
    }
    lines.len() - 1
}

pub fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub fn without_comment(line: &str) -> &str {
    let is_comment = line.trim_start().starts_with("//");
    if is_comment { "" } else { line.split(" // ").next().unwrap_or_default() }
}

/// Returns the text without its `#[cfg(test)]` items, and the text of these items.
pub fn split_tests(text: &str) -> (String, String) {
    let lines: Vec<&str> = text.lines().collect();
    let mut code = Vec::new();
    let mut tests: Vec<&str> = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        if lines[index].trim() != "#[cfg(test)]" {
            code.push(lines[index]);
            index += 1;
            continue;
        }
        let attributes = lines[index..].iter().take_while(|line| line.trim().starts_with("#["));
        let end = item_end(&lines, index + attributes.count());
        tests.extend(&lines[index..=end]);
        index = end + 1;
    }
    (code.join("\n"), tests.join("\n"))
}

// ------------------------------------------------------------------------------------- the tests

#[test]
fn the_function_reader_sees_all_forms() {
    let outer = "fn a() {}\npub(crate) async fn b(\n    x: u8,\n) -> u8\nwhere\n    u8: Copy,\n\
                 {\n    if x > 1 {\n        2\n    } else {\n        3\n    }\n}\n";
    let inner = "trait T {\n    fn c();\n    fn d(\n        &self,\n    ) -> u8;\n    \
                 const fn e() { // why\n        f();\n    }\n}\n";
    let found = functions(&[outer, inner].concat());
    let found: Vec<_> = found.iter().map(|function| (&*function.name, function.lines)).collect();
    assert_eq!(found, [("a", 1), ("b", 12), ("c", 1), ("d", 3), ("e", 3)]);
}

/// Returns whether a function with this body counts as one `match`.
fn counts_as_one_match(body: &str) -> bool {
    let lines = body.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let text = format!("    fn f(\n        x: X,\n    ) -> Y {{\n{lines}    }}\n");
    functions(&text)[0].is_one_match
}

#[test]
fn a_function_of_one_match_is_recognised() {
    let arms = "    A => 1,\n    B\n    | C => {\n        2\n    }\n    // Why.\n    _ => 3,\n";
    assert!(counts_as_one_match(&format!("match x {{\n{arms}}}\n")));
    assert!(counts_as_one_match(&format!(
        "use X::*;\nlet y = f(\n    x,\n);\nmatch y {{\n{arms}}}"
    )));
    assert!(counts_as_one_match(&format!("Ok(match f(\n    x,\n) {{\n{arms}}})\n")));
}

#[test]
fn other_functions_do_not_count_as_one_match() {
    let arms = "    A => 1,\n";
    assert!(!counts_as_one_match(&format!("g();\nmatch x {{\n{arms}}}\n")));
    assert!(!counts_as_one_match(&format!("match x {{\n{arms}}}\ng()\n")));
    assert!(!counts_as_one_match(&format!("match x {{\n{arms}}}\n.g()\n")));
    assert!(!counts_as_one_match(&format!("if x {{\n    match x {{\n    {arms}    }}\n}}\n")));
    assert!(!counts_as_one_match("x + 1\n"));
    let lets = "let y = 1;\n".repeat(MAX_LINES_BEFORE_MATCH);
    assert!(counts_as_one_match(&format!("{lets}match y {{\n{arms}}}\n")));
    assert!(!counts_as_one_match(&format!("{lets}let z = y;\nmatch z {{\n{arms}}}\n")));
    let arm = |lines: usize| format!("    A => {{\n{}    }}\n", "        g();\n".repeat(lines - 2));
    let long = arm(MAX_ARM_LINES);
    assert!(counts_as_one_match(&format!("match x {{\n{arms}{long}{arms}}}\n")));
    let longer = arm(MAX_ARM_LINES + 1);
    assert!(!counts_as_one_match(&format!("match x {{\n{arms}{longer}{arms}}}\n")));
}
