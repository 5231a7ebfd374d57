//! Reading tokens and secrets from a file, the environment or standard input. They are never
//! arguments, because other users see arguments in the list of processes. No message repeats them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::exit::CliError;

/// The most bytes of a token or a secret.
const MAX_BYTES: u64 = 4_096;

/// Reads the token or secret in a file.
pub fn from_file(what: &str, path: &Path) -> Result<String, CliError> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|error| CliError::usage(format!("cannot open {name}: {error}")))?;
    read(what, &name, file)
}

/// Reads the token or secret on standard input.
pub fn from_stdin(what: &str) -> Result<String, CliError> {
    read(what, "standard input", std::io::stdin().lock())
}

/// Reads the token or secret in an environment variable, if it is set.
pub fn from_environment(what: &str, name: &str) -> Result<Option<String>, CliError> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    read(what, name, text.as_encoded_bytes()).map(Some)
}

/// Reads the text and trims the white space around it.
fn read(what: &str, name: &str, source: impl Read) -> Result<String, CliError> {
    let error = |problem: String| CliError::usage(format!("{name}: {problem}"));
    let mut bytes = Vec::new();
    let read = source.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|problem| error(problem.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(error(format!("this is not a {what}: it is longer than {MAX_BYTES} bytes")));
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Err(_) => Err(error(format!("this is not a {what}: it is not UTF-8 text"))),
        Ok("") => Err(error(format!("expected a {what}, but it is empty"))),
        Ok(text) => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_trimmed_and_no_message_repeats_the_text() {
        assert_eq!(read("token", "x", &b" k1:00\r\n"[..]).expect("a token"), "k1:00");
        let long = vec![b'7'; 5_000];
        for bytes in [&b" \n"[..], b"", b"7777\xff", &long] {
            let error = read("token", "somewhere", bytes).expect_err("not a token");
            let message = error.message();
            assert!(message.starts_with("somewhere: ") && !message.contains("777"), "{message}");
        }
    }
}
