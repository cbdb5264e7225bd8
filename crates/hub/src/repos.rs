//! Repositories made, moved, changed and deleted.

use auth::{Admin, Authorized, Identity, Propose};
use bytes::Bytes;
use change::{NewCommit, RepoError};
use database::{CreateError, Gating, NewRepo, Repo, RepoKind, RepoPath, RepoSettings, Visibility};
use serde::Deserialize;

use crate::upload::{self, Planned};
use crate::{Hub, HubError, blocking, defaults, refs};

/// A repository that is to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    /// With or without its namespace.
    pub name: String,
    pub organization: Option<String>,
    pub visibility: Option<String>,
    pub private: Option<bool>,
    pub license: Option<String>,
    #[serde(alias = "license_name")]
    pub license_name: Option<String>,
    #[serde(alias = "license_link")]
    pub license_link: Option<String>,
    /// Of a space: what runs it.
    pub sdk: Option<String>,
    /// Instead of, or beside, those that it begins with.
    #[serde(default)]
    pub files: Vec<NewFile>,
}

#[derive(Debug, Deserialize)]
pub struct NewFile {
    pub path: String,
    pub content: String,
    pub encoding: Option<String>,
}

/// What is to be changed of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub visibility: Option<String>,
    pub private: Option<bool>,
    pub gated: Option<serde_json::Value>,
    pub discussions_disabled: Option<bool>,
}

const SDKS: &[&str] = &["gradio", "streamlit", "docker", "static"];

impl Hub {
    /// The namespace is the one in the name, the organisation, or the user's own.
    pub fn path_of(
        &self,
        identity: &Identity,
        kind: RepoKind,
        name: &str,
        organization: Option<&str>,
    ) -> Result<RepoPath, HubError> {
        let own = identity.name().unwrap_or_default();
        let (namespace, name) = match name.split_once('/') {
            Some(parts) => parts,
            None => (organization.filter(|name| !name.is_empty()).unwrap_or(own), name),
        };
        RepoPath::new(kind, namespace, name).map_err(|error| HubError::Invalid(error.to_string()))
    }

    pub async fn create(
        &self,
        identity: &Identity,
        kind: RepoKind,
        create: Create,
    ) -> Result<Repo, HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        let path = self.path_of(identity, kind, &create.name, create.organization.as_deref())?;
        let allowed = auth::may_create(identity, &path.namespace.folded());
        if let Err(denied) = allowed {
            // What is there already, and theirs to read, is named as such: clients go on with it.
            let there = self.0.database.find_repo(&path)?;
            if let Some(database::Found::Repo(repo)) = there
                && auth::authorize::<auth::Read>(self.0.settings.auth, identity, repo.clone()).is_ok()
            {
                return Err(exists(&repo.path));
            }
            return Err(match denied {
                auth::Denied::Forbidden => HubError::Forbidden(format!(
                    "You don't have the rights to create a {} under the namespace \"{}\"",
                    kind_name(kind),
                    path.namespace
                )),
                other => other.into(),
            });
        }
        let planned = self.first_files(kind, &path, &create).await?;
        let visibility = visibility(create.visibility.as_deref(), create.private)?
            .unwrap_or(self.0.settings.default_visibility);
        let new = NewRepo {
            path: path.clone(),
            visibility,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let made = self.0.database.create_repo_by(new, Some(principal.user.id)).await;
        let repo = match made {
            Err(CreateError::Taken) => return Err(exists(&path)),
            other => other?,
        };
        if let Err(error) = self.first_commit(identity, &repo, planned).await {
            // Half a repository would be in the way of the next try.
            match self.0.changes.discard_repo(&repo).await {
                Ok(()) | Err(RepoError::Gone) => {}
                Err(error) => {
                    tracing::warn!(repo = %repo.path, %error, "a repository without its first commit stays");
                }
            }
            return Err(error);
        }
        Ok(repo)
    }

    async fn first_commit(
        &self,
        identity: &Identity,
        repo: &Repo,
        planned: Vec<Planned>,
    ) -> Result<(), HubError> {
        let access = auth::authorize::<Propose>(self.0.settings.auth, identity, repo.clone())?;
        let edits = self.edits(&access, planned).await?;
        let (author_name, author_email) = refs::author(&access);
        let commit = NewCommit {
            branch: repo.head_ref.clone(),
            parent: None,
            proposal: None,
            edits,
            author_name,
            author_email,
            message: "initial commit".to_owned(),
        };
        let made = self.0.changes.commit(access, commit).await;
        made.map(drop).map_err(|error| HubError::of_commit(error, &repo.head_ref, None))
    }

    /// What a new repository begins with, by the rules of any commit.
    async fn first_files(
        &self,
        kind: RepoKind,
        path: &RepoPath,
        create: &Create,
    ) -> Result<Vec<Planned>, HubError> {
        let files = first_files(kind, path, create)?;
        let rules = self.rules();
        blocking(move || upload::planned_files(files, rules, kind)).await
    }

    pub async fn delete(&self, access: &Authorized<Admin>) -> Result<(), HubError> {
        let access = access.reauthorize(&self.0.database)?;
        Ok(self.0.changes.delete_repo(access.repo()).await?)
    }

    /// The old name leads to the new one from now on.
    pub async fn rename(
        &self,
        identity: &Identity,
        access: &Authorized<Admin>,
        to: RepoPath,
    ) -> Result<Repo, HubError> {
        let access = access.reauthorize(&self.0.database)?;
        let from = &access.repo().path;
        if to.namespace.folded() != from.namespace.folded() {
            auth::may_create(identity, &to.namespace.folded())?;
        }
        match self.0.database.rename_repo(access.repo_id(), to.clone()).await {
            Err(CreateError::Taken) => {
                let kind = kind_name(to.kind);
                Err(HubError::Conflict(format!("A {kind} repository called {} already exists", id(&to))))
            }
            other => Ok(other?),
        }
    }

