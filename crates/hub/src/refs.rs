//! Branches and tags.

use auth::{Authorized, Right, Write};
use change::Start;
use repository::edit::Description;
use serde::Serialize;

use crate::at::At;
use crate::{Hub, HubError};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refs {
    pub branches: Vec<Ref>,
    pub converts: Vec<Ref>,
    pub tags: Vec<Ref>,
    /// Only if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<Vec<Ref>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ref {
    pub name: String,
    #[serde(rename = "ref")]
    pub full_name: String,
    pub target_commit: String,
}

/// A branch that is to be made.
#[derive(Clone, Debug, Default)]
pub struct NewBranch {
    /// A revision; absent: the default branch.
    pub starting_point: Option<String>,
    pub empty: bool,
    pub overwrite: bool,
}

impl Hub {
    pub async fn refs<A: Right>(
        &self,
        access: &Authorized<A>,
        pull_requests: bool,
    ) -> Result<Refs, HubError> {
        let snapshot = self.snapshot(access.repo()).await?;
        let below = |folder: &str| {
            let rows = snapshot.refs().iter().filter_map(|row| Some((row.name.strip_prefix(folder)?, row)));
            let refs = rows.map(|(name, row)| Ref {
                name: name.to_owned(),
                full_name: row.name.clone(),
                target_commit: row.peeled.unwrap_or(row.oid).to_string(),
            });
            refs.collect()
        };
        Ok(Refs {
            branches: below("refs/heads/"),
            converts: below("refs/convert/"),
            tags: below("refs/tags/"),
            pull_requests: pull_requests.then(|| below("refs/pr/")),
        })
    }

    pub async fn create_branch(
        &self,
        access: Authorized<Write>,
        name: &str,
        new: NewBranch,
    ) -> Result<(), HubError> {
        let start = match (&new.starting_point, new.empty) {
            (_, true) => Start::Nothing,
            (Some(revision), false) => Start::Commit(self.at(&access, revision).await?.commit),
            (None, false) => match self.head(&access).await? {
                Some(At { commit, .. }) => Start::Commit(commit),
                None => Start::Nothing,
            },
        };
        let description = self.description(&access, "initial commit".to_owned());
        self.0.changes.create_branch(access, name, start, description, new.overwrite).await?;
        Ok(())
    }

    pub async fn delete_branch(&self, access: Authorized<Write>, name: &str) -> Result<(), HubError> {
        Ok(self.0.changes.delete_branch(access, name).await?)
    }

    /// Leaves one commit of a branch, with the files that it has.
    pub async fn super_squash(
        &self,
        access: Authorized<Write>,
        branch: &str,
        message: Option<String>,
    ) -> Result<(), HubError> {
        let message = message.filter(|message| !message.trim().is_empty());
        let message = message.unwrap_or_else(|| format!("Super-squash branch '{branch}'"));
        let description = self.description(&access, message);
        self.0.changes.squash_branch(access, branch, description).await?;
        Ok(())
    }

    /// On `revision`. With a message it is an annotated one.
    pub async fn create_tag(
        &self,
        access: Authorized<Write>,
        revision: &str,
        name: &str,
        message: Option<String>,
    ) -> Result<(), HubError> {
        let commit = self.at(&access, revision).await?.commit;
        let description = self.description(&access, message.unwrap_or_default());
        Ok(self.0.changes.create_tag(access, name, commit, description).await?)
    }

    pub async fn delete_tag(&self, access: Authorized<Write>, name: &str) -> Result<(), HubError> {
        Ok(self.0.changes.delete_tag(access, name).await?)
    }

    pub(crate) fn description<A: Right>(&self, access: &Authorized<A>, message: String) -> Description {
        let (author_name, author_email) = author(access);
        let seconds = self.0.database.clock().now_ms() / 1000;
        Description { author_name, author_email, seconds, message }
    }
}

/// Users have no addresses here; this one is nobody's.
pub(crate) fn author<A: Right>(access: &Authorized<A>) -> (String, String) {
    let name = access.actor_name().unwrap_or("granary").to_owned();
    let email = format!("{name}@users.noreply.invalid");
    (name, email)
}
