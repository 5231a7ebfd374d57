//! A file of lines that is read more than once, one line in memory at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::outcome::Failed;

/// The longest line: a payload of 1 MiB, however it is escaped, and the rest of its line.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// A line's number from 1, and its text or what is wrong with it.
pub type Line = (usize, Result<String, String>);

/// A file of lines. Standard input and pipes are copied to a file without a name first.
pub struct Lines {
    name: String,
    reader: BufReader<File>,
    line: usize,
}

impl Lines {
    /// Opens a file; - is standard input.
    pub fn open(path: &Path) -> Result<Self, Failed> {
        let (name, file) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), copy(io::stdin().lock()))
        } else {
            (path.display().to_string(), File::open(path).and_then(seekable))
        };
        let file = file.map_err(|error| Failed::usage(format!("{name}: {error}")))?;
        Ok(Self { name, reader: BufReader::new(file), line: 0 })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts again with the first line.
    pub fn rewind(&mut self) -> Result<(), Failed> {
        self.line = 0;
        self.reader.rewind().map_err(|error| Failed::runtime(format!("{}: {error}", self.name)))
    }

    /// The next line that is not blank.
    pub fn next(&mut self) -> Result<Option<Line>, Failed> {
        loop {
            let Some(bytes) = self.read_line()? else { return Ok(None) };
            let text = if bytes.len() as u64 > MAX_LINE_BYTES {
                Err(format!("it is longer than {MAX_LINE_BYTES} bytes"))
            } else {
                String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
            };
            match text {
                Ok(text) if text.trim().is_empty() => {}
                text => return Ok(Some((self.line, text))),
            }
        }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        let wrong = |error| Failed::runtime(format!("{}: {error}", self.name));
        let mut bytes = Vec::new();
        let mut part = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
        if part.read_until(b'\n', &mut bytes).map_err(wrong)? == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 > MAX_LINE_BYTES && bytes.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n').map_err(wrong)?;
        }
        self.line += 1;
        // Some editors begin a file with a byte order mark.
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Ok(Some(bytes))
    }
}

fn seekable(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { copy(file) }
}

fn copy(mut from: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut from, &mut file)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    type Seen = Vec<(usize, bool)>;

    fn numbers(lines: &mut Lines) -> Seen {
        std::iter::from_fn(|| lines.next().expect("it reads"))
            .map(|(line, text)| (line, text.is_ok()))
            .collect()
    }

    #[test]
    fn lines_keep_their_numbers_and_a_bad_one_spoils_no_other() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"\xef\xbb\xbf{}\n\n  \n\xff\n").expect("it is written");
        file.write_all(&vec![b'x'; MAX_LINE_BYTES as usize + 10]).expect("it is written");
        file.write_all(b"\nlast").expect("it is written");
        let mut lines = Lines::open(file.path()).expect("it opens");
        let expected = vec![(1, true), (4, false), (5, false), (6, true)];
        assert_eq!(numbers(&mut lines), expected);
        lines.rewind().expect("it rewinds");
        assert_eq!(lines.next().expect("it reads"), Some((1, Ok("{}\n".to_owned()))));
        assert_eq!(numbers(&mut lines), expected[1..]);
    }
}
