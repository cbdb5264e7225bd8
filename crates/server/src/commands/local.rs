//! Commands that no server does for us.

use std::path::Path;

use database::{Clock, Database, fault};

use crate::Node;
use crate::commands::owner::{self, Owner};
use crate::commands::{CommandError, print};
use crate::config::{Config, StorageUrl};
use crate::datadir::{DataDir, DataDirError};
use crate::doctor;
use crate::hub_catalogue;
use crate::operations::{Operation, Outcome};
use crate::place;

/// See [`crate::cli::Debug::Faults`].
pub(super) fn faults() -> Result<bool, CommandError> {
    let names: Vec<&str> = fault::Point::ALL.iter().map(|point| point.name()).collect();
    print(&names.join("\n"))?;
    Ok(true)
}

/// See [`crate::cli::Debug::Routes`].
pub(super) fn routes() -> Result<bool, CommandError> {
    let rows: Vec<String> = hub_catalogue::rows().map(|row| serde_json::json!(row).to_string()).collect();
    print(&rows.join("\n"))?;
    Ok(true)
}

/// See [`crate::cli::Command::Restore`].
pub(super) fn restore(config: &Config, backup: &Path) -> Result<bool, CommandError> {
    let data_dir = DataDir::create(&config.storage.data_dir)?;
    // Nothing is written into a bucket: what the backup has of it goes where a copy can be made from.
    let large_dir = match &config.storage.url {
        Some(StorageUrl::Directory(path)) => Some(path.as_path()),
        Some(StorageUrl::Bucket { .. }) | None => None,
    };
    let report = owner::runtime()?.block_on(async {
        let report = change::restore(backup, data_dir.path(), large_dir).await?;
        if report.large_in.is_none() {
            let database = Database::open(&data_dir.database_path(), Clock::default())?;
            place::remember_restored(large_dir, &database).await?;
            database.close().await;
        }
        Ok::<_, CommandError>(report)
    });
    print(&report?)?;
    Ok(true)
}

/// See [`crate::cli::Command::Rebuild`].
pub(super) fn rebuild(config: &Config) -> Result<bool, CommandError> {
    let data_dir = DataDir::create(&config.storage.data_dir)?;
    let report = owner::runtime()?.block_on(async {
        let store = place::elsewhere(config, &Clock::default()).await?;
        let report = change::rebuild(data_dir.path(), store.clone()).await?;
        let database = Database::open(&data_dir.database_path(), Clock::default())?;
        place::remember(config, store.as_ref(), &database).await?;
        database.close().await;
        Ok::<_, CommandError>(report)
    })?;
    print(&report)?;
    Ok(report.problems.is_empty())
}

/// See [`crate::cli::Lfs::Moved`]. A server would not start as long as this is not said.
pub(super) fn moved(config: Config) -> Result<bool, CommandError> {
    let data_dir = DataDir::existing(&config.storage.data_dir)?;
    owner::runtime()?.block_on(async {
        let node = Node::open_anywhere(config, data_dir).await?;
        let moved = check_and_remember(&node).await;
        node.close().await;
        print(&moved?)?;
        Ok(true)
    })
}

async fn check_and_remember(node: &Node) -> Result<String, CommandError> {
    let place = node.objects.store().describe();
    let report = node
        .objects
        .check_objects(false, |finding| {
            tracing::warn!(key = finding.key, problem = %finding.problem, "an object is not where it should be");
        })
        .await?;
    let mut xorbs_missing = 0;
    let xet = node.objects.xet().check(false, |finding| {
        // What is wrong with a file comes of that, or is not the place's fault.
        if let xet::XetFinding::Xorb { .. } = &finding {
            xorbs_missing += 1;
            tracing::warn!(%finding, "a xorb is not where it should be");
        }
    });
    let xet = xet.await?;
    let (objects, missing) = (report.objects + xet.xorbs, report.findings + xorbs_missing);
    if missing > 0 {
        return Err(CommandError::NotMoved { missing, objects, place });
    }
    let is_marked = place::remember(&node.config, Some(node.objects.store()), &node.database).await?;
    let note = match is_marked {
        true => "",
        false => {
            "\nThere was no file granary-store with them, by which the hub knows the place; it has a new one now"
        }
    };
    Ok(format!("{objects} objects are in {place}, which is where they are served from now on{note}"))
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
