//! The config file: profiles, which have values of options.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Command;
use ff_sdk::{Namespace, StoreOptions, redacted_url};
use serde::Deserialize;
use toml::Spanned;

use crate::exit::{CliError, warn};

/// The config file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default_profile: Option<Spanned<String>>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// The values of a profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    backend: Option<Spanned<String>>,
    namespace: Option<Spanned<String>>,
}

/// The settings that the config file gives to a command.
#[derive(Debug, Default)]
pub struct Settings {
    /// The path of the file; `None` if no folder for it is known.
    pub path: Option<PathBuf>,
    /// Whether the file exists.
    pub exists: bool,
    /// The names of all profiles.
    pub profiles: Vec<String>,
    /// The name of the chosen profile.
    pub profile: Option<String>,
    /// The store URL of that profile.
    pub backend: Option<String>,
    /// The namespace of that profile.
    pub namespace: Option<Namespace>,
}

impl Settings {
    /// Reads the config file, and chooses this profile, or its default profile.
    pub fn load(profile: Option<&str>) -> Result<Self, CliError> {
        let profile = profile.filter(|name| !name.is_empty());
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some((path, is_named)) = location(variable) else {
            return match profile {
                Some(name) => Err(unknown(name, "no config file: set FF_CONFIG or HOME")),
                None => Ok(Self::default()),
            };
        };
        let shown = path.display();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let settings = Self::parse(path.clone(), &text, profile)?;
                warn_of_readers(&path, &text);
                Ok(settings)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !is_named => match profile {
                Some(name) => Err(unknown(name, &format!("the config file {shown} is missing"))),
                None => Ok(Self { path: Some(path), ..Self::default() }),
            },
            Err(error) => Err(CliError::usage(format!("cannot read {shown}: {error}"))),
        }
    }

    fn parse(path: PathBuf, text: &str, wanted: Option<&str>) -> Result<Self, CliError> {
        let shown = path.display();
        let invalid = |span: Option<Range<usize>>, problem: String| {
            let before = &text.as_bytes()[..span.map_or(0, |span| span.start).min(text.len())];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            CliError::usage(format!("{shown}:{line}: {problem}"))
        };
        let file: File = toml::from_str(text)
            .map_err(|error| invalid(error.span(), without_values(error.message())))?;
        let profiles: Vec<String> = file.profiles.keys().cloned().collect();
        let known = match &profiles[..] {
            [] => format!("{shown} has no profiles"),
            profiles => format!("{shown} has {}", profiles.join(", ")),
        };
        let default = file.default_profile.as_ref();
        let name = wanted.map(str::to_owned).or_else(|| default.map(|name| name.get_ref().clone()));
        let Some(name) = name else {
            return Ok(Self { path: Some(path), exists: true, profiles, ..Self::default() });
        };
        let profile = file.profiles.get(&name).cloned().ok_or_else(|| match (wanted, default) {
            (None, Some(default)) => {
                let problem = format!("default_profile: unknown profile `{name}`");
                invalid(Some(default.span()), problem)
            }
            _ => unknown(&name, &known),
        })?;
        let namespace = profile.namespace.map(|value| {
            let span = value.span();
            Namespace::try_new(value.into_inner())
                .map_err(|error| invalid(Some(span), format!("namespace: {error}")))
        });
        let backend = profile.backend.map(|value| {
            let (span, url) = (value.span(), value.into_inner());
            match url.as_str() {
                "sqlite:" | "valkey:" => Ok(url),
                _ => match StoreOptions::parse(&url) {
                    Ok(_) => Ok(url),
                    Err(error) => Err(invalid(Some(span), format!("backend: {error}"))),
                },
            }
        });
        let (namespace, backend) = (namespace.transpose()?, backend.transpose()?);
        let (path, profile) = (Some(path), Some(name));
        Ok(Self { path, exists: true, profiles, profile, backend, namespace })
    }

    /// Makes the values of the profile the defaults of all commands.
    pub fn apply(&self, command: Command) -> Command {
        command.mut_subcommands(|command| self.apply(command)).mut_args(|argument| {
            let value = match argument.get_id().as_str() {
                "backend" => self.backend.clone(),
                "namespace" => self.namespace.as_ref().map(ToString::to_string),
                _ => None,
            };
            match value {
                Some(value) => argument.default_value(value),
                None => argument,
            }
        })
    }
}

/// The path of the config file, and whether FF_CONFIG names it.
fn location(variable: impl Fn(&str) -> Option<OsString>) -> Option<(PathBuf, bool)> {
    if let Some(path) = variable("FF_CONFIG") {
        return Some((path.into(), true));
    }
    // A relative path is ignored: https://specifications.freedesktop.org/basedir-spec
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    folder.map(|folder| (folder.join("flowfabric").join("config.toml"), false))
}

fn unknown(name: &str, reason: &str) -> CliError {
    CliError::usage(format!("unknown profile `{name}` of --profile or FF_PROFILE: {reason}"))
}

