//! Items, by their indentation.

/// Every function with its length in lines, from its signature to its closing brace. The sources
/// are formatted, so an item ends where a brace closes at its own indentation.
pub fn function_lengths(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = function_name(line) {
            found.push((name, item_end(&lines, index) - index + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
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

/// The last line of the item that starts on line `start`.
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

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub fn without_comment(line: &str) -> &str {
    let is_comment = line.trim_start().starts_with("//");
    if is_comment { "" } else { line.split(" // ").next().unwrap_or_default() }
}

/// The text without its `#[cfg(test)]` items, and these items.
pub fn split_tests(text: &str) -> (String, String) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut code, mut tests) = (Vec::new(), Vec::<&str>::new());
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
