//! From the command line to an exit code: 0 done, 1 failed (or faults found), 2 wrong usage or configuration.

mod local;
mod owner;
mod serve;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auth::TokenSecret;
use clap::Parser;

use crate::cli::{self, Cli, Command, Common};
use crate::config::{self, Config, ConfigError};
use crate::control::CallError;
use crate::datadir::DataDirError;
use crate::logging::{self, LogLevelError};
use crate::operations::{NewRepo, Operation, OperationError, OrgRole, TokenRef};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    LogLevel(#[from] LogLevelError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Open(#[from] crate::node::OpenError),
    #[error(transparent)]
    FirstStart(#[from] crate::boot::FirstStartError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot open the control socket: {0}")]
    Control(#[source] io::Error),
    #[error("{}", .0.full_text())]
    Operation(Box<OperationError>),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{in_use}, and does not answer: {call}. Try again when it has started or ended")]
    NoAnswer { in_use: DataDirError, call: CallError },
    #[error("{missing} of {objects} objects are not in {place}; copy them there first. Nothing was changed")]
    NotMoved { missing: u64, objects: u64, place: String },
    #[error("no server is running here whose clock could be moved")]
    NoServer,
    #[error(transparent)]
    Place(#[from] crate::place::PlaceError),
    #[error(transparent)]
    Db(#[from] database::DbError),
    #[error(transparent)]
    Database(#[from] database::OpenError),
    #[error(transparent)]
    Restore(#[from] change::RestoreError),
    #[error(transparent)]
    Rebuild(#[from] change::RebuildError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The whole program.
pub fn main() -> ExitCode {
    // Everything below the data directory is for its owner alone, whatever the directory's own mode. Before threads.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cli = Cli::parse();
    let outcome = run(cli);
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever read our output has seen enough: `granary repo list | head`.
        Err(CommandError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "granary: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// False if it ran and found faults.
fn run(cli: Cli) -> Result<bool, CommandError> {
    let config = configure(&cli.common)?;
    let operation = match cli.command {
        Command::Serve(serve) => {
            logging::start(&config.log)?;
            return serve::run(config, serve).map(|()| true);
        }
        Command::Debug(cli::Debug::Faults) => return local::faults(),
        Command::Debug(cli::Debug::Routes) => return local::routes(),
        Command::Restore { dir } => return quiet(&config).and_then(|()| local::restore(&config, &dir)),
        Command::Rebuild => return quiet(&config).and_then(|()| local::rebuild(&config)),
        Command::Lfs(cli::Lfs::Moved) => return quiet(&config).and_then(|()| local::moved(config)),
        Command::Doctor => return quiet(&config).and_then(|()| local::doctor(config)),
        Command::Stats { repo, json: true } => {
            let operation = Operation::Stats { repo: repo.map(|repo| repo.to_string()) };
            return quiet(&config).and_then(|()| owner::run_as(config, operation, owner::Form::Json));
        }
        Command::Repo(cli::Repo::List) => return quiet(&config).and_then(|()| owner::list_repos(config)),
        other => operation(other)?,
    };
    quiet(&config)?;
    owner::run(config, operation)
}

/// A command's own output is not to be mixed with what is usual in a server's log.
fn quiet(config: &Config) -> Result<(), CommandError> {
    let log = config::Log { level: "warn".to_owned(), ..config.log.clone() };
    Ok(logging::start(&log)?)
}

fn configure(common: &Common) -> Result<Config, CommandError> {
    let mut config = config::load(common.config.as_deref(), &config::environment())?;
    if let Some(data_dir) = &common.data_dir {
        config.storage.data_dir.clone_from(data_dir);
    }
    Ok(config)
}

/// What the owner of the data directory is to do.
fn operation(command: Command) -> Result<Operation, CommandError> {
    Ok(match command {
        Command::User(user) => user_operation(user),
        Command::Token(token) => token_operation(token)?,
        Command::Org(org) => org_operation(org),
        Command::Repo(repo) => repo_operation(repo)?,
        Command::Quota { namespace, set } => Operation::Quota { namespace, set },
        Command::Lfs(cli::Lfs::Remove { repo, oid }) => Operation::LfsRemove { repo, oid },
        Command::Lfs(cli::Lfs::RotateKeys) => Operation::LfsRotateKeys {},
        Command::Stats { repo, .. } => Operation::Stats { repo: repo.map(|repo| repo.to_string()) },
        Command::Fsck { repo } => Operation::Fsck { repo: repo.map(|repo| repo.to_string()) },
        Command::Gc(cli::Gc { dry_run, repo, purge }) => {
            let is_purge = purge.is_some();
            Operation::Gc { repo: repo.or(purge).map(|repo| repo.to_string()), dry_run, purge: is_purge }
        }
        Command::Maintain { now } => Operation::Maintain { now },
        Command::Backup { dir } => Operation::Backup { dir: absolute(&dir)? },
        Command::Debug(cli::Debug::Clock { by }) => Operation::AdvanceClock { by_ms: by },
        Command::Serve(_)
        | Command::Debug(cli::Debug::Faults | cli::Debug::Routes)
        | Command::Lfs(cli::Lfs::Moved)
        | Command::Restore { .. }
        | Command::Rebuild
        | Command::Doctor => {
            return Err(CommandError::Usage("this command does not go to a server".to_owned()));
        }
    })
}

fn user_operation(command: cli::User) -> Operation {
    match command {
        cli::User::Create { name, admin } => Operation::UserCreate { name, admin },
        cli::User::List => Operation::UserList {},
        cli::User::Disable { name } => Operation::UserSetDisabled { name, disabled: true },
        cli::User::Enable { name } => Operation::UserSetDisabled { name, disabled: false },
    }
}

fn token_operation(command: cli::Token) -> Result<Operation, CommandError> {
    Ok(match command {
        cli::Token::Create { user, role, name, import } => {
            let import = import.then(secret_from_stdin).transpose()?;
            Operation::TokenCreate { user, role, name, import }
        }
        cli::Token::List { user } => Operation::TokenList { user },
        cli::Token::Revoke { id: Some(id), .. } => Operation::TokenRevoke { token: TokenRef::Id(id) },
        cli::Token::Revoke { id: None, .. } => {
            Operation::TokenRevoke { token: TokenRef::Secret(secret_from_stdin()?) }
        }
    })
}

fn org_operation(command: cli::Org) -> Operation {
    match command {
        cli::Org::Create { name, owner } => Operation::OrgCreate { name, owner },
        cli::Org::List => Operation::OrgList {},
        cli::Org::Members { name } => Operation::OrgMembers { org: name },
        cli::Org::Add { name, user, role } => {
            let role = match role {
                cli::OrgRole::Read => OrgRole::Read,
                cli::OrgRole::Contributor => OrgRole::Contributor,
                cli::OrgRole::Write => OrgRole::Write,
                cli::OrgRole::Admin => OrgRole::Admin,
            };
            Operation::OrgSetMember { org: name, user, role: Some(role) }
        }
        cli::Org::Remove { name, user } => Operation::OrgSetMember { org: name, user, role: None },
    }
}

fn repo_operation(command: cli::Repo) -> Result<Operation, CommandError> {
    let new_repo = |path, new: cli::NewRepo| NewRepo {
        path,
        public: new.visibility(),
        mirror: new.mirror,
        blob_bytes_max: new.blob_max.map(config::Size::bytes),
        lfs_incomplete: new.lfs_incomplete,
    };
    Ok(match command {
        cli::Repo::Create { repo, new } => Operation::RepoCreate { repo: new_repo(repo, new) },
        cli::Repo::List => Operation::RepoList { after: None },
        cli::Repo::Delete { repo } => Operation::RepoDelete { repo },
        cli::Repo::Rename { repo, to } => Operation::RepoRename { repo, to },
        cli::Repo::Visibility { repo, visibility } => {
            Operation::RepoSetVisibility { repo, public: visibility == cli::Visibility::Public }
        }
        cli::Repo::Mirror { repo, mirror } => {
            Operation::RepoSetMirror { repo, mirror: mirror == cli::Switch::On }
        }
        cli::Repo::Export { repo, dir } => Operation::RepoExport { repo, dir: absolute(&dir)? },
        cli::Repo::Import { dir, repo, new } => {
            Operation::RepoImport { dir: absolute(&dir)?, repo: new_repo(repo, new) }
        }
    })
}

/// The server's working directory is not ours.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    Ok(std::path::absolute(path)?)
}

fn secret_from_stdin() -> Result<TokenSecret, CommandError> {
    let mut text = String::new();
    let limit = auth::token::IMPORTED_BYTES_MAX as u64 + 2;
    io::stdin().take(limit).read_to_string(&mut text)?;
    let token = text.trim_end_matches(['\n', '\r']);
    if token.is_empty() {
        return Err(CommandError::Usage("no token on stdin".to_owned()));
    }
    Ok(TokenSecret::presented(token.to_owned()))
}

/// On stdout, ended by a newline unless there is nothing.
fn print(text: &impl std::fmt::Display) -> io::Result<()> {
    let text = text.to_string();
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

impl From<OperationError> for CommandError {
    fn from(error: OperationError) -> Self {
        CommandError::Operation(Box::new(error))
    }
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            CommandError::Config(_) | CommandError::LogLevel(_) | CommandError::Usage(_) => 2,
            _ => 1,
        }
    }
}
