//! A reader of Rust sources that separates the texts for people from the code.

/// A text for people: a comment, or the content of a string literal.
#[derive(Debug, PartialEq)]
pub struct Prose {
    pub kind: Kind,
    /// The text without comment markers, with escapes decoded.
    pub text: String,
    /// The offsets at which a line of the source begins, each with its number from 1.
    lines: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Comment,
    /// A comment that documents an item or a module.
    Doc,
    Literal,
}

/// A source, separated.
pub struct Separated {
    /// Comments and string literals in their order. Consecutive line comments are one text.
    pub prose: Vec<Prose>,
    /// The source with spaces in place of comments and of the content of literals. Lines and
    /// columns stay the same.
    pub code: String,
}

impl Prose {
    pub fn new(kind: Kind, line: usize) -> Prose {
        Prose { kind, text: String::new(), lines: vec![(0, line)] }
    }

    /// Creates the text of a Markdown page, which has no code to separate.
    pub fn page(text: &str) -> Prose {
        let mut page = Prose::new(Kind::Comment, 1);
        for (index, line) in text.lines().enumerate() {
            page.start_line(index + 1);
            page.text.push_str(line);
        }
        page
    }

    /// Returns the number of the source line at this offset of the text.
    pub fn line_at(&self, offset: usize) -> usize {
        let after = self.lines.partition_point(|(start, _)| *start <= offset);
        self.lines[after - 1].1
    }

    fn start_line(&mut self, line: usize) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.lines.push((self.text.len(), line));
    }
}

/// Separates a source.
pub fn separate(source: &str) -> Separated {
    let mut reader = Reader {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        prose: Vec::new(),
        code: String::with_capacity(source.len()),
        comment_end: None,
    };
    reader.read();
    Separated { prose: reader.prose, code: reader.code }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    prose: Vec<Prose>,
    code: String,
    /// The position after the last line comment, while only whitespace has followed it.
    comment_end: Option<usize>,
}

