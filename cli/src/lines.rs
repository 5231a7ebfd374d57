//! Input files with one execution per line. A file is read twice if needed, with one line in memory
//! at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use crate::exit::CliError;

/// The longest line: an escaped payload of 1 MiB and the other fields.
const MAX_LINE_BYTES: u64 = 8 << 20;
/// The most bad lines that are reported.
const MAX_PROBLEMS: usize = 100;

/// A line's number from 1, and its text or the problem with it.
pub type Line = (usize, Result<String, String>);

/// An input file. Standard input and pipes are copied to an unnamed file first.
pub struct Lines {
    name: String,
    reader: BufReader<File>,
    line: usize,
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let (name, file) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), copy(io::stdin().lock()))
        } else {
            (path.display().to_string(), File::open(path).and_then(seekable))
        };
        let file = file.map_err(|error| CliError::usage(format!("cannot open {name}: {error}")))?;
        Ok(Self { name, reader: BufReader::new(file), line: 0 })
    }

    /// The name of the file for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Goes back to the first line.
    pub fn rewind(&mut self) -> Result<(), CliError> {
        self.line = 0;
        self.reader.rewind().map_err(|error| self.error(&error))
    }

    /// Parses all remaining lines. If some are bad, reports them together.
    pub fn parse_all<T>(
        &mut self,
        mut parse: impl FnMut(usize, String) -> Result<T, String>,
    ) -> Result<Vec<T>, CliError> {
        let (mut parsed, mut bad, mut problems) = (Vec::new(), 0, Vec::new());
        while let Some((line, text)) = self.next()? {
            match text.and_then(|text| parse(line, text)) {
                Ok(item) => parsed.push(item),
                Err(problem) => {
                    bad += 1;
                    if bad <= MAX_PROBLEMS {
                        problems.push(format!("{}:{line}: {problem}", self.name));
                    }
                }
            }
        }
        if bad > MAX_PROBLEMS {
            problems.push(format!("and {} more", bad - MAX_PROBLEMS));
        }
        if bad > 0 {
            problems.push("nothing was submitted: fix these lines and try again".to_owned());
        } else if parsed.is_empty() {
            problems.push(format!("{}: the file contains no executions", self.name));
        }
        if problems.is_empty() { Ok(parsed) } else { Err(CliError::usage(problems.join("\n"))) }
    }

    /// The next line that is not blank, without its line end.
    pub fn next(&mut self) -> Result<Option<Line>, CliError> {
        loop {
            let Some(bytes) = self.read_line()? else { return Ok(None) };
            let text = if bytes.len() as u64 > MAX_LINE_BYTES {
                Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"))
            } else {
                String::from_utf8(bytes).map_err(|_| "the line is not UTF-8 text".to_owned())
            };
            match text {
                Ok(text) if text.trim().is_empty() => {}
                text => return Ok(Some((self.line, text))),
            }
        }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let mut bytes = Vec::new();
        let mut part = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
        let read = part.read_until(b'\n', &mut bytes);
        if read.map_err(|error| self.error(&error))? == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 > MAX_LINE_BYTES && bytes.last() != Some(&b'\n') {
            let skipped = self.reader.skip_until(b'\n');
            skipped.map_err(|error| self.error(&error))?;
        }
        self.line += 1;
        // Some editors write a byte order mark at the start of a file.
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Some(bytes))
    }

    fn error(&self, error: &io::Error) -> CliError {
        CliError::runtime(format!("cannot read {}: {error}", self.name))
    }
}

fn seekable(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { copy(file) }
}

fn copy(mut source: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut source, &mut file)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn numbers(lines: &mut Lines) -> Vec<(usize, bool)> {
        std::iter::from_fn(|| lines.next().expect("the file can be read"))
            .map(|(line, text)| (line, text.is_ok()))
            .collect()
    }

    #[test]
    fn lines_keep_their_numbers_after_blank_and_bad_lines() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"\xef\xbb\xbf{}\n\n  \n\xff\n").expect("the file can be written");
        file.write_all(&vec![b'x'; MAX_LINE_BYTES as usize + 10]).expect("the file can be written");
        file.write_all(b"\nlast").expect("the file can be written");
        let mut lines = Lines::open(file.path()).expect("the file can be opened");
        let expected = vec![(1, true), (4, false), (5, false), (6, true)];
        assert_eq!(numbers(&mut lines), expected);
        lines.rewind().expect("the file can be rewound");
        let first = lines.next().expect("the file can be read");
        assert_eq!(first, Some((1, Ok("{}".to_owned()))));
        assert_eq!(numbers(&mut lines), expected[1..]);
    }
}
