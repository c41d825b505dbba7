//! `epitome mcp`
//!
//! The Model Context Protocol over standard input and output: <https://modelcontextprotocol.io>.

mod protocol;
mod tools;

use std::path::PathBuf;
use std::sync::mpsc::channel;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_runtime::Summarizer;

use self::protocol::Server;
use self::tools::Tools;
use crate::failure::Usage;
use crate::inputs::Reader;
use crate::model_choice::ModelFlag;
use crate::session_flags::SessionFlags;

/// Offer summaries as tools to assistants, over the Model Context Protocol
///
/// Assistants start this command themselves and speak to it over standard input and output. The
/// tools are summarize_text and summarize_file.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelFlag,
    /// Folder of files that may be summarized, repeatable; without it, every file that you may read
    #[arg(long, value_name = "DIR")]
    folder: Vec<PathBuf>,
    #[command(flatten)]
    session: SessionFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut folders = Vec::new();
    for folder in &arguments.folder {
        match folder.canonicalize() {
            Ok(path) if path.is_dir() => folders.push(path),
            _ => bail!(Usage(format!("--folder '{}' is not a folder", folder.display()))),
        }
    }
    let model = arguments.model.choose()?;
    let (calls, waiting) = channel();
    let server = Server::new(calls);
    let answers = server.answers();
    // A thread reads messages, so that they are answered while a model is loaded or works.
    std::thread::Builder::new()
        .name("mcp-reader".into())
        .spawn(move || server.read(std::io::stdin().lock()))
        .context("the system starts no thread")?;
    let summarizer = Summarizer::open_with(model.bundle(), &arguments.session.options())?;
    let mut tools = Tools { summarizer, reader: Reader::new(None)?, folders };
    answers
        .answer_all(waiting, |call, cancelled| tools.call(&call.name, &call.arguments, cancelled));
    Ok(())
}
