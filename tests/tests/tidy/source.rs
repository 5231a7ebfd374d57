//! The text files of the workspace, each read and split into tokens once.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every text file of the workspace in the order of paths, without build output and git's files.
pub static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut found = Vec::new();
    let mut pending = vec![root()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("folders of the workspace can be listed") {
            let path = entry.expect("entries can be read").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                pending.extend((name != "target" && name != ".git").then_some(path));
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root()).expect("the walk stays below the root");
                found.push(Source::new(&relative.to_string_lossy().replace('\\', "/"), &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|source| source.path == "tests/tests/tidy/source.rs"));
    found
});

pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace root exists")
}

/// Returns the Rust sources of the workspace.
pub fn rust() -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().filter(|source| source.path.ends_with(".rs"))
}

/// A text file. Its path is relative to the root, with slashes.
pub struct Source {
    pub path: String,
    pub text: String,
    /// The tokens of Rust code, in their order. A bracket is a token, and so is a doc comment.
    pub tokens: Vec<Token>,
    /// The items with the attribute `#[cfg(test)]`.
    pub tests: Vec<Range<usize>>,
}

pub struct Token {
    /// The offsets in the text.
    pub range: Range<usize>,
    /// The bracket that opens the group around the token.
    pub parent: Option<usize>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let (path, text) = (path.to_owned(), text.to_owned());
        let mut source = Source { path, text, tokens: Vec::new(), tests: Vec::new() };
        if source.path.ends_with(".rs") {
            let stream = source.text.parse();
            let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", source.path));
            source.add(stream, None);
            let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
            let tests = (0..source.tokens.len())
                .filter(|at| (*at..).zip(marker).all(|(at, part)| source.token(at) == part))
                .map(|at| source.range(at, source.item_end(at)));
            source.tests = tests.collect();
        }
        source
    }

    fn add(&mut self, stream: TokenStream, parent: Option<usize>) {
        for tree in stream {
            let range = tree.span().byte_range();
            let end = self.tokens.last().map_or(0, |token| token.range.end);
            if range.start < end {
                continue; // A doc comment is an attribute whose tokens all have its range.
            }
            match tree {
                TokenTree::Group(group) if group.delimiter() != Delimiter::None => {
                    let open = self.tokens.len();
                    self.tokens.push(Token { range: group.span_open().byte_range(), parent });
                    self.add(group.stream(), Some(open));
                    self.tokens.push(Token { range: group.span_close().byte_range(), parent });
                }
                _ if range.start == end && self.text[..range.end].ends_with("::") => {
                    self.tokens.last_mut().expect("a colon is before").range.end = range.end;
                }
                _ => self.tokens.push(Token { range, parent }),
            }
        }
    }

    /// Returns the text of a token; it is empty after the last one.
    pub fn token(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &self.text[token.range.clone()])
    }

    /// Returns the offsets from the start of the first token to the end of the last one.
    pub fn range(&self, first: usize, last: usize) -> Range<usize> {
        self.tokens[first].range.start..self.tokens[last].range.end
    }

    /// Returns the tokens from `start` on that are in no deeper bracket.
    pub fn siblings(&self, start: usize) -> impl Iterator<Item = usize> {
        let parent = self.tokens[start].parent;
        (start..self.tokens.len()).filter(move |at| self.tokens[*at].parent == parent)
    }

    /// Returns the token after the header of the item that has the token `start`: `{` or `;`.
    pub fn header_end(&self, start: usize) -> usize {
        let mut siblings = self.siblings(start);
        let end = siblings.find(|at| ["{", ";"].contains(&self.token(*at)));
        end.unwrap_or(self.tokens.len() - 1)
    }

    /// Returns the last token of the item that has the token `start`.
    pub fn item_end(&self, start: usize) -> usize {
        let end = self.header_end(start);
        let close = self.siblings(end).nth(1).filter(|_| self.token(end) == "{");
        close.unwrap_or(end)
    }

    /// Returns the tokens that belong neither to tests nor to comments.
    pub fn code(&self) -> impl Iterator<Item = usize> {
        (0..self.tokens.len()).filter(|at| {
            !self.is_test(self.tokens[*at].range.start) && !self.token(*at).starts_with("//")
        })
    }

    pub fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// Returns the path and the number of the line at this offset.
    pub fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path, self.text[..offset].matches('\n').count() + 1)
    }
}

#[test]
fn sources_are_split_into_tokens_and_tests() {
    let text =
        "/// é\nfn f(a: b::C) {}\n#[cfg(test)]\n#[x]\nmod tests {\n    ;\n}\nconst D: [u8; 1] = e;";
    let source = Source::new("a.rs", text);
    let code: Vec<&str> = source.code().map(|at| source.token(at)).collect();
    assert_eq!(code[..11], ["fn", "f", "(", "a", ":", "b", "::", "C", ")", "{", "}"]);
    assert_eq!(code[11..].concat(), "constD:[u8;1]=e;");
    let tests: Vec<&str> = source.tests.iter().map(|range| &text[range.clone()]).collect();
    assert_eq!(tests, ["#[cfg(test)]\n#[x]\nmod tests {\n    ;\n}"]);
}
