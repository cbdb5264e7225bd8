//! What the API says about a repository, derived from its files.

use serde_json::Value;

use super::fields::{text, texts};
use super::tags::Tags;
use super::{RepoKind, arxiv, dataset, model, tables};

/// Where the facts of one revision come from. JSON that cannot be read is passed as none.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    pub kind: RepoKind,
    /// [`super::Card::data`].
    pub card: Option<&'a Value>,
    /// The Markdown below the metadata, for links to papers; none if it is large or not text.
    pub body: Option<&'a str>,
    /// The path of every file of the revision.
    pub files: &'a [&'a str],
    /// `config.json`, for models.
    pub config: Option<&'a Value>,
    /// `tokenizer_config.json`, for models.
    pub tokenizer_config: Option<&'a Value>,
}

/// Derived facts. A field that its kind of repository does not have is empty.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Facts {
    /// The card's metadata, unless it is empty.
    pub card_data: Option<Value>,
    /// In the order in which the hub shows them; see [`super::TAGS_MAX`].
    pub tags: Vec<String>,
    /// Papers, without the `arxiv:` of their tags.
    pub arxiv_ids: Vec<String>,
    /// Models: the task.
    pub pipeline_tag: Option<String>,
    /// Models: the library that loads it.
    pub library_name: Option<String>,
    /// Models: the mask of a `fill-mask` model.
    pub mask_token: Option<String>,
    /// Models: `model-index` of the card, if it is a list.
    pub model_index: Option<Value>,
    /// Models: `{auto_model, custom_class?, pipeline_tag?, processor?}`.
    pub transformers_info: Option<Value>,
    /// Models: what of `config.json` and `tokenizer_config.json` the API repeats.
    pub config: Option<Value>,
    /// Models: the repositories it was made from.
    pub base_models: Vec<String>,
    /// Models: how: `adapter`, `merge`, `quantized` or `finetune`; none without base models.
    pub base_model_relation: Option<&'static str>,
    /// Spaces: what runs it.
    pub sdk: Option<String>,
    /// Spaces: as text, since `sdk_version: 5.0` is a number to YAML.
    pub sdk_version: Option<String>,
    /// Spaces: the file to start.
    pub app_file: Option<String>,
    /// Spaces: the models it names.
    pub models: Vec<String>,
    /// Spaces and models: the datasets named.
    pub datasets: Vec<String>,
}

/// Derives everything at once. Never fails: what cannot be understood is left out.
pub fn facts(sources: Sources<'_>) -> Facts {
    let mut facts = match sources.kind {
        RepoKind::Model => model::facts(&sources),
        RepoKind::Dataset => dataset::facts(&sources),
        RepoKind::Space => space(&sources),
    };
    facts.card_data =
        sources.card.filter(|card| card.as_object().is_some_and(|map| !map.is_empty())).cloned();
    facts
}

impl<'a> Sources<'a> {
    pub(super) fn field(&self, key: &str) -> Option<&'a Value> {
        self.card?.get(key)
    }

    /// Repositories named by a field, bounded like tags.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        texts(self.field(key)).take(super::TAGS_MAX).map(|name| name.into_owned()).collect()
    }

    /// Papers of the card's tags, then those the body links to.
    pub(super) fn papers(&self) -> Vec<String> {
        let tagged =
            texts(self.field("tags")).filter_map(|tag| tag.strip_prefix("arxiv:").map(str::to_owned));
        let mut ids: Vec<String> = tagged.take(100).collect();
        for id in self.body.map(arxiv::arxiv_ids).unwrap_or_default() {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

fn space(sources: &Sources<'_>) -> Facts {
    let sdk = text(sources.field("sdk"));
    let mut tags = Tags::default();
    if let Some(sdk) = sdk.as_deref().filter(|sdk| tables::has(tables::SDKS, sdk)) {
        tags.push(sdk);
    }
    tags.push_free(sources.card);
    tags.push_region();
    Facts {
        tags: tags.into_list(),
        sdk,
        sdk_version: text(sources.field("sdk_version")),
        app_file: text(sources.field("app_file")),
        models: sources.names("models"),
        datasets: sources.names("datasets"),
        ..Facts::default()
    }
}
