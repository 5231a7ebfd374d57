//! The examples, on the memory backend and on a private server.

#[path = "../../tests/src/workspace_build.rs"]
mod workspace_build;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the examples.
fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let examples = ["--example", "approval", "--example", "callback"];
        workspace_build::build(&examples).join("examples")
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
