//! The commands on a shared store, as far as they need no server: usage errors and bad input. The
//! messages and help texts are in the snapshots.

use std::process::{Output, Stdio};

use crate::common;

/// A valid execution ID.
const ID: &str = "{fp:1}:00000000-0000-0000-0000-000000000001";

fn ff(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = common::command();
    command.args(arguments).env_remove("FF_BACKEND").stdin(Stdio::null());
    command.env("FF_WAITPOINT_TOKEN", "k1:00").current_dir(folder.path());
    command.output().expect("ff runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn commands_on_a_shared_store_say_how_to_give_its_url() {
    for command in [
        &["submit", "-"][..],
        &["work", "--exec", "true"],
        &["describe", ID],
        &["list"],
        &["result", ID],
        &["submit", "--kind", "k"],
        &["history", ID],
        &["watch"],
        &["tail", ID],
        &["waitpoints", ID],
        &["signal", ID, "approval", "approved"],
        &["resume", ID],
        &["cancel", ID],
        &["replay", ID],
        &["revoke", ID],
        &["secret", "list"],
    ] {
        let none = ["--backend", ""];
        let end = ["memory:", "sqlite:", "valkey:"].map(|url| ["--backend", url]);
        for backend in [&none, &end[0], &end[1], &end[2]] {
            let output = ff(&[command, backend].concat());
            assert_eq!(output.status.code(), Some(2), "{command:?} {backend:?}");
            assert!(errors(&output).contains("--backend valkey://"), "{}", errors(&output));
        }
    }
}

#[test]
fn without_a_store_the_commands_look_for_a_file_in_the_working_directory() {
    for command in [&["list"][..], &["describe", ID], &["watch"], &["doctor"], &["secret", "list"]]
    {
        let output = ff(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", errors(&output));
        let error = errors(&output);
        assert!(error.contains("there is no store ff.db in this folder"), "{command:?}: {error}");
    }
}

#[test]
fn an_invalid_store_url_is_refused_without_repeating_its_password() {
    for url in [
        "tape:",
        "memory:x",
        "valkey",
        "valkey:/",
        "tape://me:secret@host",
        "valkey:/me:secret@host",
        "me:secret@host",
        "valkey://me:s/secret@host",
        "valkey://host?password=secret",
    ] {
        let output = ff(&["list", "--backend", url]);
        assert_eq!(output.status.code(), Some(2), "{url:?}");
        assert!(errors(&output).contains("invalid store URL"), "{}", errors(&output));
        assert!(!errors(&output).contains("secret"), "{}", errors(&output));
    }
}

#[test]
fn a_store_url_in_a_wrong_place_is_shown_without_its_password() {
    for arguments in [&["valkey://me:secret@host"][..], &["list", "me:secret@host"]] {
        let output = ff(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(errors(&output).contains("'***@host'") || errors(&output).contains("//***@host"));
        assert!(!errors(&output).contains("secret"), "{}", errors(&output));
    }
}

#[test]
fn the_option_backend_takes_precedence_over_the_environment() {
    let mut command = common::command();
    let output = command.args(["list"]).env("FF_BACKEND", "tape:").output().expect("ff runs");
    assert!(errors(&output).contains("invalid store URL `tape:`"), "{}", errors(&output));
    let output = command.args(["--backend", "reel:"]).output().expect("ff runs");
    assert!(errors(&output).contains("invalid store URL `reel:`"), "{}", errors(&output));
}

#[test]
fn the_namespace_is_an_option_or_in_the_environment() {
    let refused = |option: &[&str]| {
        let mut command = common::command();
        command.args(["list", "--backend", "tape:"]).args(option).env("FF_NAMESPACE", "two words");
        errors(&command.output().expect("ff runs")).contains("two words")
    };
    assert!(refused(&[]), "FF_NAMESPACE is ignored");
    assert!(!refused(&["--namespace", "one"]), "the option takes precedence");
}

/// So `ff describe` finds the execution of the example.
#[test]
fn the_example_of_the_readme_uses_the_default_namespace() {
    let readme = include_str!("../../README.md");
    let help = ff(&["list", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("[default: ff]"), "{help}");
    assert!(readme.contains(r#"let ff = FlowFabric::connect("memory:").await?;"#));
    let ff = ff_sdk::FlowFabric::connect("memory:");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ff = runtime.expect("a runtime").block_on(async { ff.await }).expect("a store in memory");
    assert_eq!(ff.client().namespace().as_str(), "ff");
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = ff(&["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text.contains("waitpoints") && text.contains("lease-ttl"), "{shell}: {text}");
    }
    let page = String::from_utf8_lossy(&ff(&["man"]).stdout).into_owned();
    assert!(page.contains(".TH ff") && page.contains("waitpoints"), "{page}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a text");
    assert_eq!(ff(&["man", "--dir", path]).status.code(), Some(0));
    assert!(folder.path().join("ff-submit.1").exists(), "{:?}", folder.path().read_dir());
    assert_eq!(ff(&["man", "--dir", "no-such-folder"]).status.code(), Some(2));
}

#[test]
fn commands_have_the_short_names_that_people_try() {
    for alias in [&["ls"][..], &["get", ID], &["retry", ID], &["logs", ID]] {
        let output = ff(alias);
        assert!(
            errors(&output).contains("there is no store ff.db"),
            "{alias:?}: {}",
            errors(&output)
        );
    }
}

#[test]
fn bad_arguments_end_with_2_and_are_named() {
    let long = "x".repeat(65);
    for (arguments, wanted) in [
        (vec!["describe", "7"], "<ID>"),
        (vec!["list", "--limit", "0"], "1.."),
        (vec!["list", "--quarantined", "--lane", "x"], "cannot be used with"),
        (vec!["list", "--namespace", "a b", "--backend", "valkey://127.0.0.1:1"], "--namespace"),
        (vec!["watch", "--from", "x"], "--from"),
        (vec!["watch", "--from", "2:x"], "--from"),
        (vec!["watch", "--tag", "name=x"], "--tag"),
        (vec!["watch", "--cursor-file", "/"], "--cursor-file /"),
        (vec!["watch", "--count", "0"], "1.."),
        (vec!["work"], "--exec"),
        (vec!["work", "--exec", "true", "--slots", "0"], "1..=1024"),
        (vec!["work", "--exec", "true", "--capability", "a b"], "--capability"),
        (vec!["work", "--exec", "true", "--worker", &long], "--worker"),
        (vec!["cancel", ID, "--request-id", &long], "--request-id"),
        (vec!["tail", ID, "--from", "here"], "--from"),
        (vec!["tail", ID, "--type", "a b"], "--type"),
        (vec!["signal", ID, "a b", "go"], "WAITPOINT"),
        (vec!["signal", ID, "a"], "NAME"),
        (vec!["signal", ID, "a", "go", "--payload", "x", "--payload-file", "x"], "cannot be used"),
        (vec!["signal", ID, "a", "go", "--payload-file", "no-such-file"], "no-such-file"),
        (vec!["signal", ID, "a", "go", "--token-file", "x", "--token-stdin"], "cannot be used"),
        (vec!["signal", ID, "a", "go", "--token-file", "no-such-file"], "no-such-file"),
        (vec!["secret", "rotate", "--kid", "k:1", "--generate"], "--kid"),
        (vec!["secret", "rotate", "--kid", "k", "--generate", "--grace", "soon"], "--grace"),
        (vec!["secret", "rotate", "--kid", "k", "--generate", "--secret-stdin"], "cannot be used"),
        (vec!["submit", "no-such-file", "--backend", "valkey://127.0.0.1:1"], "no-such-file"),
    ] {
        let output = ff(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains(wanted), "{arguments:?}: {}", errors(&output));
    }
}
