//! The arguments of `ff completions` and `ff man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// The arguments of `ff completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// The arguments of `ff man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the page of each command to this folder, which must exist.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