    /// True if what was answered for it before must be forgotten.
    pub async fn set(&self, access: &Authorized<Admin>, settings: Settings) -> Result<bool, HubError> {
        let repo = access.repo();
        let gating = settings.gated.as_ref().map(gating).transpose()?;
        let visibility = visibility(settings.visibility.as_deref(), settings.private)?;
        let discussions_disabled = settings.discussions_disabled;
        let changes = RepoSettings { visibility, gating, discussions_disabled };
        if changes == RepoSettings::default() {
            return Ok(false);
        }
        let access = access.reauthorize(&self.0.database)?;
        self.0.changes.set_repo(repo, changes, Some(access.acl_version())).await?;
        Ok(visibility == Some(Visibility::Public) && repo.visibility != Visibility::Public)
    }
}

pub(crate) fn exists(path: &RepoPath) -> HubError {
    HubError::Exists { kind: kind_name(path.kind), path: path.clone() }
}

pub fn kind_name(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "model",
        RepoKind::Dataset => "dataset",
        RepoKind::Space => "space",
    }
}

/// `NAMESPACE/NAME`, whatever the kind.
pub fn id(path: &RepoPath) -> String {
    format!("{}/{}", path.namespace, path.name())
}

pub(crate) fn visibility(named: Option<&str>, private: Option<bool>) -> Result<Option<Visibility>, HubError> {
    match (named, private) {
        (Some("public"), _) | (None, Some(false)) => Ok(Some(Visibility::Public)),
        // Of a space whose app is public; there are no apps here.
        (Some("private" | "protected"), _) | (None, Some(true)) => Ok(Some(Visibility::Private)),
        (Some(other), _) => Err(HubError::Invalid(format!(
            "visibility is public or private, not \"{}\"",
            crate::at::shown(other)
        ))),
        (None, None) => Ok(None),
    }
}

fn gating(value: &serde_json::Value) -> Result<Gating, HubError> {
    match value {
        serde_json::Value::Bool(false) => Ok(Gating::Off),
        value if value == "auto" => Ok(Gating::Auto),
        value if value == "manual" => Ok(Gating::Manual),
        _ => Err(HubError::Invalid("gated is \"auto\", \"manual\" or false".to_owned())),
    }
}

/// Of the same path the last counts.
fn first_files(kind: RepoKind, path: &RepoPath, create: &Create) -> Result<Vec<(String, Bytes)>, HubError> {
    let mut files = vec![(".gitattributes".to_owned(), defaults::gitattributes(kind).into())];
    if let Some(readme) = readme(kind, path, create)? {
        files.push(("README.md".to_owned(), readme.into()));
    }
    for file in &create.files {
        let content = match file.encoding.as_deref() {
            None | Some("utf-8") => Bytes::from(file.content.clone()),
            Some("base64") => {
                use base64::Engine;
                let decoded = base64::engine::general_purpose::STANDARD.decode(&file.content);
                decoded.map_err(|_| HubError::Invalid(format!("{} is not base64", file.path)))?.into()
            }
            Some(other) => return Err(HubError::Invalid(format!("there is no encoding \"{other}\""))),
        };
        files.retain(|(path, _)| *path != file.path);
        files.push((file.path.clone(), content));
    }
    Ok(files)
}

fn readme(kind: RepoKind, path: &RepoPath, create: &Create) -> Result<Option<String>, HubError> {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &Option<String>| {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            // A string of JSON is one of YAML.
            lines.push(format!("{name}: {}", plain_or_quoted(value)));
        }
    };
    if kind == RepoKind::Space {
        match create.sdk.as_deref() {
            Some(sdk) if SDKS.contains(&sdk) => {}
            Some(sdk) => {
                return Err(HubError::Invalid(format!("there is no sdk \"{}\"", crate::at::shown(sdk))));
            }
            None => {
                return Err(HubError::Invalid(
                    "a space needs an sdk: gradio, streamlit, docker or static".into(),
                ));
            }
        }
        field("title", &Some(path.name().to_owned()));
        field("sdk", &create.sdk);
    }
    field("license", &create.license);
    field("license_name", &create.license_name);
    field("license_link", &create.license_link);
    Ok((!lines.is_empty()).then(|| format!("---\n{}\n---\n", lines.join("\n"))))
}

fn plain_or_quoted(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && value.starts_with(|c: char| c.is_ascii_alphabetic())
        && !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off"
        );
    if is_plain { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_readme_can_be_read() {
        let path: RepoPath = "spaces/acme/x".parse().unwrap();
        let create = Create {
            sdk: Some("gradio".into()),
            license: Some("other".into()),
            license_name: Some("ours: \"all\"".into()),
            ..Create::default()
        };
        let readme = readme(RepoKind::Space, &path, &create).unwrap().unwrap();
        let card = crate::card::read(readme.as_bytes()).unwrap();
        assert_eq!(
            card.data,
            serde_json::json!({ "title": "x", "sdk": "gradio", "license": "other", "license_name": "ours: \"all\"" })
        );
        assert!(super::readme(RepoKind::Model, &path, &Create::default()).unwrap().is_none());
        assert!(super::readme(RepoKind::Space, &path, &Create::default()).is_err());
    }

    #[test]
    fn visibilities() {
        assert_eq!(visibility(None, None).unwrap(), None);
        assert_eq!(visibility(None, Some(true)).unwrap(), Some(Visibility::Private));
        assert_eq!(visibility(Some("public"), Some(true)).unwrap(), Some(Visibility::Public));
        assert!(visibility(Some("secret"), None).is_err());
    }
}
