//! Which files of a commit go which way.

use auth::{Authorized, Propose};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use database::Oid;
use repository::Snapshot;
use repository::attributes::{Attributes, Ignore};
use serde::{Deserialize, Serialize};

use crate::at::At;
use crate::rules::{Rules, checked, is_large};
use crate::{Hub, HubError, blocking};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub files: Vec<Asked>,
    /// Instead of the repository's own.
    pub git_ignore: Option<String>,
    pub git_attributes: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Asked {
    pub path: String,
    /// The first bytes, in base64.
    #[serde(default)]
    pub sample: String,
    #[serde(default)]
    pub size: u64,
}

#[derive(Debug, Serialize)]
pub struct Response {
    pub files: Vec<Answered>,
    #[serde(rename = "commitOid", skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    pub path: String,
    pub upload_mode: Mode,
    pub should_ignore: bool,
    /// Of what is there now: of a file in LFS its SHA-256, of another one the id of its blob. Only where the client would
    /// compare it with the same of what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Lfs,
    /// In the commit.
    Regular,
}

const FILES_MAX: usize = 5000;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Hub {
    pub async fn preupload(
        &self,
        access: &Authorized<Propose>,
        revision: &str,
        request: Request,
    ) -> Result<Response, HubError> {
        if request.files.len() > FILES_MAX {
            return Err(HubError::Invalid(format!("at most {FILES_MAX} files can be asked for at once")));
        }
        let snapshot = self.snapshot(access.repo()).await?;
        let at = match snapshot.refs().is_empty() {
            true => None,
            false => Some(At::resolve(std::sync::Arc::clone(&snapshot), revision)?),
        };
        let rules = self.rules();
        blocking(move || answer(&snapshot, at.as_ref(), request, rules)).await
    }

    pub(crate) fn rules(&self) -> Rules {
        let settings = &self.0.settings;
        Rules { blob_bytes_max: settings.blob_bytes_max }
    }
}

fn answer(
    snapshot: &Snapshot,
    at: Option<&At>,
    request: Request,
    rules: Rules,
) -> Result<Response, HubError> {
    let tree = at.map(|at| at.tree);
    let mut attributes = Attributes::new(snapshot, tree);
    if let Some(content) = &request.git_attributes {
        attributes.set("", content.as_bytes())?;
    }
    let ignore = match (&request.git_ignore, tree) {
        (Some(content), _) => Some(Ignore::new(content.as_bytes())),
        (None, Some(tree)) => Ignore::of_tree(snapshot, tree)?,
        (None, None) => None,
    };
    let mut files = Vec::with_capacity(request.files.len());
    for Asked { path, sample, size } in request.files {
        checked(&path)?;
        let sample = BASE64.decode(&sample).map_err(|_| {
            HubError::Invalid(format!("the sample of {} is not base64", crate::at::shown(&path)))
        })?;
        let lfs = is_large(&mut attributes, &path, size, &sample, rules)?;
        let mode = if lfs { Mode::Lfs } else { Mode::Regular };
        let should_ignore = ignore.as_ref().is_some_and(|ignore| ignore.is_ignored(&path));
        let oid = at.map(|at| oid(at, &path, lfs, mode)).transpose()?.flatten();
        files.push(Answered { path, upload_mode: mode, should_ignore, oid });
    }
    Ok(Response { files, commit: at.map(|at| at.commit.to_string()) })
}

fn oid(at: &At, path: &str, lfs: bool, mode: Mode) -> Result<Option<String>, HubError> {
    let Some(found) = at.find(path)?.filter(repository::tree::Found::is_blob) else { return Ok(None) };
    let blob: Oid = found.oid;
    Ok(match (at.snapshot.pointer(&blob), lfs, mode) {
        (Some(target), _, Mode::Lfs) => Some(database::Sha256(target.sha256).to_string()),
        (None, false, Mode::Regular) => Some(blob.to_string()),
        // Nothing that the client could compare with.
        _ => None,
    })
}
