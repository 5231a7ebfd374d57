//! Plans in files.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use ff_sim::Plan;

use super::ending::Unusable;

/// Writes a plan, one field to a line.
pub fn write_plan(path: &Path, plan: &Plan) -> Result<(), Unusable> {
    let mut text = serde_json::to_string_pretty(plan).map_err(Unusable::new)?;
    text.push('\n');
    fs::write(path, text).map_err(|error| about(path, error))
}

/// An error about a path.
fn about(path: &Path, error: impl Display) -> Unusable {
    Unusable::new(format!("{}: {error}", path.display()))
}

/// Reads a plan.
pub fn read_plan(path: &Path) -> Result<Plan, Unusable> {
    let text = fs::read_to_string(path).map_err(|error| about(path, error))?;
    serde_json::from_str(&text).map_err(|error| about(path, format!("not a plan: {error}")))
}

/// The files: each named file, and the `.json` files of each named folder, by name.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Unusable> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let wrong = |error| about(path, error);
        let mut within = Vec::new();
        for entry in fs::read_dir(path).map_err(wrong)? {
            let file = entry.map_err(wrong)?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                within.push(file);
            }
        }
        within.sort();
        files.extend(within);
    }
    if files.is_empty() {
        return Err(Unusable::new("no plan files (*.json) in the named folders"));
    }
    Ok(files)
}
