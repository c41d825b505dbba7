//! `epitome page`

use std::io::{Write, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
#[cfg(feature = "aws")]
use anyhow::bail;
use clap::Args;
use epitome_endpoint::logging::{self, Level};
use epitome_endpoint::settings::{
    ContractSettings, SchedulingSettings, ServerSettings, Settings, Task,
};
use epitome_endpoint::{Server, Source};

#[cfg(feature = "aws")]
use crate::account_endpoints::AccountEndpoints;
use crate::browser;
#[cfg(feature = "aws")]
use crate::failure::Usage;
use crate::interrupt;
use crate::model_choice::ModelFlag;
use crate::model_folder::ModelFolder;
use crate::this_program;

/// The usual port. Browsers store a page's data by its address, so the port should not change.
const PORT: u16 = 8642;
/// Deadline of a request. Only the user waits, and can stop it.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Time that requests have to end after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);
/// Largest file in bytes that the page takes.
const MAX_FILE: usize = 100 << 20;

/// Open a page in the browser, to summarize with a model of this machine or a deployed endpoint
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelFlag,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    aws: AwsFlags,
    #[arg(
        long,
        help = format!("Port to listen on, 0 for any free one [default: {PORT} if it is free]")
    )]
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
    /// Use this endpoint of the AWS account in place of a model; without a name, the newest. The
    /// page lists all endpoints
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    endpoint: Option<Option<String>>,
    /// Call this server, such as `epitome serve`, in place of AWS
    #[arg(long, value_name = "URL", requires = "endpoint")]
    endpoint_url: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    logging::start(Level::WARN);
    #[cfg(feature = "aws")]
    if let Some(endpoints) = arguments.aws.endpoints()? {
        let source = Source::Endpoints(Arc::new(endpoints));
        return serve(arguments, settings(arguments), source);
    }
    // Keeps an exported bundle until the server ends.
    let choice = arguments.model.choose()?;
    let mut settings = settings(arguments);
    settings.server.model = choice.bundle().into();
    serve(arguments, settings, Source::Model(Arc::new(ModelFolder)))
}

fn serve(arguments: &Arguments, settings: Settings, source: Source) -> Result<()> {
    let opens = !arguments.no_browser;
    let server = Server::new(settings, source)
        .with_documents(this_program::extractor()?)
        .when_listening(move |address| {
            // From here on the server handles signals.
            interrupt::watch();
            let url = format!("http://{address}/");
            let opened = opens && browser::open(&url);
            let hint = if opened { "" } else { "; open it in a browser" };
            // Ignores a closed standard output.
            let _ = writeln!(stdout(), "The page is at {url}{hint}. Ctrl-C ends it.");
        });
    // A signal may reach this handler after it has stopped the server.
    Ok(server.run()?)
}

#[cfg(feature = "aws")]
impl AwsFlags {
    /// The endpoints that are called in place of a model.
    fn endpoints(&self) -> Result<Option<AccountEndpoints>> {
        let Some(endpoint) = &self.endpoint else {
            return Ok(None);
        };
        if self.endpoint_url.is_some() && endpoint.is_none() {
            bail!(Usage("--endpoint-url needs a name: --endpoint NAME".into()));
        }
        Ok(Some(AccountEndpoints::new(endpoint.clone(), self.endpoint_url.clone())))
    }
}

fn settings(arguments: &Arguments) -> Settings {
    let port = arguments.port.unwrap_or_else(usual_port);
    Settings {
        server: ServerSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            grace: GRACE,
            ..ServerSettings::default()
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

/// The usual port, or 0 (any free port) where another program has it.
fn usual_port() -> u16 {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_ok() { PORT } else { 0 }
}
