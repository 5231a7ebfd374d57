//! The words and openings that texts for people avoid, from `words.txt`.

use crate::text::{Kind, Prose, separate, without_code};
use crate::{THIS_FOLDER, report, sources};

/// The entries: one on each line, with its kind and the replacement or the reason.
const LIST: &str = include_str!("words.txt");

#[test]
fn texts_avoid_the_listed_words_and_openings() {
    let list = List::parse(LIST);
    let mut broken = Vec::new();
    for source in sources() {
        let prose = match source.path.rsplit('.').next() {
            Some("md") => vec![Prose::page(&source.text)],
            Some("rs") => separate(&source.text).prose,
            _ => continue,
        };
        let found = prose.iter().flat_map(|prose| list.violations(prose));
        broken.extend(found.map(|(line, text)| format!("{}:{line}: {text}", source.path)));
    }
    report(&format!("reword these texts; {THIS_FOLDER}/words.txt lists the entries"), broken);
}

/// The parsed list.
struct List {
    entries: Vec<Entry>,
}

struct Entry {
    words: Vec<String>,
    kind: EntryKind,
    advice: String,
}

#[derive(Clone, Copy, PartialEq)]
enum EntryKind {
    /// A word or a phrase that is avoided everywhere.
    Word,
    /// A phrase that is avoided at the end of a clause.
    End,
    /// The start of a doc summary that is avoided.
    Opening,
    /// A phrase that is allowed although it contains a word of the list.
    Except,
}

impl List {
    fn parse(text: &str) -> List {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|line| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [entry, kind, advice] = fields[..] else { panic!("three fields in {line:?}") };
            assert!(!advice.is_empty(), "no advice in {line:?}");
            let kind = match kind {
                "word" => EntryKind::Word,
                "end" => EntryKind::End,
                "opening" => EntryKind::Opening,
                "except" => EntryKind::Except,
                other => panic!("unknown kind {other:?} in {line:?}"),
            };
            let words = entry.split_whitespace().map(str::to_lowercase).collect();
            Entry { words, kind, advice: advice.to_owned() }
        });
        List { entries: entries.collect() }
    }

    /// Returns the violations in a text: the line and the entry with its advice.
    fn violations(&self, prose: &Prose) -> Vec<(usize, String)> {
        if prose.kind == Kind::Literal && !prose.text.trim().contains(char::is_whitespace) {
            return Vec::new(); // A name, not a sentence.
        }
        let text = without_code(&prose.text);
        let words = read_words(&text);
        let mut hits = Vec::new();
        for entry in &self.entries {
            let length = entry.words.len();
            let positions = match entry.kind {
                EntryKind::Except => 0..0,
                EntryKind::Word | EntryKind::End => 0..words.len(),
                EntryKind::Opening => 0..usize::from(begins_with_a_word(prose, &text)),
            };
            let ends = |at: &usize| words.get(at + length).is_none_or(|next| !next.follows);
            let positions = positions.filter(|at| entry.kind != EntryKind::End || ends(at));
            for at in positions.filter(|at| is_phrase(&words[*at..], &entry.words)) {
                if entry.kind == EntryKind::Opening || !self.is_excepted(&words, at, length) {
                    let line = prose.line_at(words[at].start);
                    hits.push((line, format!("{}: {}", entry.words.join(" "), entry.advice)));
                }
            }
        }
        hits.sort();
        hits
    }

    /// Whether the words from `at` on are part of an allowed phrase.
    fn is_excepted(&self, words: &[Word], at: usize, length: usize) -> bool {
        let exceptions = self.entries.iter().filter(|entry| entry.kind == EntryKind::Except);
        exceptions.into_iter().any(|entry| {
            let first = (at + length).saturating_sub(entry.words.len());
            (first..=at).any(|start| is_phrase(&words[start..], &entry.words))
        })
    }
}

/// Whether the text is the documentation of an item, and begins with a word and not with code.
fn begins_with_a_word(prose: &Prose, text: &str) -> bool {
    prose.kind == Kind::Doc && text.trim_start().starts_with(char::is_alphabetic)
}

