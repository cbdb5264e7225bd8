//! What the API says a repository is.

use auth::{Authorized, Discover};
use database::{Counts, Gating, Repo, RepoKind, Visibility};
use serde_json::{Map, Value, json};

use crate::at::At;
use crate::dates::iso;
use crate::facts::{BlobOf, File, Known};
use crate::{Hub, HubError, blocking};

/// What of it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// These fields alone. Empty: the usual ones.
    pub expand: Vec<String>,
    /// Sizes and ids of files.
    pub blobs: bool,
}

impl Wanted {
    fn has(&self, field: &str) -> bool {
        self.expand.is_empty() || self.expand.iter().any(|wanted| wanted == field)
    }
}

/// Files of which more than the name is told.
const BLOBS_MAX: usize = 10_000;

impl Hub {
    /// `at`: the revision asked for; `None` for one without commits.
    pub async fn info(
        &self,
        access: &Authorized<Discover>,
        at: Option<&At>,
        wanted: &Wanted,
    ) -> Result<Value, HubError> {
        let repo = access.repo();
        let known = match at {
            Some(at) => Some(self.known(at).await?),
            None => None,
        };
        let mut fields = Map::new();
        identity(repo, &mut fields);
        counted(&self.0.database.counts(repo.id)?, &mut fields);
        fields.insert("sha".into(), at.map_or(Value::Null, |at| at.commit.to_string().into()));
        let modified_ms = at.map(At::modified_ms).transpose()?.unwrap_or(repo.created_ms);
        fields.insert("lastModified".into(), iso(modified_ms).into());
        of_facts(repo.path.kind, known.as_ref().map(|known| &known.document), &mut fields);
        if wanted.has("usedStorage") {
            fields.insert("usedStorage".into(), self.0.database.large_bytes(repo.id)?.into());
        }
        if wanted.has("siblings") {
            let siblings = match (at, known) {
                (Some(at), Some(known)) if wanted.blobs => {
                    let at = at.clone();
                    blocking(move || siblings_with_blobs(&at, &known)).await?
                }
                (Some(_), Some(known)) => siblings(&known),
                _ => json!([]),
            };
            fields.insert("siblings".into(), siblings);
        }
        if repo.path.kind == RepoKind::Space {
            fields.insert(
                "runtime".into(),
                json!({ "stage": "NO_APP_FILE", "hardware": { "current": null, "requested": null }, "storage": null }),
            );
        }
        Ok(chosen(fields, &wanted.expand))
    }
}

/// What the row alone tells.
pub(crate) fn identity(repo: &Repo, fields: &mut Map<String, Value>) {
    let id = format!("{}/{}", repo.path.namespace, repo.path.name());
    fields.insert("_id".into(), format!("{:024x}", repo.id.0).into());
    fields.insert("id".into(), id.clone().into());
    if repo.path.kind == RepoKind::Model {
        fields.insert("modelId".into(), id.into());
    }
    fields.insert("author".into(), repo.path.namespace.as_str().into());
    fields.insert("private".into(), (repo.visibility == Visibility::Private).into());
    let gated = match repo.gating {
        Gating::Off => Value::Bool(false),
        Gating::Auto => "auto".into(),
        Gating::Manual => "manual".into(),
    };
    fields.insert("gated".into(), gated);
    fields.insert("disabled".into(), false.into());
    fields.insert("createdAt".into(), iso(repo.created_ms).into());
}

/// How many like it and download it.
pub(crate) fn counted(counts: &Counts, fields: &mut Map<String, Value>) {
    fields.insert("downloads".into(), counts.downloads.into());
    fields.insert("downloadsAllTime".into(), counts.downloads_all.into());
    fields.insert("likes".into(), counts.likes.into());
    fields.insert("trendingScore".into(), counts.trending.into());
}

/// What the document of facts tells, under the API's names.
pub(crate) fn of_facts(kind: RepoKind, facts: Option<&Value>, fields: &mut Map<String, Value>) {
    let mut take = |from: &str, to: &str| {
        if let Some(value) = facts.and_then(|facts| facts.get(from)).filter(|value| !value.is_null()) {
            fields.insert(to.into(), value.clone());
        }
    };
    take("card_data", "cardData");
    take("tags", "tags");
    match kind {
        RepoKind::Model => {
            take("pipeline_tag", "pipeline_tag");
            take("library_name", "library_name");
            take("mask_token", "mask_token");
            take("model_index", "model-index");
            take("transformers_info", "transformersInfo");
            take("config", "config");
        }
        RepoKind::Dataset => {}
        RepoKind::Space => {
            take("sdk", "sdk");
            take("models", "models");
            take("datasets", "datasets");
        }
    }
    fields.entry("tags").or_insert_with(|| json!([]));
    match kind {
        RepoKind::Model => {
            fields.entry("spaces").or_insert_with(|| json!([]));
        }
        RepoKind::Dataset => {
            fields.entry("description").or_insert(Value::Null);
            fields.entry("citation").or_insert(Value::Null);
        }
        RepoKind::Space => {}
    }
}

/// The names of all files.
pub(crate) fn siblings(known: &Known) -> Value {
    known.files.iter().map(|file| json!({ "rfilename": file.path })).collect()
}

fn siblings_with_blobs(at: &At, known: &Known) -> Result<Value, HubError> {
    if known.files.len() > BLOBS_MAX {
        let text = format!("this repository has more than {BLOBS_MAX} files; list its tree instead");
        return Err(HubError::Unprocessable(text));
    }
    let of_file = |(file, blob): (&File, &BlobOf)| {
        let (name, id) = (&file.path, file.oid.to_string());
        match &blob.target {
            Some(target) => {
                let sha256 = database::Sha256(target.sha256).to_string();
                let lfs = json!({ "sha256": sha256, "size": target.size, "pointerSize": blob.size });
                json!({ "rfilename": name, "blobId": id, "size": target.size, "lfs": lfs })
            }
            None => json!({ "rfilename": name, "blobId": id, "size": blob.size }),
        }
    };
    Ok(known.files.iter().zip(known.blobs(at)).map(of_file).collect())
}

/// `_id` and `id` come with whatever is asked for.
pub(crate) fn chosen(fields: Map<String, Value>, expand: &[String]) -> Value {
    if expand.is_empty() {
        return Value::Object(fields);
    }
    let wanted = |name: &str| name == "_id" || name == "id" || expand.iter().any(|field| field == name);
    fields.into_iter().filter(|(name, _)| wanted(name)).collect()
}
