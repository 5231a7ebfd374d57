//! The words and openings that texts for people avoid, from `words.txt`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::report;
use crate::source::{SOURCES, Source};

/// The entries: one on each line, with its kind and the replacement or the reason.
const LIST: &str = include_str!("words.txt");

/// The marker of a comment on each of its lines.
static MARKERS: LazyLock<Regex> = LazyLock::new(|| valid(r"(?m)^[ \t]*(//[/!]*|/\*[*!]*)"));

/// The escapes in a string that stand for whitespace.
static ESCAPES: LazyLock<Regex> = LazyLock::new(|| valid(r"\\[nrt\n]"));

/// Code in a text: fenced blocks, spans between backticks, targets of links, addresses, and words
/// with hyphens.
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    valid(
        r"(?mx) ^[\ \t]*```(?s:.*?)(^[\ \t]*```|\z) | ^[\ \t]*~~~(?s:.*?)(^[\ \t]*~~~|\z)
      | ``([^\n]|\n[\ \t]*\S)*?`` | `([^`\n]|\n[\ \t]*[^`\s])*(\n[\ \t]*)?`
      | \]\([^)]*\) | ://\S* | \w+(-\w+)+",
    )
});

#[test]
fn texts_avoid_the_listed_words_and_openings() {
    let list = List::parse(LIST);
    let broken = SOURCES.iter().flat_map(|source| list.violations(source));
    report("reword these texts; tests/tests/tidy/words.txt lists the entries", broken);
}

/// The parsed list.
struct List {
    /// The replacement or the reason of each entry.
    advice: BTreeMap<String, String>,
    phrases: Regex,
    /// The phrases that are allowed although they contain a listed one.
    exceptions: Regex,
    /// The starts of doc summaries that are avoided.
    openings: Regex,
}

impl List {
    fn parse(text: &str) -> List {
        let mut advice = BTreeMap::new();
        let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [entry, kind, reason] = fields[..] else { panic!("three fields in {line:?}") };
            assert!(["word", "end", "opening", "except"].contains(&kind), "the kind in {line:?}");
            assert!(!reason.is_empty(), "no advice in {line:?}");
            let entry = entry.to_lowercase();
            kinds.entry(kind).or_default().push(entry.replace(' ', r"\s+"));
            assert!(advice.insert(entry, reason.to_owned()).is_none(), "{line:?} is listed twice");
        }
        let any = |kind: &str| format!(r"\b({})\b", kinds[kind].join("|"));
        // A phrase is at the end of a clause if no word follows directly.
        let end = format!(r"{}\s*(?:[^\w\s]|\z)", any("end"));
        List {
            advice,
            phrases: valid(&format!("(?i){}|{end}", any("word"))),
            exceptions: valid(&format!("(?i){}", any("except"))),
            openings: valid(&format!(r"(?i)\A\s*{}", any("opening"))),
        }
    }

    /// Returns the violations in a source: the line and the entry with its advice.
    fn violations(&self, source: &Source) -> Vec<String> {
        let mut broken = Vec::new();
        for (kind, range) in prose(source) {
            let text = &source.text[range.clone()];
            let text = cover(if kind == Kind::Literal { &ESCAPES } else { &MARKERS }, text, b' ');
            if kind == Kind::Literal && !text.trim().contains(char::is_whitespace) {
                continue; // A name, not a sentence.
            }
            let text = cover(&CODE, &text, b'`');
            let opening = self.openings.captures(&text).filter(|_| kind == Kind::Doc);
            let text = cover(&self.exceptions, &text, b'`');
            for found in opening.into_iter().chain(self.phrases.captures_iter(&text)) {
                let found = found.iter().skip(1).flatten().next().expect("an entry is found");
                let words: Vec<&str> = found.as_str().split_whitespace().collect();
                let entry = words.join(" ").to_lowercase();
                let place = source.place(range.start + found.start());
                broken.push(format!("{place}: {entry}: {}", self.advice[&entry]));
            }
        }
        broken
    }
}

/// Replaces every match, so that the text keeps its length and its lines.
fn cover(regex: &Regex, text: &str, with: u8) -> String {
    let cover = |byte| char::from(if byte == b'\n' { byte } else { with });
    let cover = |found: &Captures<'_>| found[0].bytes().map(cover).collect::<String>();
    regex.replace_all(text, cover).into_owned()
}

fn valid(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

/// The kind of a text for people.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A comment, or a page.
    Comment,
    /// A comment that documents an item or a module.
    Doc,
    /// The content of a string literal.
    Literal,
}