impl Reader {
    fn read(&mut self) {
        while let Some(char) = self.peek(0) {
            match (char, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                _ if is_word(char) => self.word(),
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Moves past a character and leaves it in the code.
    fn keep(&mut self) {
        let char = self.chars[self.at];
        self.code.push(char);
        self.line += usize::from(char == '\n');
        self.at += 1;
        if !char.is_whitespace() {
            self.comment_end = None;
        }
    }

    /// Moves past a character and puts a space into the code, or keeps a line break.
    fn blank(&mut self) -> char {
        let char = self.chars[self.at];
        self.code.push(if char == '\n' { '\n' } else { ' ' });
        self.line += usize::from(char == '\n');
        self.at += 1;
        char
    }

    fn blank_many(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.blank();
        });
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, char)| self.peek(ahead) == Some(char))
    }

    fn line_comment(&mut self) {
        let is_doc =
            self.starts_with("//!") || (self.starts_with("///") && !self.starts_with("////"));
        let kind = if is_doc { Kind::Doc } else { Kind::Comment };
        if !self.continues(kind) {
            self.prose.push(Prose::new(kind, self.line));
        }
        let line = self.line;
        self.blank_many(if is_doc { 3 } else { 2 });
        if self.peek(0) == Some(' ') {
            self.blank();
        }
        let mut text = String::new();
        while self.peek(0).is_some_and(|char| char != '\n') {
            text.push(self.blank());
        }
        let prose = self.prose.last_mut().expect("a text was just added");
        prose.start_line(line);
        prose.text.push_str(&text);
        self.comment_end = Some(self.at);
    }

    /// Whether the comment at this position continues a line comment on the line before.
    fn continues(&self, kind: Kind) -> bool {
        let Some(end) = self.comment_end else { return false };
        let breaks = self.chars[end..self.at].iter().filter(|char| **char == '\n').count();
        breaks == 1 && self.prose.last().is_some_and(|prose| prose.kind == kind)
    }

    fn block_comment(&mut self) {
        let is_doc = self.starts_with("/*!")
            || (self.starts_with("/**") && !self.starts_with("/***") && !self.starts_with("/**/"));
        let mut prose = Prose::new(if is_doc { Kind::Doc } else { Kind::Comment }, self.line);
        self.blank_many(if is_doc { 3 } else { 2 });
        let mut depth = 1;
        while depth > 0 && self.peek(0).is_some() {
            if self.starts_with("/*") {
                depth += 1;
                self.blank_many(2);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.blank_many(2);
            } else {
                self.put(&mut prose);
            }
        }
        self.prose.push(prose);
        self.comment_end = None;
    }

    /// Moves a character of the source into a text.
    fn put(&mut self, prose: &mut Prose) {
        let char = self.blank();
        prose.text.push(char);
        if char == '\n' {
            prose.lines.push((prose.text.len(), self.line));
        }
    }

    /// Reads an identifier or a number, or the prefix of a literal.
    fn word(&mut self) {
        let mut word = String::new();
        while let Some(char) = self.peek(0).filter(|char| is_word(*char)) {
            word.push(char);
            self.keep();
        }
        let hashes = (0..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        match (word.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => self.raw_string(hashes),
            ("b", Some('\'')) => self.quote(),
            _ => {} // A string with escapes follows, or none.
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        let mut prose = Prose::new(Kind::Literal, self.line);
        (0..=hashes).for_each(|_| self.keep());
        let end: String = std::iter::once('"').chain((0..hashes).map(|_| '#')).collect();
        while self.peek(0).is_some() && !self.starts_with(&end) {
            self.put(&mut prose);
        }
        let rest = self.chars.len() - self.at;
        (0..rest.min(hashes + 1)).for_each(|_| self.keep());
        self.prose.push(prose);
    }

    fn string(&mut self) {
        let mut prose = Prose::new(Kind::Literal, self.line);
        self.keep();
        while let Some(char) = self.peek(0).filter(|char| *char != '"') {
            match char {
                '\\' => self.escape(&mut prose),
                _ => self.put(&mut prose),
            }
        }
        if self.peek(0).is_some() {
            self.keep();
        }
        self.prose.push(prose);
    }

    /// Reads an escape in a string with escapes.
    fn escape(&mut self, prose: &mut Prose) {
        self.blank();
        let Some(char) = self.peek(0) else { return };
        self.blank();
        match char {
            '\n' => {
                while self.peek(0).is_some_and(char::is_whitespace) {
                    self.blank();
                }
                prose.lines.push((prose.text.len(), self.line));
            }
            'n' => prose.text.push('\n'),
            't' | 'r' | '0' => prose.text.push(' '),
            'x' => {
                let digits: String = self.chars.iter().skip(self.at).take(2).collect();
                self.blank_many(digits.len());
                prose.text.push(char_of(&digits));
            }
            'u' => {
                let rest = self.chars.iter().skip(self.at);
                let digits: String = rest.take_while(|char| **char != '}').collect();
                self.blank_many(digits.chars().count() + 1);
                prose.text.push(char_of(digits.trim_start_matches('{')));
            }
            other => prose.text.push(other),
        }
    }

    /// Reads a character literal, or the quote before the name of a lifetime.
    fn quote(&mut self) {
        let is_literal = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.keep();
        if !is_literal {
            return;
        }
        if self.peek(0) == Some('\\') {
            self.blank();
        }
        self.blank();
        while self.peek(0).is_some_and(|char| char != '\'') {
            self.blank();
        }
        if self.peek(0).is_some() {
            self.keep();
        }
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn char_of(digits: &str) -> char {
    let number = u32::from_str_radix(&digits.replace('_', ""), 16).ok();
    number.and_then(char::from_u32).unwrap_or(' ')
}

/// Replaces the code in a text by backticks: fenced blocks, spans between backticks, targets of
/// links, and addresses. The text keeps its length and its lines.
pub fn without_code(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut fence = None;
    let mut paragraph = String::new();
    for line in text.split_inclusive('\n') {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        if fence.is_some() || marker.is_some() {
            prose += &without_spans(&std::mem::take(&mut paragraph));
            prose += &covered(line);
            fence = match (fence, marker) {
                (None, marker) => marker,
                (open, marker) if open == marker => None,
                (open, _) => open,
            };
        } else if start.is_empty() {
            prose += &without_spans(&std::mem::take(&mut paragraph));
            prose += line;
        } else {
            paragraph += line;
        }
    }
    prose + &without_spans(&paragraph)
}

/// Replaces the code in one paragraph.
fn without_spans(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['`', ']', ':']) {
        prose += &rest[..start];
        rest = &rest[start..];
        let length = match rest.as_bytes()[0] {
            b'`' => span_length(rest),
            b']' if rest.starts_with("](") => rest.find(')').map(|end| end + 1),
            b':' if rest.starts_with("://") => {
                Some(rest.find(char::is_whitespace).unwrap_or(rest.len()))
            }
            _ => None,
        };
        let length = length.unwrap_or(1);
        prose += &if length == 1 { rest[..1].to_owned() } else { covered(&rest[..length]) };
        rest = &rest[length..];
    }
    prose + rest
}

/// Returns the length of the code span at the start of the text, with its backticks.
fn span_length(text: &str) -> Option<usize> {
    let ticks = text.len() - text.trim_start_matches('`').len();
    let mut at = ticks;
    loop {
        let start = at + text[at..].find('`')?;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        at = start + run;
        if run == ticks {
            return Some(at);
        }
    }
}

fn covered(code: &str) -> String {
    let cover = |byte: u8| if byte == b'\n' { '\n' } else { '`' };
    code.bytes().map(cover).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<(Kind, String, usize)> {
        let prose = separate(source).prose.into_iter();
        prose.map(|prose| (prose.kind, prose.text.clone(), prose.lines[0].1)).collect()
    }

    fn literals(source: &str) -> Vec<String> {
        texts(source).into_iter().map(|(_, text, _)| text).collect()
    }

    #[test]
    fn line_comments_on_consecutive_lines_are_one_text() {
        let source = "//! Head,\n//! two lines.\n\n/// Doc.\n// Note,\n// on.\nfn f() {} // End.\n\
                      // New?\n//// Line.\n";
        let expected = [
            (Kind::Doc, "Head,\ntwo lines.", 1),
            (Kind::Doc, "Doc.", 4),
            (Kind::Comment, "Note,\non.", 5),
            (Kind::Comment, "End.\nNew?\n// Line.", 7),
        ];
        assert_eq!(texts(source), expected.map(|(kind, text, at)| (kind, text.to_owned(), at)));
        let prose = &separate(source).prose[3];
        let lines = ["End", "New", "Line"].map(|word| prose.text.find(word).expect("a word"));
        assert_eq!(lines.map(|offset| prose.line_at(offset)), [7, 8, 9]);
    }

    #[test]
    fn block_comments_are_nested() {
        let found = texts("/* a /* b */\n c */ x /** Doc. */ y /*! Head. */ /**/ /*** d */");
        let expected = [
            (Kind::Comment, " a  b \n c ", 1),
            (Kind::Doc, " Doc. ", 2),
            (Kind::Doc, " Head. ", 2),
            (Kind::Comment, "", 2),
            (Kind::Comment, "** d ", 2),
        ];
        assert_eq!(found, expected.map(|(kind, text, line)| (kind, text.to_owned(), line)));
    }

    #[test]
    fn strings_of_every_form_are_read_and_decoded() {
        assert_eq!(
            literals(r#"f("a \"b\" \\", "// no comment", b"c", c"d")"#),
            ["a \"b\" \\", "// no comment", "c", "d"]
        );
        assert_eq!(
            literals("x(r\"a\\\", r#\"b \" c\"#, br##\"d \"# e\"##)"),
            ["a\\", "b \" c", "d \"# e"]
        );
        assert_eq!(literals("\"one \\\n    two\\n\\x41\\u{00e9}\""), ["one two\nA\u{e9}"]);
        let prose = &separate("\n\"one \\\n    two\"").prose[0];
        assert_eq!((prose.line_at(0), prose.line_at(4)), (2, 3));
    }

    #[test]
    fn characters_lifetimes_and_raw_identifiers_start_no_string() {
        let source = "fn f<'a>(x: &'a str) { '\"'; b'\"'; '\\''; '\\u{22}'; 'x: loop {} r#fn }";
        assert_eq!(literals(source), [""; 0]);
        assert_eq!(literals("let b = 'b'; for r in x { \"s\" }"), ["s"]);
    }

    #[test]
    fn the_code_keeps_its_lines_and_columns() {
        let source = "a(\"b\\n\", 'c'); // d\n/* e\n */ f(r\"g\") /// h";
        let code = separate(source).code;
        assert_eq!(code, "a(\"   \", ' ');     \n    \n    f(r\" \")      ");
        assert_eq!(code.chars().count(), source.chars().count());
    }

    #[test]
    fn code_in_a_text_is_covered() {
        assert_eq!(without_code("a `b c` d ``e ` f`` g"), "a ````` d ````````` g");
        assert_eq!(without_code("a\n```sh\nb\n```\nc"), "a\n`````\n`\n```\nc");
        assert_eq!(without_code("[a](b) https://c.d e"), "[a```` https`````` e");
        assert_eq!(without_code("one ` alone\n\nand ` more"), "one ` alone\n\nand ` more");
    }
}
