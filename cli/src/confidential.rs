//! Tokens and secrets as users hand them over: in a file, in the environment or by standard input,
//! never as an argument, which others see in the list of processes. No message repeats them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::outcome::Failed;

/// No token and no secret is longer.
const MAX_BYTES: u64 = 4_096;

/// The text in a file.
pub fn in_file(what: &str, path: &Path) -> Result<String, Failed> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failed::usage(format!("{name}: {error}")))?;
    read(what, &name, file)
}

/// The text on standard input.
pub fn on_stdin(what: &str) -> Result<String, Failed> {
    read(what, "standard input", std::io::stdin().lock())
}

/// The text in a variable of the environment, if it is set.
pub fn in_environment(what: &str, name: &str) -> Result<Option<String>, Failed> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    read(what, name, text.as_encoded_bytes()).map(Some)
}

/// Blanks and line ends around it do not belong to it.
fn read(what: &str, name: &str, from: impl Read) -> Result<String, Failed> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failed::usage(format!("{name}: {error}")))?;
    let wrong = |problem: &str| Failed::usage(format!("{name}: {problem}"));
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(&format!("it is longer than {MAX_BYTES} bytes: it is no {what}")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(&format!("it is no {what}")))?;
    match text.trim() {
        "" => Err(wrong(&format!("there is no {what} in it"))),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_it_does_not_belong_to_it_and_no_message_repeats_it() {
        assert_eq!(read("token", "x", &b" k1:00\r\n"[..]).expect("a text"), "k1:00");
        let long = vec![b'7'; 5_000];
        for bytes in [&b" \n"[..], b"", b"7777\xff", &long] {
            let refused = read("token", "somewhere", bytes).expect_err("it is none");
            let said = refused.message();
            assert!(said.starts_with("somewhere: ") && !said.contains("777"), "{said}");
        }
    }
}
