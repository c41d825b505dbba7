//! `epitome page`

use std::io::{Write, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use epitome_documents::isolated::Extractor;
use epitome_endpoint::logging::{self, Level};
use epitome_endpoint::settings::{
    ContractSettings, SchedulingSettings, ServerSettings, Settings, Task,
};
use epitome_endpoint::{Server, Source};

use crate::browser;
use crate::failure::Usage;
use crate::model_folder::ModelFolder;

/// Browsers keep what a page stores by its address, so that it should not change.
const PORT: u16 = 8642;
/// Nobody but the user waits, and they can stop.
const DEADLINE: Duration = Duration::from_secs(3600);
/// How long requests may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of the largest file that the page takes.
const MAX_FILE: usize = 100 << 20;

/// Open a page in the browser, to summarize with a model of this machine or a deployed endpoint
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of a bundle or of a checkpoint
    #[arg(long, value_name = "DIR", env = "EPITOME_MODEL")]
    model: Option<PathBuf>,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    aws: AwsFlags,
    /// Port to listen on, 0 for any free one; without it, the same each time where it is free
    #[arg(long)]
    port: Option<u16>,
    /// Only print the address
    #[arg(long)]
    no_browser: bool,
    /// Threads of the model; without it, all that this process may use
    #[arg(long, value_name = "N", env = "EPITOME_THREADS")]
    threads: Option<NonZeroUsize>,
}

#[cfg(feature = "aws")]
#[derive(Args)]
struct AwsFlags {
    /// Ask this endpoint of the AWS account; without a name, the newest. The page has a list of all
    #[arg(long, value_name = "NAME", num_args = 0..=1, conflicts_with = "model")]
    endpoint: Option<Option<String>>,
    /// Call this server, such as `epitome serve`, in place of AWS
    #[arg(long, value_name = "URL", requires = "endpoint")]
    endpoint_url: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    logging::start(Level::WARN);
    let source = source(arguments)?;
    let opens = !arguments.no_browser;
    Server::new(settings(arguments), source)
        .with_documents(Extractor::of_this_program()?)
        .when_listening(move |address| {
            let url = format!("http://{address}/");
            let opened = opens && browser::open(&url);
            let hint = if opened { "" } else { "; open it in a browser" };
            // Where the output is closed there is nobody to tell.
            let _ = writeln!(stdout(), "The page is at {url}{hint}. Ctrl-C ends it.");
        })
        .run()?;
    Ok(())
}

fn source(arguments: &Arguments) -> Result<Source> {
    #[cfg(feature = "aws")]
    if let Some(endpoint) = &arguments.aws.endpoint {
        use crate::account_endpoints::AccountEndpoints;
        let url = arguments.aws.endpoint_url.clone();
        if url.is_some() && endpoint.is_none() {
            bail!(Usage("--endpoint-url needs a name: --endpoint NAME".into()));
        }
        return Ok(Source::Endpoints(Arc::new(AccountEndpoints::new(endpoint.clone(), url))));
    }
    if arguments.model.is_none() {
        bail!(Usage("there is no model: give --model DIR, or --endpoint for one in AWS".into()));
    }
    Ok(Source::Model(Arc::new(ModelFolder)))
}

fn settings(arguments: &Arguments) -> Settings {
    let defaults = ServerSettings::default();
    Settings {
        server: ServerSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port.unwrap_or_else(port))),
            model: arguments.model.clone().unwrap_or(defaults.model.clone()),
            grace: GRACE,
            ..defaults
        },
        contract: ContractSettings {
            task: Task::Summarization,
            max_body: MAX_FILE,
            ..ContractSettings::default()
        },
        scheduling: SchedulingSettings {
            threads: arguments.threads,
            deadline: DEADLINE,
            stream_deadline: DEADLINE,
            ..SchedulingSettings::default()
        },
        ..Settings::default()
    }
}

/// The usual port, or any where another program has it.
fn port() -> u16 {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_ok() { PORT } else { 0 }
}
