//! The peers benchmark's processes on FlowFabric (`ours`) and on plain lists (`raw`).

mod ours;
mod protocol;
mod raw;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = protocol::Arguments::parse()?;
    match &*arguments.system {
        "ours" => protocol::serve(ours::Ours::connect(&arguments).await?).await,
        "raw" => protocol::serve(raw::Raw::connect(&arguments).await?).await,
        other => bail!("unknown system `{other}`: expected ours or raw"),
    }
}
