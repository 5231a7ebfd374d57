//! The config file and `ff config`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::store::{Store, objects};
use crate::common::text;

/// A folder with a config file, as $XDG_CONFIG_HOME.
struct Home(TempDir);

impl Home {
    fn new(file: &str) -> Self {
        let home = Self(TempDir::new().expect("a directory"));
        let folder = home.0.path().join("flowfabric");
        std::fs::create_dir(&folder).expect("a directory");
        std::fs::write(home.path(), file).expect("a file");
        home.set_mode(0o600);
        home
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("flowfabric").join("config.toml")
    }

    fn set_mode(&self, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(), permissions).expect("the file is there");
    }

    /// Runs a command that has only these variables and the folder in its environment.
    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
        command.args(arguments).env_clear().env("XDG_CONFIG_HOME", self.0.path());
        command.envs(variables.iter().copied()).output().expect("ff runs")
    }

    /// The settings that `ff config` reports.
    fn shown(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Value {
        let output = self.run(variables, &[&["config", "--json"], arguments].concat());
        assert_eq!(text(&output.stderr), "");
        objects(&text(&output.stdout)).pop().expect("an object")
    }
}

const FILE: &str = "\
default_profile = \"local\"

[profiles.local]
backend = \"valkey://127.0.0.1:1\"

[profiles.production]
backend = \"valkeys://app:secret@db.example:6379\"
namespace = \"shop\"
";

#[test]
fn an_option_comes_before_the_environment_a_profile_and_the_default() {
    let home = Home::new(FILE);
    let value = |value: &str, source: &str| json!({"value": value, "source": source});
    let path = home.path();
    assert_eq!(
        home.shown(&[], &[]),
        json!({
            "file": path, "exists": true, "profiles": ["local", "production"],
            "profile": value("local", "file"),
            "backend": value("valkey://127.0.0.1:1", "profile"),
            "namespace": value("ff", "default"),
        })
    );
    let in_environment = [("FF_PROFILE", "production"), ("FF_BACKEND", "valkey://me:pw@a")];
    let shown = home.shown(&in_environment, &[]);
    assert_eq!(shown["profile"], value("production", "environment"));
    assert_eq!(shown["backend"], value("valkey://***@a", "environment"));
    assert_eq!(shown["namespace"], value("shop", "profile"));
    let options = ["--profile=production", "--namespace=n", "--backend=valkey://me:pw@b"];
    let shown = home.shown(&[("FF_PROFILE", "local"), ("FF_NAMESPACE", "x")], &options);
    assert_eq!(shown["profile"], value("production", "option"));
    assert_eq!(shown["backend"], value("valkey://***@b", "option"));
    assert_eq!(shown["namespace"], value("n", "option"));

    let output = home.run(&[("FF_NAMESPACE", "x")], &["--profile=production", "config"]);
    let table = text(&output.stdout);
    for part in [
        "option --profile",
        "valkeys://***@db.example:6379",
        "profile production",
        "environment variable FF_NAMESPACE",
    ] {
        assert!(table.contains(part), "{part} is missing in {table}");
    }
    let other = home.shown(&[("FF_CONFIG", "/dev/null")], &[]);
    assert_eq!((&other["file"], &other["profiles"]), (&json!("/dev/null"), &json!([])));
    assert_eq!(other["backend"], value("sqlite:ff.db", "default"));
}

#[test]
fn commands_use_the_profile() {
    let store = Store::start();
    let file = format!("[profiles.test]\nbackend = \"{}\"\nnamespace = \"shop\"\n", store.url());
    let home = Home::new(&file);
    let id = home.run(&[], &["submit", "--profile", "test", "--kind", "k"]);
    let id = text(&id.stdout);
    let seen = store.json(&["describe", id.trim(), "--namespace", "shop"]);
    assert_eq!(seen["namespace"], "shop");
    let other = home.run(&[("FF_PROFILE", "test")], &["describe", id.trim(), "--namespace=ff"]);
    assert!(text(&other.stderr).contains("in namespace ff"), "{other:?}");
    let nothing = home.run(&[], &["list"]);
    assert!(text(&nothing.stderr).contains("there is no store ff.db"), "{nothing:?}");
}

#[test]
fn an_unknown_profile_and_an_invalid_file_end_with_2() {
    let home = Home::new(&format!("{FILE}colour = 1\n"));
    let at = home.path().display().to_string();
    for (variables, arguments, problem) in [
        (&[][..], &["list"][..], format!("ff: {at}:9: unknown field `colour`")),
        (&[("FF_CONFIG", "/nowhere/c")], &["list"], "ff: cannot read /nowhere/c: ".to_owned()),
        (
            &[("FF_CONFIG", "/dev/null"), ("FF_PROFILE", "x")],
            &["list"],
            "ff: unknown profile `x` of --profile or FF_PROFILE: /dev/null has no".to_owned(),
        ),
        (
            &[("XDG_CONFIG_HOME", "/nowhere")],
            &["work", "--exec=true", "--profile=x"],
            "ff: unknown profile `x` of --profile or FF_PROFILE: ".to_owned(),
        ),
    ] {
        let output = home.run(variables, arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).starts_with(&problem), "{}", text(&output.stderr));
    }
    // They do not need it.
    for arguments in [&["completions", "bash"][..], &["man"], &["list", "--help"]] {
        assert_eq!(home.run(&[], arguments).status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_password_that_others_can_read_is_warned_of() {
    let home = Home::new(FILE);
    home.set_mode(0o640);
    let output = home.run(&[], &["config"]);
    let warning = text(&output.stderr);
    assert!(warning.contains("other users can read it (mode 640): chmod 600 "), "{warning}");
    let harmless = Home::new("[profiles.local]\nbackend = \"valkey://127.0.0.1\"");
    harmless.set_mode(0o644);
    harmless.shown(&[], &[]);
}
