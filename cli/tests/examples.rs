//! The examples, on the memory backend and on a private server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the examples. They are built like `cargo test --workspace` builds them, so that
/// nothing is compiled again.
fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let ff = Path::new(env!("CARGO_BIN_EXE_ff"));
        let profile = ff.parent().expect("a program is in the folder of its profile");
        let target = profile.parent().expect("a profile's folder is in the target folder");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--example", "approval"]);
        cargo.args(["--example", "callback", "--target-dir"]).arg(target);
        // Cargo describes the test's package in its environment. A build script that reads this
        // would be run again.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "the examples do not compile");
        target.join("debug/examples")
    })
}

/// Runs an example and returns its output.
fn run(example: &str, store: &str) -> String {
    let output = Command::new(folder().join(example)).arg(store).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} {store}: {}\n{text}{error}", output.status);
    assert!(text.ends_with("done\n"), "{text}");
    text
}

#[test]
fn an_approval_waits_for_two_people_and_is_escalated() {
    for store in ["memory:", "valkey:"] {
        let text = run("approval", store);
        for line in [
            "mallory tries: ",
            "deploy 1.0, approved by alice and bob",
            "escalated after 500ms",
            "deploy 2.0, approved by carol and dave",
        ] {
            assert!(text.contains(line), "{line:?} is missing with {store}:\n{text}");
        }
        assert_eq!(text.matches("build ").count(), 2, "{text}");
    }
}

#[test]
fn a_callback_resumes_and_its_progress_is_tailed() {
    for store in ["memory:", "valkey:"] {
        let text = run("callback", store);
        let who = if store == "memory:" { "[second task]" } else { "[process " };
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(who)).collect();
        assert_eq!(lines.len(), 7, "expected six frames and the end:\n{text}");
        assert!(lines[5].ends_with("6 encoded: holiday.webm"), "{text}");
        assert!(lines[6].ends_with("closed: Success"), "{text}");
    }
}
