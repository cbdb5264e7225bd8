//! Finding who owns the data directory: the server, reached over its socket, or nobody, so that we do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Node;
use crate::commands::{CommandError, print};
use crate::config::Config;
use crate::control;
use crate::datadir::{DataDir, DataDirError};
use crate::operations::{self, Operation, Outcome, REPOS_PER_PAGE};

/// An owner that does not answer is starting, stopping, or another command: all of that passes.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Who runs our operations.
pub(super) enum Owner {
    Us(Arc<Node>),
    Server { data_dir: PathBuf },
}

/// How an outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// Runs one operation and prints its outcome. False if it found faults.
pub(super) fn run(config: Config, operation: Operation) -> Result<bool, CommandError> {
    run_as(config, operation, Form::Text)
}

/// As [`run`]; only statistics have a form for programs.
pub(super) fn run_as(config: Config, operation: Operation, form: Form) -> Result<bool, CommandError> {
    runtime()?.block_on(async {
        let owner = Owner::find(config, creates_data(&operation)).await?;
        if let (Owner::Us(_), Operation::AdvanceClock { .. }) = (&owner, &operation) {
            owner.close().await;
            return Err(CommandError::NoServer);
        }
        let outcome = owner.run(operation).await;
        owner.close().await;
        let outcome = outcome?;
        match (&outcome, form) {
            (Outcome::Stats(stats), Form::Json) => print(&serde_json::json!(stats))?,
            (outcome, _) => print(outcome)?,
        }
        Ok(outcome.is_good())
    })
}

/// Lists page by page, so that neither side holds all repositories at once.
pub(super) fn list_repos(config: Config) -> Result<bool, CommandError> {
    runtime()?.block_on(async {
        let owner = Owner::find(config, false).await?;
        let listed = print_pages(&owner).await;
        owner.close().await;
        listed.map(|()| true)
    })
}

impl Owner {
    /// `create` says whether a data directory is made if there is none.
    pub(super) async fn find(config: Config, create: bool) -> Result<Owner, CommandError> {
        let data_dir = config.storage.data_dir.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let taken = if create { DataDir::create(&data_dir) } else { DataDir::existing(&data_dir) };
            let in_use = match taken {
                Ok(taken) => return Ok(Owner::Us(Node::open(config, taken).await?)),
                Err(in_use @ DataDirError::InUse { .. }) => in_use,
                Err(other) => return Err(other.into()),
            };
            let Err(error) = control::connect(&data_dir).await else { return Ok(Owner::Server { data_dir }) };
            if Instant::now() > deadline {
                return Err(CommandError::NoAnswer { in_use, call: error });
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    pub(super) async fn run(&self, operation: Operation) -> Result<Outcome, CommandError> {
        match self {
            Owner::Us(node) => Ok(operations::run(node, operation).await?),
            Owner::Server { data_dir } => Ok(control::call(data_dir, &operation).await?),
        }
    }

    pub(super) async fn close(&self) {
        if let Owner::Us(node) = self {
            node.close().await;
        }
    }
}

/// One thread beside the blocking ones: a command does one thing.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn print_pages(owner: &Owner) -> Result<(), CommandError> {
    let mut after = None;
    loop {
        let page = owner.run(Operation::RepoList { after }).await?;
        print(&page)?;
        match page {
            Outcome::Repos(repos) if repos.len() == REPOS_PER_PAGE as usize => {
                after = repos.into_iter().next_back().map(|repo| repo.path);
            }
            _ => return Ok(()),
        }
    }
}

/// Provisioning may come before the first start; a question to a directory that is not there is a typing error.
fn creates_data(operation: &Operation) -> bool {
    matches!(operation, Operation::UserCreate { .. })
}