/// The message of an error without texts of the file, which may be passwords.
fn without_values(message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join("; ");
    match message.split_once("string \"") {
        Some((before, after)) => {
            let after = after.rsplit_once("\", ").map_or("", |(_, after)| after);
            format!("{before}string, {after}")
        }
        None => message,
    }
}

/// Warns if the file has a password, and other users can read it.
fn warn_of_readers(path: &Path, text: &str) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    let has_secret = || {
        let file: File = toml::from_str(text).unwrap_or_default();
        let urls = file.profiles.into_values().filter_map(|profile| profile.backend);
        urls.into_iter().any(|url| redacted_url(url.get_ref()) != *url.get_ref())
    };
    if mode & 0o044 != 0 && has_secret() {
        let path = path.display();
        warn(&format!(
            "ff: {path} has a password, and other users can read it (mode {mode:o}): chmod 600 \
             {path}\n"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
default_profile = \"local\"

[profiles.local]
backend = \"valkey://127.0.0.1:6379\"

[profiles.production]
backend = \"valkeys://app:secret@db.example:6379\"
namespace = \"shop\"
";

    fn parse(text: &str, wanted: Option<&str>) -> Result<Settings, CliError> {
        Settings::parse("c.toml".into(), text, wanted)
    }

    #[test]
    fn a_profile_is_chosen_by_its_name_or_as_the_default() {
        for (wanted, backend, namespace) in [
            (None, Some("valkey://127.0.0.1:6379"), None),
            (Some("production"), Some("valkeys://app:secret@db.example:6379"), Some("shop")),
        ] {
            let settings = parse(FILE, wanted).expect("a config file");
            assert_eq!(settings.backend.as_deref(), backend);
            assert_eq!(settings.namespace.as_ref().map(Namespace::as_str), namespace);
            assert_eq!(settings.profile.as_deref(), wanted.or(Some("local")));
            assert_eq!(settings.profiles, ["local", "production"]);
        }
        let none = parse("[profiles.local]\nnamespace = \"a\"", None).expect("a config file");
        assert_eq!((none.profile, none.namespace), (None, None));
        parse("", None).expect("an empty file");
    }

    #[test]
    fn errors_name_the_file_and_the_line_and_no_value() {
        let url = "\"valkey://me:secret@host\"";
        for (text, problem) in [
            ("\ndefault_profile = \"x\"", "c.toml:2: default_profile: unknown profile `x`"),
            ("\n\ncolour = 1", "c.toml:3: unknown field `colour`, expected"),
            (&format!("[profiles.a]\nbacknd = {url}"), "c.toml:2: unknown field `backnd`"),
            (&format!("\nbackend = {url}"), "c.toml:2: unknown field `backend`"),
            (&format!("[profiles]\na = {url}"), "c.toml:2: invalid type: string, expected"),
            (&format!("[profiles.a]\nbackend = [{url}]"), "c.toml:2: invalid type: sequence"),
            (&format!("[profiles.a]\nbackend = {url}]"), "c.toml:2: "),
            (&format!("[profiles.a]\nbackend = {}", &url[..20]), "c.toml:2: "),
            ("[profiles.a]\nnamespace = 7", "c.toml:2: invalid type: integer"),
            ("[profiles.a]\nnamespace = \"x y\"", "c.toml:2: namespace: "),
            ("[profiles.a]\nbackend = \"\"", "c.toml:2: backend: invalid store URL"),
            ("[profiles.a]\n\nbackend = \"me:secret@host\"", "c.toml:3: backend: invalid store"),
            ("[profiles.b]", "unknown profile `a` of --profile or FF_PROFILE: c.toml has b"),
            ("", "unknown profile `a` of --profile or FF_PROFILE: c.toml has no profiles"),
        ] {
            let wanted = if text.contains("default_profile") { None } else { Some("a") };
            let error = parse(text, wanted).expect_err("an invalid file");
            assert!(error.message().starts_with(problem), "{}", error.message());
            assert!(!error.message().contains("secret"), "{}", error.message());
            assert!(error.is_usage() && !error.message().contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn the_file_is_where_the_environment_says() {
        let all = [("FF_CONFIG", "c"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        for (skipped, expected) in
            [(0, Some("c")), (1, Some("/x/flowfabric/config.toml")), (3, None)]
                .into_iter()
                .chain([(2, Some("/h/.config/flowfabric/config.toml"))])
        {
            let variable = |wanted: &str| {
                let mut rest = all[skipped..].iter();
                rest.find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value))
            };
            let found = location(variable);
            let path = found.as_ref().map(|(path, _)| path.to_str().expect("text"));
            assert_eq!(path, expected);
            assert_eq!(found.map(|(_, is_named)| is_named), expected.map(|_| skipped == 0));
        }
        let relative = |name: &str| (name == "XDG_CONFIG_HOME").then(|| OsString::from("x"));
        assert_eq!(location(relative), None);
    }
}
