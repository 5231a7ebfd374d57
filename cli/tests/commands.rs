//! The commands for a store that others see, as far as they need none: usage, help, bad input.

use std::process::{Command, Output, Stdio};

/// An id in its canonical form.
const ID: &str = "{fp:1}:00000000-0000-0000-0000-000000000001";

fn ff(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.args(arguments).env_remove("FF_BACKEND").stdin(Stdio::null());
    command.env("FF_WAITPOINT_TOKEN", "k1:00");
    command.output().expect("ff runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The commands that need a store which others see.
fn commands() -> [Vec<&'static str>; 13] {
    [
        vec!["submit", "-"],
        vec!["work", "--exec", "true"],
        vec!["describe", ID],
        vec!["list"],
        vec!["history", ID],
        vec!["watch"],
        vec!["tail", ID],
        vec!["waitpoints", ID],
        vec!["signal", ID, "approval", "approved"],
        vec!["resume", ID],
        vec!["cancel", ID],
        vec!["replay", ID],
        vec!["revoke", ID],
    ]
}

#[test]
fn without_a_store_that_others_see_they_say_how_to_name_one() {
    for command in commands() {
        for backend in [&[][..], &["--backend", "memory:"], &["--backend", "valkey:"]] {
            let output = ff(&[&command[..], backend].concat());
            assert_eq!(output.status.code(), Some(2), "{command:?} {backend:?}");
            assert!(said(&output).contains("valkey://127.0.0.1:6379"), "{}", said(&output));
        }
    }
}

#[test]
fn a_store_that_is_none_is_refused_without_its_password() {
    for backend in ["tape:", "memory:x", "valkey", "valkey:/", "", "tape://me:secret@host"] {
        let output = ff(&["list", "--backend", backend]);
        assert_eq!(output.status.code(), Some(2), "{backend:?}");
        assert!(said(&output).contains("is unknown"), "{}", said(&output));
        assert!(!said(&output).contains("secret"), "{}", said(&output));
    }
}

#[test]
fn the_environment_names_the_store_unless_the_command_does() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    let output = command.args(["list"]).env("FF_BACKEND", "tape:").output().expect("ff runs");
    assert!(said(&output).contains("--backend tape: is unknown"), "{}", said(&output));
    let output = command.args(["--backend", "reel:"]).output().expect("ff runs");
    assert!(said(&output).contains("--backend reel: is unknown"), "{}", said(&output));
    let help = command.arg("--help").env("FF_BACKEND", "secret").output().expect("ff runs");
    assert!(!String::from_utf8_lossy(&help.stdout).contains("secret"));
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_would_be_right() {
    let long = "x".repeat(65);
    for (arguments, wanted) in [
        (vec!["describe", "7"], "{fp:7}:<uuid>"),
        (vec!["list", "--state", "done"], "completed"),
        (vec!["list", "--after", "x"], "the text that a page ended with"),
        (vec!["list", "--limit", "0"], "1.."),
        (vec!["list", "--quarantined", "--lane", "x"], "cannot be used with"),
        (vec!["list", "--namespace", "a b", "--backend", "valkey://127.0.0.1:1"], "--namespace"),
        (vec!["watch", "--from", "x"], "it is no cursor"),
        (vec!["watch", "--from", "2:x"], "use a newer program"),
        (vec!["watch", "--tag", "team.name"], "KEY=VALUE"),
        (vec!["watch", "--tag", "name=x"], "owner.name"),
        (vec!["watch", "--tag", "a.b=x", "--tag", "a.b=y"], "one value"),
        (vec!["watch", "--cursor-file", "/"], "--cursor-file /"),
        (vec!["watch", "--count", "0"], "1.."),
        (vec!["work"], "--exec"),
        (vec!["work", "--exec", "true", "--slots", "0"], "1..=1024"),
        (vec!["work", "--exec", "true", "--capability", "a b"], "--capability"),
        (vec!["work", "--exec", "true", "--worker", &long], "worker id"),
        (vec!["cancel", ID, "--request-id", &long], "request id"),
        (vec!["tail", ID, "--from", "here"], "give start, end, or the text"),
        (vec!["tail", ID, "--type", "a b"], "--type"),
        (vec!["signal", ID, "a b", "go"], "WAITPOINT"),
        (vec!["signal", ID, "a"], "NAME"),
        (vec!["signal", ID, "a", "go", "--payload", "x", "--payload-file", "x"], "cannot be used"),
        (vec!["signal", ID, "a", "go", "--token-file", "x", "--token-stdin"], "cannot be used"),
        (vec!["signal", ID, "a", "go", "--token-file", "no-such-file"], "no-such-file"),
        (vec!["signal", ID, "a", "go", "--token", "k1:00"], "unexpected argument"),
        (vec!["secret", "rotate", "--kid", "k"], "--generate"),
        (vec!["secret", "rotate", "--kid", "k:1", "--generate"], "--kid"),
        (vec!["secret", "rotate", "--kid", "k", "--generate", "--grace", "soon"], "--grace"),
        (vec!["secret", "rotate", "--kid", "k", "--generate", "--secret-stdin"], "cannot be used"),
        (vec!["secret", "list", "--backend", "memory:"], "valkey://127.0.0.1:6379"),
        (vec!["submit", "no-such-file", "--backend", "valkey://127.0.0.1:1"], "no-such-file"),
    ] {
        let output = ff(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(wanted), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn the_help_of_each_says_how_it_ends() {
    for command in commands() {
        let output = ff(&[command[0], "--help"]);
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        for word in ["Exit code: 0", "FF_BACKEND", "--namespace", "--json"] {
            assert!(help.contains(word), "{word} is missing in {help}");
        }
    }
}

#[test]
fn a_signal_needs_a_token_which_is_no_argument() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.args(["signal", ID, "approval", "approved", "--backend", "valkey://127.0.0.1:1"]);
    command.env_remove("FF_WAITPOINT_TOKEN").stdin(Stdio::null());
    let output = command.output().expect("ff runs");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    for way in ["--token-file", "--token-stdin", "FF_WAITPOINT_TOKEN"] {
        assert!(said(&output).contains(way), "{}", said(&output));
    }
    let output = command.arg("--token-stdin").output().expect("ff runs");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("there is no token in it"), "{}", said(&output));
    for (command, wanted) in [("signal", "list of processes"), ("secret", "rotate")] {
        let help = ff(&[command, "--help"]);
        assert!(String::from_utf8_lossy(&help.stdout).contains(wanted), "{command}");
    }
    for task in ["rotate", "list"] {
        let help = String::from_utf8_lossy(&ff(&["secret", task, "--help"]).stdout).into_owned();
        assert!(help.contains("Exit code: 0") && help.contains("FF_BACKEND"), "{help}");
    }
}

#[test]
fn no_server_to_start_is_told_with_what_to_install() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.args(["bench", "--backend", "valkey:"]).env("PATH", directory.path());
    let output = command.output().expect("ff runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("install Valkey"), "{}", said(&output));
}
