//! The commands that `ff` advises: they work as they are pasted into the same shell.

use std::fmt::Display;
use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;
use ff_sdk::redacted_url;

/// The options of this command line that select the store, each after a space.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// Keeps the options of this command line that select the store and the namespace, for the commands
/// that are advised. Values from the environment and from the config file hold there anyway.
pub fn remember(matches: &ArgMatches) {
    let mut deepest = matches;
    while let Some((_, matches)) = deepest.subcommand() {
        deepest = matches;
    }
    OPTIONS.get_or_init(|| options(deepest));
}

fn options(matches: &ArgMatches) -> String {
    let mut options = String::new();
    for name in ["profile", "backend", "namespace"] {
        let is_known = matches.ids().any(|id| id.as_str() == name);
        if !is_known || matches.value_source(name) != Some(ValueSource::CommandLine) {
            continue;
        }
        let value = matches.get_raw(name).and_then(|mut values| values.next());
        let value = value.unwrap_or_default().to_string_lossy();
        // A password stays out of logs: the reader has to add it again.
        let value = if name == "backend" { redacted_url(&value) } else { value.into_owned() };
        options += &format!(" --{name} {}", quoted(value));
    }
    options
}

/// A command of `ff`, with the options of this one that select the store.
pub fn ff(command: impl Display) -> String {
    format!("ff {command}{}", OPTIONS.get().map_or("", String::as_str))
}

/// The command that starts a worker for such executions.
pub fn work<'a>(
    lane: impl Display,
    kind: impl Display,
    requires: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut command =
        format!("work --exec COMMAND --lane {} --kind {}", quoted(lane), quoted(kind));
    for token in requires {
        command += &format!(" --capability {}", quoted(token));
    }
    ff(command)
}

/// A text as one argument of a shell.
pub fn quoted(text: impl Display) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@=+%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory;

    use crate::args::Cli;

    fn options_of(line: &[&str]) -> String {
        let matches = Cli::command().try_get_matches_from(line).expect("a command line");
        let mut deepest = &matches;
        while let Some((_, matches)) = deepest.subcommand() {
            deepest = matches;
        }
        options(deepest)
    }

    #[test]
    fn advised_commands_have_the_options_that_were_given_and_no_password() {
        let url = "valkey://me:secret@host:1";
        let id = "{fp:1}:00000000-0000-0000-0000-000000000007";
        for (line, expected) in [
            (&["ff", "lanes"][..], ""),
            (&["ff", "lanes", "--namespace", "a;b"], " --namespace 'a;b'"),
            (&["ff", "--profile", "p", "lanes", "pause", "mail"], " --profile p"),
            (&["ff", "lanes", "pause", "mail", "--namespace", "shop"], " --namespace shop"),
            (
                &["ff", "cancel", id, "--backend", url, "--namespace=shop"],
                " --backend 'valkey://***@host:1' --namespace shop",
            ),
            (&["ff", "man"], ""),
        ] {
            assert_eq!(options_of(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_worker_is_started_for_the_lane_the_kind_and_the_capabilities() {
        let command = work("default", "ok", ["eu", "it's"]);
        let expected = r"ff work --exec COMMAND --lane default --kind ok --capability eu";
        assert_eq!(command, format!(r"{expected} --capability 'it'\''s'"));
    }
}
