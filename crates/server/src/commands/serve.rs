//! `granary serve`: take the data directory, open, announce, run, drain, close.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::boot::{self, Announcement};
use crate::cli;
use crate::commands::CommandError;
use crate::config::Config;
use crate::control;
use crate::datadir::DataDir;
use crate::jobs;
use crate::place;

/// For blocking work that is still going on when all else has stopped. Cutting it off leaves what a crash leaves.
const BLOCKING_GRACE: Duration = Duration::from_secs(5);
const EXAMINE_WITHIN: Duration = Duration::from_secs(10);

/// Returns after SIGTERM or SIGINT, when requests under way have ended.
pub(super) fn run(mut config: Config, arguments: cli::Serve) -> Result<(), CommandError> {
    if let Some(listen) = arguments.listen {
        config.server.listen = listen;
    }
    if let Some(public_url) = arguments.public_url {
        config.server.public_url = Some(public_url);
    }
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    runtime.shutdown_timeout(BLOCKING_GRACE);
    served
}

async fn serve(mut config: Config) -> Result<(), CommandError> {
    // From here on a signal asks for an orderly end, also while starting.
    let mut signals = Signals::new()?;
    let data_dir = DataDir::create(&config.storage.data_dir)?;
    let address = config.server.listen;
    // Before the first start: a token that nobody gets to see is of no use.
    let listener =
        TcpListener::bind(address).await.map_err(|source| CommandError::Listen { address, source })?;
    // Port 0 is no longer what it says: webhooks must not go there.
    config.server.listen = listener.local_addr()?;
    let node = Node::open(config, data_dir).await?;
    // What the bucket enforces decides how the first upload goes. One that does not answer holds up nothing else.
    let examined = tokio::time::timeout(EXAMINE_WITHIN, place::examine_if_due(&node.objects)).await;
    if examined.is_err() {
        tracing::warn!("the bucket does not answer; it is tried again");
    }
    let control = control::bind(node.data_dir()).map_err(CommandError::Control)?;
    let on_terminal = io::stdout().is_terminal();
    let token = boot::first_start(&node, on_terminal).await?;
    announce(&node, &listener, token)?;

    let stop = CancellationToken::new();
    let control = tokio::spawn(control::serve(Arc::clone(&node), control, stop.clone()));
    let jobs = tokio::spawn(jobs::run(Arc::clone(&node), stop.clone()));
    let http = crate::serve::serve(Arc::clone(&node), listener, stop.clone().cancelled_owned());
    tokio::pin!(http);
    let served = tokio::select! {
        served = &mut http => served,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            stop.cancel();
            tokio::select! {
                drained = tokio::time::timeout(node.config.server.drain_timeout.duration(), &mut http) => {
                    drained.unwrap_or_else(|_| {
                        tracing::warn!("requests under way are cut off (server.drain_timeout)");
                        Ok(())
                    })
                }
                name = signals.next() => {
                    tracing::warn!(signal = name, "asked again: requests under way are cut off");
                    Ok(())
                }
            }
        }
    };
    stop.cancel();
    for task in [control, jobs] {
        if let Err(failure) = task.await {
            tracing::error!(%failure, "a task ended abnormally");
        }
    }
    // What was counted until the last answer.
    if let Err(error) = node.hub.write_downloads().await {
        tracing::error!(%error, "the last downloads are not counted");
    }
    node.close().await;
    tracing::info!("stopped");
    Ok(served?)
}

fn announce(node: &Node, listener: &TcpListener, token: Option<boot::InitialToken>) -> io::Result<()> {
    let listening = listener.local_addr()?;
    let url = boot::url(node.config.server.public_url.as_ref(), listening);
    let binary = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("granary"));
    let data_dir = node.data_dir().path();
    tracing::info!(%listening, %url, data_dir = %data_dir.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    let announcement = Announcement { url: &url, data_dir, binary: &binary, token };
    let mut out = io::stdout().lock();
    // A server whose stdout is closed serves all the same.
    let _ = write!(out, "{announcement}").and_then(|()| out.flush());
    Ok(())
}

/// Each connection takes a descriptor; what a shell allows by default is few.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