/// Returns the texts of a source. Comments on consecutive lines are one text.
fn prose(source: &Source) -> Vec<(Kind, Range<usize>)> {
    let text = &source.text;
    if source.path.ends_with(".md") {
        return vec![(Kind::Comment, 0..text.len())];
    }
    let mut found: Vec<(Kind, Range<usize>)> = Vec::new();
    let mut end = 0; // of the token before
    let after = source.path.ends_with(".rs").then_some(text.len()..text.len());
    for range in source.tokens.iter().map(|token| token.range.clone()).chain(after) {
        let token = &text[range.clone()];
        let between = &text[end..range.start];
        let mut start = end;
        for part in between.split("\n\n") {
            if part.contains('/') {
                found.push((Kind::Comment, start..start + part.len()));
            }
            start += part.len() + 2;
        }
        if token.starts_with("//") || token.starts_with("/*") {
            match found.last_mut() {
                Some((Kind::Doc, before)) if before.end == end && !between.contains("\n\n") => {
                    before.end = range.end;
                }
                _ => found.push((Kind::Doc, range.clone())),
            }
        } else if let (Some(open), Some(close)) = (token.find('"'), token.rfind('"'))
            && open < close
        {
            found.push((Kind::Literal, range.start + open + 1..range.start + close));
        }
        end = range.end;
    }
    found
}

// ------------------------------------------------------------------------------------- the tests

/// Checks a source against a list of invented words.
fn violations(text: &str) -> Vec<String> {
    violations_in("a.rs", text)
}

fn violations_in(path: &str, text: &str) -> Vec<String> {
    let list = List::parse(
        "# A comment.\n\
         blorb | word | say blurb\n\
         zig zag | word | say turn\n\
         then zig zag | except | plain English\n\
         round and round | end | say repeatedly\n\
         Zap | opening | begin with a verb\n",
    );
    let found = list.violations(&Source::new(path, text)).into_iter();
    found.map(|text| text.split(':').skip(1).take(2).collect::<Vec<_>>().join(":")).collect()
}

#[test]
fn words_are_found_in_comments_pages_and_sentences_of_literals() {
    let twice = ["1: blorb", "2: blorb"];
    assert_eq!(violations("// A Blorb,\n// and a blorb.\n"), twice);
    assert_eq!(violations("/* /* a blorb */\n a blorb */"), twice);
    assert_eq!(violations("x(\"blorb\", \"a blorb\", \"a \\\n   blorb\")"), twice);
    assert_eq!(violations("x(\"a\\nblorb\", '\"');\nx(br##\"a \"# blorb\"##, '\"')"), twice);
    assert_eq!(violations("fn blorb() {} // blorb\nmod t { r#\"say \"blorb\"\"#; }"), twice);
    let page = "A blorb.\n\n```sh\nblorb\n\nblorb\n```\n\nOne ` alone\n\nand ` blorb.";
    assert_eq!(violations_in("a.md", page), ["1: blorb", "11: blorb"]);
}

#[test]
fn only_whole_words_outside_of_code_are_found() {
    assert_eq!(violations("// blorbs, a_blorb, re-blorb, `blorb`, [x](blorb)\n"), [""; 0]);
    assert_eq!(violations("// ``` blorb ` ```, ``a ` blorb``, https://a/blorb\n"), [""; 0]);
    assert_eq!(violations("/// ```\n/// blorb\n/// ```\n/// blorb's"), ["4: blorb"]);
}

#[test]
fn a_phrase_may_cross_a_line_and_an_exception_allows_it() {
    assert_eq!(violations("// They zig\n// zag here."), ["1: zig zag"]);
    assert_eq!(violations("/// They zig\n    /// zag here."), ["1: zig zag"]);
    assert_eq!(violations("// Then zig zag. Zig, zag. Zig `x` zag.\n\n// Zig\n\n// zag"), [""; 0]);
}

#[test]
fn a_phrase_at_the_end_of_a_clause_is_found() {
    let end = ["1: round and round"];
    assert_eq!(violations("// It goes round and round"), end);
    assert_eq!(violations("// Round and round, it goes."), end);
    assert_eq!(violations("// Round and round it goes."), [""; 0]);
}

#[test]
fn an_opening_counts_at_the_start_of_documentation_only() {
    assert_eq!(violations("/// Zap it.\nfn f() {}\n//! Zap\n"), ["1: zap", "3: zap"]);
    assert_eq!(violations("// Zap it.\n/// `Zap` it.\n/// It: Zap.\nm!(\"Zap it\");"), [""; 0]);
}

#[test]
fn the_list_has_no_idle_exception() {
    let list = List::parse(LIST);
    let lines = LIST.lines().filter(|line| line.contains("| except |"));
    let mut exceptions = lines.map(|line| line.split('|').next().unwrap_or_default());
    assert!(exceptions.all(|exception| list.phrases.is_match(exception)));
}
