//! Commands that no server does for us.

use std::path::Path;

use database::fault;

use crate::commands::owner::{self, Owner};
use crate::commands::{CommandError, print};
use crate::config::Config;
use crate::datadir::{DataDir, DataDirError};
use crate::doctor;
use crate::operations::{Operation, Outcome};

/// See [`crate::cli::Debug::Faults`].
pub(super) fn faults() -> Result<bool, CommandError> {
    let names: Vec<&str> = fault::Point::ALL.iter().map(|point| point.name()).collect();
    print(&names.join("\n"))?;
    Ok(true)
}

/// See [`crate::cli::Command::Restore`].
pub(super) fn restore(config: &Config, backup: &Path) -> Result<bool, CommandError> {
    let data_dir = DataDir::create(&config.storage.data_dir)?;
    print(&owner::runtime()?.block_on(change::restore(backup, data_dir.path()))?)?;
    Ok(true)
}

/// See [`crate::cli::Command::Rebuild`].
pub(super) fn rebuild(config: &Config) -> Result<bool, CommandError> {
    let data_dir = DataDir::create(&config.storage.data_dir)?;
    let report = owner::runtime()?.block_on(change::rebuild(data_dir.path()))?;
    print(&report)?;
    Ok(report.problems.is_empty())
}

/// See [`crate::cli::Command::Doctor`]. Goes on where other commands give up: that the data cannot be opened is a
/// finding too.
pub(super) fn doctor(config: Config) -> Result<bool, CommandError> {
    let mut report = doctor::of_directory(&config.storage.data_dir, &config);
    let asked = owner::runtime()?.block_on(async {
        let owner = Owner::find(config, false).await?;
        let outcome = owner.run(Operation::Doctor {}).await;
        owner.close().await;
        Ok::<_, CommandError>((outcome?, matches!(owner, Owner::Server { .. })))
    });
    match asked {
        Ok((Outcome::Doctor(of_owner), served)) => {
            report = of_owner;
            report.good("server", if served { "running; this is what it says" } else { "not running" });
        }
        Ok(_) => report.bad("server", "it answered something else"),
        // Said already, of the directory.
        Err(CommandError::DataDir(DataDirError::Missing { path })) if !path.exists() => {}
        Err(CommandError::DataDir(DataDirError::Missing { .. })) => {
            report.warn("database", "there is none yet; `granary serve` creates it");
        }
        Err(error) => report.bad("opening the data", error.to_string()),
    }
    print(&report)?;
    Ok(report.is_good())
}
