//! The command line as it is typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use database::{Namespace, RepoPath, Sha256};

use crate::config::PublicUrl;
use crate::config::units::{Size, Span, UnitError};
use crate::operations::{Quota, Role};

/// A self-hosted hub for models, datasets and Spaces: plain git, one binary, one data directory.
///
/// While `serve` runs, every other command reaches it over a socket in the data directory; otherwise the command does
/// its work itself. REPO is NS/NAME, datasets/NS/NAME or spaces/NS/NAME.
#[derive(Debug, Parser)]
#[command(name = "granary", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file (TOML); GRANARY__SECTION__KEY in the environment overrides each of its keys
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; overrides storage.data_dir [default: ./granary-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server. On an empty data directory it first creates an administrator and a token
    Serve(Serve),
    /// Users
    #[command(subcommand)]
    User(User),
    /// Access tokens
    #[command(subcommand)]
    Token(Token),
    /// Organisations: several users behind one namespace
    #[command(subcommand)]
    Org(Org),
    /// Repositories
    #[command(subcommand)]
    Repo(Repo),
    /// Print how many bytes of large objects a user's repositories take and may take; with an argument, change the latter
    Quota {
        namespace: Namespace,
        /// SIZE, none, or default: what lfs.quota says
        #[arg(value_name = "SIZE|none|default", value_parser = quota)]
        set: Option<Quota>,
    },
    /// Large objects
    #[command(subcommand)]
    Lfs(Lfs),
    /// Print how many bytes of large objects there are, how many of them are stored, and whether for one repository alone:
    /// of each and of all
    Stats {
        /// Only this repository
        #[arg(long)]
        repo: Option<RepoPath>,
        /// As a JSON document
        #[arg(long)]
        json: bool,
    },
    /// Check rows, packs, objects and xorbs; exits with 1 if something is wrong
    Fsck {
        /// Only this repository
        #[arg(long)]
        repo: Option<RepoPath>,
    },
    /// Drop objects that no ref has reached for the time of maintenance.gc_retention
    Gc(Gc),
    /// Compact packs and delete what is due, as the server does in the background
    Maintain {
        /// All that could be done, instead of all that is due
        #[arg(long)]
        now: bool,
    },
    /// Copy everything into DIR, consistently, while the server runs
    Backup { dir: PathBuf },
    /// Make the data directory from a backup; it must not hold data yet
    Restore {
        /// What `backup` wrote
        dir: PathBuf,
    },
    /// Make a lost database anew from packs, xorbs and manifests: repositories, refs, buckets and a user per namespace, but no
    /// tokens
    Rebuild,
    /// Check data directory, file system, free space, schema, clock and limits; print all settings in force
    Doctor,
    /// For tests
    #[command(subcommand)]
    Debug(Debug),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address to listen on; overrides server.listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// How clients reach this server; overrides server.public_url
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create a user, whose name is also the namespace of their repositories
    Create {
        name: Namespace,
        /// May do everything
        #[arg(long)]
        admin: bool,
    },
    /// Print name, kind, state and time of creation of every user
    List,
    /// Reject all tokens of a user
    Disable { name: String },
    /// Accept them again
    Enable { name: String },
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Print a new token, alone, on stdout
    Create {
        user: String,
        /// What it allows at most
        #[arg(long, value_enum)]
        role: Role,
        /// To recognise it by
        #[arg(long, default_value = "")]
        name: String,
        /// Take the token given on stdin instead of making one
        #[arg(long)]
        import: bool,
    },
    /// Print number, name, role, state and time of creation of every token of a user
    List { user: String },
    /// Reject a token from now on, in requests under way too
    Revoke {
        /// The number that `token list` shows
        #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
        id: Option<i64>,
        /// The token itself is given on stdin
        #[arg(long)]
        stdin: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Org {
    /// Create an organisation, whose name is also the namespace of its repositories
    Create {
        name: Namespace,
        /// Its first administrator
        #[arg(long)]
        owner: String,
    },
    /// Print name and time of creation of every organisation
    List,
    /// Print name and role of every member
    Members { name: String },
    /// Make a user a member, or change what a member may do
    Add {
        name: String,
        user: String,
        #[arg(long, value_enum)]
        role: OrgRole,
    },
    /// Take a member out
    Remove { name: String, user: String },
}

/// What a member may do in the organisation's repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrgRole {
    /// Read private ones
    Read,
    /// Create new ones, and write to those
    Contributor,
    /// Write to all of them, create and delete them
    Write,
    /// The same, and decide who the members are
    Admin,
}

#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Create a repository
    Create {
        repo: RepoPath,
        #[command(flatten)]
        new: NewRepo,
    },
    /// Print path, visibility, "mirror", "lfs-incomplete", both or "-", and time of creation of every repository
    List,
    /// Delete a repository
    Delete { repo: RepoPath },
    /// Give a repository another name; the old one redirects
    Rename { repo: RepoPath, to: RepoPath },
    /// Show a repository to everybody, or to its owner and administrators only. Before it is shown to everybody, what no
    /// ref reaches is dropped
    Visibility { repo: RepoPath, visibility: Visibility },
    /// Let an administrator push every ref, refs/pr/* too; or no more
    Mirror { repo: RepoPath, mirror: Switch },
    /// Write a repository into DIR as a bare git repository
    Export { repo: RepoPath, dir: PathBuf },
    /// Take every ref of the git repository in DIR into a new or existing repository
    Import {
        dir: PathBuf,
        repo: RepoPath,
        #[command(flatten)]
        new: NewRepo,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Visibility {
    Public,
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub struct NewRepo {
    /// Everybody may read it [default: what repos.default_visibility says]
    #[arg(long, conflicts_with = "private")]
    pub public: bool,
    /// Only its owner and administrators see it
    #[arg(long)]
    pub private: bool,
    /// An administrator may push every ref, refs/pr/* too
    #[arg(long)]
    pub mirror: bool,
    /// Largest file outside LFS, instead of limits.blob_bytes
    #[arg(long, value_name = "SIZE")]
    pub blob_max: Option<Size>,
    /// Pushes and imports may leave LFS objects out, as those of a mirror without its large files
    #[arg(long)]
    pub lfs_incomplete: bool,
}

#[derive(Debug, Subcommand)]
pub enum Lfs {
    /// Remove an object from a repository for good; refs may still name it, and downloads are told that it was removed
    Remove {
        repo: RepoPath,
        /// SHA-256 of the object
        oid: Sha256,
    },
    /// Sign links to objects by a new key; links already handed out stay good until they expire
    RotateKeys,
    /// Say that all objects were copied to where storage.url points now; checks that they are there
    Moved,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Only this repository
    #[arg(long, conflicts_with = "purge")]
    pub repo: Option<RepoPath>,
    /// This repository, at once and without retention
    #[arg(long, value_name = "REPO")]
    pub purge: Option<RepoPath>,
}

#[derive(Debug, Subcommand)]
pub enum Debug {
    /// List the places where GRANARY_FAULT=NAME[:N] ends a server
    Faults,
    /// List the addresses of the Hub's API, those that are refused included, a JSON document a line
    Routes,
    /// Move the clock of a server that was started with GRANARY_DEBUG=1: +15d, -1h
    Clock {
        #[arg(allow_hyphen_values = true, value_parser = shift_ms)]
        by: i64,
    },
}

impl NewRepo {
    /// `None` if nothing was said.
    pub fn visibility(&self) -> Option<bool> {
        match (self.public, self.private) {
            (false, false) => None,
            (public, _) => Some(public),
        }
    }
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &[Role::Read, Role::Write]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self {
            Role::Read => "read".into(),
            Role::Write => "write".into(),
        })
    }
}

fn quota(text: &str) -> Result<Quota, UnitError> {
    match text {
        "none" => Ok(Quota::Unlimited),
        "default" => Ok(Quota::Default),
        size => Ok(Quota::Bytes(size.parse::<Size>()?.bytes())),
    }
}

/// `+15d` or `-1h` in milliseconds.
fn shift_ms(text: &str) -> Result<i64, UnitError> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Ok(sign * span.parse::<Span>()?.ms())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(std::iter::once("granary").chain(line.split(' '))).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_parses() {
        for line in [
            "serve --config granary.toml --data-dir d --listen 127.0.0.1:0 --public-url https://hub",
            "user create ann --admin",
            "user list --data-dir d",
            "user disable ann",
            "user enable ann",
            "token create ann --role write --name laptop",
            "token create ann --role read --import",
            "token list ann",
            "token revoke 3",
            "token revoke --stdin",
            "org create acme --owner ann",
            "org list",
            "org members acme",
            "org add acme bob --role contributor",
            "org remove acme bob",
            "repo create ann/x --public",
            "repo create datasets/ann/x --private --mirror --blob-max 100MiB",
            "repo list",
            "repo delete spaces/ann/x",
            "repo rename ann/x ann/y",
            "repo visibility ann/x public",
            "repo visibility datasets/ann/x private",
            "repo mirror ann/x on",
            "repo mirror ann/x off",
            "repo export ann/x dir",
            "repo import dir ann/x --mirror --blob-max 1GiB",
            "repo create ann/x --lfs-incomplete",
            "quota ann",
            "quota ann 10TiB",
            "quota ann none",
            "quota ann default",
            "lfs remove datasets/ann/x e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "lfs rotate-keys",
            "lfs moved",
            "stats",
            "stats --repo datasets/ann/x --json",
            "fsck --repo ann/x",
            "gc --dry-run",
            "gc --purge ann/x",
            "maintain --now",
            "backup dir",
            "restore dir --data-dir d",
            "rebuild",
            "doctor",
            "debug faults",
            "debug routes",
            "debug clock +15d",
            "debug clock -1h",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for line in [
            "user create datasets",
            "user create a/b",
            "token create ann",
            "token revoke",
            "token revoke 3 --stdin",
            "org create acme",
            "org add acme bob --role owner",
            "repo create x",
            "repo create ann/x --public --private",
            "repo create ann/x --blob-max many",
            "repo visibility ann/x",
            "repo visibility ann/x hidden",
            "quota",
            "quota ann much",
            "lfs remove ann/x E3B0",
            "repo mirror ann/x",
            "repo mirror ann/x yes",
            "debug clock tomorrow",
            "serve --listen 8080",
            "serve --public-url hub",
            "gc --repo a/b --purge a/b",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn clock_shifts() {
        assert_eq!(shift_ms("+15d"), Ok(15 * 86_400_000));
        assert_eq!(shift_ms("1s"), Ok(1000));
        assert_eq!(shift_ms("-1h"), Ok(-3_600_000));
        assert!(shift_ms("--1h").is_err());
    }
}