/// A word of a text, in lower case.
struct Word {
    text: String,
    start: usize,
    /// Whether only whitespace separates it from the word before.
    follows: bool,
}

/// Reads the words of a text. Hyphens and apostrophes within a word belong to it, and underscores.
fn read_words(text: &str) -> Vec<Word> {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let mut words = Vec::new();
    let mut end = 0;
    let mut rest = text.char_indices().peekable();
    while let Some((start, char)) = rest.next() {
        if !is_word(char) {
            continue;
        }
        let mut word = String::from(char);
        while let Some((at, char)) = rest.peek().copied() {
            let next = text[at + char.len_utf8()..].chars().next();
            let joins = "-'\u{2019}".contains(char) && next.is_some_and(is_word);
            if !is_word(char) && !joins {
                break;
            }
            word.push(char);
            rest.next();
        }
        let follows = text[end..start].chars().all(char::is_whitespace);
        end = start + word.len();
        words.push(Word { text: word.to_lowercase(), start, follows });
    }
    words
}

/// Whether the words begin with the phrase.
fn is_phrase(words: &[Word], phrase: &[String]) -> bool {
    words.len() >= phrase.len()
        && words.iter().zip(phrase).all(|(word, expected)| word.text == *expected)
        && words[..phrase.len()].iter().skip(1).all(|word| word.follows)
}

// ------------------------------------------------------------------------------------- the tests

/// Checks sources against a list of invented words.
fn violations(source: &str) -> Vec<String> {
    let list = List::parse(
        "# A comment.\n\
         blorb | word | say blurb\n\
         zig zag | word | say turn\n\
         then zig zag | except | plain English\n\
         round and round | end | say repeatedly\n\
         Zap | opening | begin with a verb\n",
    );
    let prose = separate(source).prose;
    let found = prose.iter().flat_map(|prose| list.violations(prose));
    found.map(|(line, text)| format!("{line}: {}", &text[..text.find(':').unwrap()])).collect()
}

#[test]
fn words_are_found_in_comments_and_in_sentences_of_literals() {
    assert_eq!(violations("// A Blorb,\n// and a blorb.\n"), ["1: blorb", "2: blorb"]);
    assert_eq!(
        violations("x(\"blorb\", \"a blorb\", \"a \\\n   blorb\")"),
        ["1: blorb", "2: blorb"]
    );
    assert_eq!(
        violations("fn blorb() {} /* blorb */ mod t { r#\"say \"blorb\"\"# }"),
        ["1: blorb", "1: blorb"]
    );
}

#[test]
fn only_whole_words_outside_of_code_are_found() {
    assert_eq!(violations("// blorbs, a_blorb, re-blorb, `blorb`, [x](blorb)\n"), [""; 0]);
    assert_eq!(violations("/// ```\n/// blorb\n/// ```\n/// blorb's blorb"), ["4: blorb"]);
}

#[test]
fn a_phrase_may_cross_a_line_and_an_exception_allows_it() {
    assert_eq!(violations("// They zig\n// zag here."), ["1: zig zag"]);
    assert_eq!(violations("// Then zig zag. Zig, zag. Zig `x` zag."), [""; 0]);
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
    assert_eq!(violations("// Zap it.\n/// `Zap` it.\n/// It: Zap.\n\"Zap it\""), [""; 0]);
}

#[test]
fn the_list_has_each_entry_once_and_no_idle_exception() {
    let entries = List::parse(LIST).entries;
    let mut sorted: Vec<&[String]> = entries.iter().map(|entry| &entry.words[..]).collect();
    sorted.sort();
    assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "an entry is listed twice");
    let (exceptions, banned): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.kind == EntryKind::Except);
    for exception in exceptions {
        let is_part = |entry: &&Entry| {
            exception.words.windows(entry.words.len()).any(|words| *words == entry.words[..])
        };
        assert!(banned.iter().any(is_part), "{:?} allows nothing", exception.words);
    }
}
