//! `ff config`: the settings in force, and where each of them is from.

use std::process::ExitCode;

use clap::ArgMatches;
use clap::parser::ValueSource;
use ff_sdk::redacted_url;
use serde::Serialize;
use serde_json::json;

use crate::args::ConfigArgs;
use crate::exit::{CliError, print, print_line};
use crate::report::{table, wire_name};
use crate::settings::Settings;
use crate::terminal::fitted;

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Option,
    Environment,
    Profile,
    File,
    Default,
}

/// A value in force.
#[derive(Debug, Serialize)]
struct Setting {
    value: Option<String>,
    source: Source,
}

/// Runs the command.
pub fn config(
    args: &ConfigArgs,
    settings: &Settings,
    matches: &ArgMatches,
) -> Result<ExitCode, CliError> {
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    let source = |name, instead| match matches.value_source(name) {
        Some(ValueSource::CommandLine) => Source::Option,
        Some(ValueSource::EnvVariable) => Source::Environment,
        _ => instead,
    };
    let of_profile = |has_it| if has_it { Source::Profile } else { Source::Default };
    let file = if settings.profile.is_some() { Source::File } else { Source::Default };
    let all = [
        ("profile", settings.profile.clone(), source("profile", file)),
        (
            "backend",
            Some(redacted_url(&args.store.backend)),
            source("backend", of_profile(settings.backend.is_some())),
        ),
        (
            "namespace",
            Some(args.store.namespace.to_string()),
            source("namespace", of_profile(settings.namespace.is_some())),
        ),
    ];
    let [profile, backend, namespace] =
        all.each_ref().map(|(_, value, source)| Setting { value: value.clone(), source: *source });
    let path = settings.path.as_ref().map(|path| path.display().to_string());
    if args.json {
        print_line(json!({
            "file": path, "exists": settings.exists, "profiles": settings.profiles,
            "profile": profile, "backend": backend, "namespace": namespace,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["setting", "value", "source"]);
    for (name, value, source) in all {
        let variable = format!("FF_{}", name.to_uppercase());
        let source = match (source, &value, &settings.profile) {
            (Source::Option, ..) => format!("option --{name}"),
            (Source::Environment, ..) => format!("environment variable {variable}"),
            (Source::Profile, _, Some(profile)) => format!("profile {profile}"),
            (Source::File, ..) => "default_profile of the file".to_owned(),
            (_, None, _) => "not set".to_owned(),
            (source, ..) => wire_name(source),
        };
        rows.add_row(vec![name.to_owned(), value.unwrap_or_else(|| "-".to_owned()), source]);
    }
    let file = match (&path, settings.exists) {
        (Some(path), true) => format!("config file {path}"),
        (Some(path), false) => format!("config file {path}, which does not exist"),
        (None, _) => "no config file: FF_CONFIG and HOME are not set".to_owned(),
    };
    print(&format!("{file}\n{}", fitted(rows)))?;
    Ok(ExitCode::SUCCESS)
}
