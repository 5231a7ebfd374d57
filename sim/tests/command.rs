//! The help and the output of the command `ff-sim`, as snapshots.
//!
//! Values that depend on the behaviour of the simulated system are left out. A test fails if the
//! text differs from its file in `tests/snapshots`. If the change is intended, run
//! `INSTA_UPDATE=always cargo test -p ff-sim --test command` and review the difference.

#![cfg(feature = "command")]

use std::process::{Command, Output};

use insta::Settings;
use serde_json::{Map, Value};

/// Runs the command. The result ends with its errors and its exit code.
fn output(args: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_ff-sim")).args(args).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    let code = status.code().expect("it exits");
    let (stdout, stderr) = (text(stdout), text(stderr));
    format!("$ ff-sim {}\n{stdout}{stderr}exit code {code}\n\n", args.join(" "))
}

/// Compares the text with the snapshot of that name.
fn snapshot(name: &str, text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
}

#[test]
fn help() {
    let subcommands = "run seed replay shrink determinism crash-points explore bugs coverage";
    let all = subcommands.split(' ').map(|subcommand| output(&[subcommand, "--help"]));
    let text = output(&["--help"]) + &all.collect::<String>();
    snapshot("help", &text);
}

#[test]
fn tables() {
    let report = output(&["seed", "7"]);
    let (figures, _) = report.split_once("faults and rejections").expect("the second table");
    let mut text: String = figures
        .lines()
        .map(|line| line.split('┆').next().unwrap_or(line).to_owned() + "\n")
        .collect();
    for args in [
        &["shrink", "7"][..],
        &["explore", "--world", "one-calm", "--path", "0.0.0"],
        &["crash-points", "--list"],
    ] {
        text += &output(args);
    }
    snapshot("tables", &text);
}

#[test]
fn json() {
    let mut text = String::new();
    for args in [
        &["run", "--seeds", "2", "--json"][..],
        &["seed", "7", "--json"],
        &["replay", "corpus", "--json"],
        &["determinism", "--seeds", "1", "--json"],
        &["crash-points", "--only", "renew/0.lost/nobody/error", "--json"],
        &["coverage", "--seeds", "1", "--json"],
    ] {
        text += &format!("$ ff-sim {}\n", args.join(" "));
        for line in output(args).lines().filter(|line| line.starts_with('{')) {
            let object: Map<String, Value> = serde_json::from_str(line).expect("an object");
            let keys: Vec<_> = object.keys().map(String::as_str).collect();
            text += &format!("{}\n", keys.join(", "));
        }
    }
    snapshot("json", &text);
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn errors() {
    let text: String = [
        &["seed", "x"][..],
        &["run", "--invariants", "nonsense"],
        &["replay", "tests"],
        &["replay", "nowhere.json"],
        &["replay", "Cargo.toml"],
        &["crash-points", "--only", "nothing"],
        &["explore", "--world", "large"],
        &["explore", "--world", "one-calm", "--path", "a.b"],
        &["bugs"],
    ]
    .map(output)
    .concat();
    snapshot("errors", &text);
}
