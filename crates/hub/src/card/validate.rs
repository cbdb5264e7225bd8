//! Whether a README may be pushed, and what its author should know: the answer of `POST /api/validate-yaml`.
//!
//! An error blocks the upload, so only what huggingface.co surely refuses is one: unreadable YAML, an unknown
//! license, tags that are not strings. Everything else that looks wrong is a warning, which clients print.

use serde_json::Value;

use super::fields::{is_repo_id, texts};
use super::front_matter::{self, Block};
use super::tables::{self, has, pipeline_label};
use super::{CardError, RepoKind, model_index, yaml};

/// The most errors, and the most warnings, in one answer.
const NOTES_MAX: usize = 50;
const MISSING: &str = "empty or missing yaml metadata in repo card";
const UNREADABLE: &str = "README.md begins with `---` but has no metadata block: the first line must be exactly `---`, \
    and a later line `---` must end the block";

/// What to tell the author. An upload goes on if `errors` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validation {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

/// Checks the metadata of a whole README.
pub fn validate(readme: &[u8], kind: RepoKind) -> Validation {
    let mut notes = Validation::default();
    match front_matter::find(readme) {
        Ok(Some(block)) => notes.check_block(block, kind),
        Ok(None) => {
            notes.warn(MISSING.to_owned());
            if readme.strip_prefix(b"\xef\xbb\xbf").unwrap_or(readme).trim_ascii_start().starts_with(b"---") {
                notes.warn(UNREADABLE.to_owned());
            }
        }
        // The hub reads such a block with replacement characters; we pass it over.
        Err(error @ CardError::NotUtf8) => notes.warn(format!("README.md: {error}; it is ignored")),
        Err(error) => notes.error(format!("README.md: {error}")),
    }
    notes
}

/// What a field must look like, and what its author is told otherwise.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    TextOrTexts,
    List,
    Flag,
    Mapping,
}

const SHAPES: [(&str, Shape); 22] = [
    ("annotations_creators", Shape::TextOrTexts),
    ("app_file", Shape::Text),
    ("base_model", Shape::TextOrTexts),
    ("configs", Shape::List),
    ("datasets", Shape::TextOrTexts),
    ("extra_gated_fields", Shape::Mapping),
    ("extra_gated_prompt", Shape::Text),
    ("language_creators", Shape::TextOrTexts),
    ("library_name", Shape::Text),
    ("license_link", Shape::Text),
    ("license_name", Shape::Text),
    ("mask_token", Shape::Text),
    ("metrics", Shape::List),
    ("models", Shape::TextOrTexts),
    ("multilinguality", Shape::TextOrTexts),
    ("pinned", Shape::Flag),
    ("pipeline_tag", Shape::Text),
    ("pretty_name", Shape::Text),
    ("source_datasets", Shape::TextOrTexts),
    ("thumbnail", Shape::Text),
    ("title", Shape::Text),
    ("widget", Shape::List),
];

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::TextOrTexts => {
                value.is_string() || value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
            }
            Self::List => value.is_array(),
            Self::Flag => value.is_boolean(),
            Self::Mapping => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TextOrTexts => "text or a list of text",
            Self::List => "a list",
            Self::Flag => "`true` or `false`",
            Self::Mapping => "a mapping",
        }
    }
}

impl Validation {
    fn error(&mut self, message: String) {
        if self.errors.len() < NOTES_MAX {
            self.errors.push(message);
        }
    }

    fn warn(&mut self, message: String) {
        if self.warnings.len() < NOTES_MAX {
            self.warnings.push(message);
        }
    }

    fn check_block(&mut self, block: Block<'_>, kind: RepoKind) {
        let card = match yaml::parse_at(block.yaml, block.lines_above) {
            Ok(card) => card,
            Err(error) => return self.error(format!("invalid YAML metadata in README.md: {error}")),
        };
        if card.as_object().is_none_or(serde_json::Map::is_empty) {
            return self.warn(MISSING.to_owned());
        }
        self.check_license(&card);
        self.check_tags(&card);
        self.check_shapes(&card);
        self.check_languages(&card);
        match kind {
            RepoKind::Model => self.check_model(&card),
            RepoKind::Dataset => self.check_dataset(&card),
            RepoKind::Space => self.check_space(&card),
        }
    }

    fn check_license(&mut self, card: &Value) {
        let items = match card.get("license") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let unknown = items.iter().find(|item| !item.as_str().is_some_and(|id| has(tables::LICENSES, id)));
        if let Some(unknown) = unknown {
            self.error(format!(
                "\"license\" must be one of [{}], but is {}. For another license write `license: other` and its name \
                 as `license_name`",
                tables::LICENSES.join(", "),
                shown(unknown)
            ));
        }
        if items.iter().any(|item| item == "other") && texts(card.get("license_name")).next().is_none() {
            self.warn(
                "\"license\" is `other`: name it with \"license_name\" and link it with \"license_link\""
                    .to_owned(),
            );
        }
    }

    fn check_tags(&mut self, card: &Value) {
        match card.get("tags") {
            None | Some(Value::Null) => {}
            Some(Value::String(_)) => self.warn("\"tags\" should be a list".to_owned()),
            Some(Value::Array(items)) => {
                for (at, item) in
                    items.iter().enumerate().filter(|(_, item)| !item.is_string()).take(NOTES_MAX)
                {
                    self.error(format!("\"tags[{at}]\" must be a string, but is {}: quote it", shown(item)));
                }
            }
            Some(other) => self.error(format!("\"tags\" must be a list of strings, but is {}", shown(other))),
        }
    }

    fn check_shapes(&mut self, card: &Value) {
        for (key, shape) in SHAPES {
            let wrong = card.get(key).filter(|value| !value.is_null() && !shape.fits(value));
            if let Some(value) = wrong {
                self.warn(format!("\"{key}\" should be {}, but is {}", shape.name(), shown(value)));
            }
        }
        for (wrong, right) in [("licenses", "license"), ("languages", "language")] {
            if card.get(wrong).is_some() {
                self.warn(format!("\"{wrong}\" is not read: write \"{right}\""));
            }
        }
    }

    fn check_languages(&mut self, card: &Value) {
        for code in texts(card.get("language")) {
            let iso = matches!(code.len(), 2 | 3) && code.bytes().all(|byte| byte.is_ascii_lowercase());
            if !iso && !matches!(code.as_ref(), "code" | "multilingual") {
                self.warn(format!(
                    "\"language\" {} is not an ISO 639-1, 639-2 or 639-3 code of lowercase letters, `code` or \
                     `multilingual`; BCP 47 codes go into \"language_bcp47\"",
                    shown(&Value::from(code))
                ));
            }
        }
    }

    fn check_known(&mut self, card: &Value, key: &str, known: impl Fn(&str) -> bool) {
        for value in texts(card.get(key)).filter(|value| !known(value)).take(NOTES_MAX) {
            self.warn(format!("The {key} {} is not in the official list", shown(&Value::from(value))));
        }
    }

    fn check_repo_ids(&mut self, card: &Value, key: &str) {
        for id in texts(card.get(key)).filter(|id| !is_repo_id(id)).take(NOTES_MAX) {
            self.warn(format!(
                "\"{key}\" with value {} is not the id of a repository",
                shown(&Value::from(id))
            ));
        }
    }

    fn check_model(&mut self, card: &Value) {
        self.check_known(card, "pipeline_tag", |id| pipeline_label(id).is_some());
        let relations = ["adapter", "merge", "quantized", "finetune"];
        self.check_known(card, "base_model_relation", |id| relations.contains(&id));
        for key in ["base_model", "datasets", "new_version"] {
            self.check_repo_ids(card, key);
        }
        if let Some(index) = card.get("model-index").filter(|index| !index.is_null()) {
            self.warnings.extend(model_index::warnings(index, NOTES_MAX.saturating_sub(self.warnings.len())));
        }
    }

    fn check_dataset(&mut self, card: &Value) {
        self.check_known(card, "task_categories", |id| pipeline_label(id).is_some());
        self.check_known(card, "task_ids", |id| has(tables::TASK_IDS, id));
        self.check_known(card, "size_categories", |id| has(tables::SIZES, id));
        let configs = card.get("configs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (at, config) in configs.iter().enumerate() {
            if !config.get("config_name").is_some_and(Value::is_string) {
                self.warn(format!("\"configs[{at}].config_name\" should be text"));
            }
            if config.get("data_files").is_some_and(|files| !files.is_string() && !files.is_array()) {
                self.warn(format!("\"configs[{at}].data_files\" should be a path or a list"));
            }
        }
    }

    fn check_space(&mut self, card: &Value) {
        if texts(card.get("sdk")).next().is_none() {
            self.warn(format!("\"sdk\" is missing: one of [{}] runs a space", tables::SDKS.join(", ")));
        }
        self.check_known(card, "sdk", |id| has(tables::SDKS, id));
        for key in ["colorFrom", "colorTo"] {
            self.check_known(card, key, |id| has(tables::COLORS, id));
        }
        for key in ["models", "datasets"] {
            self.check_repo_ids(card, key);
        }
    }
}

/// A value as its author would recognise it, short enough for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().nth(60).is_none() => format!("{text:?}"),
        Value::String(text) => format!("{:?}…", text.chars().take(60).collect::<String>()),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        other => yaml::kind_of(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: RepoKind, yaml: &str) -> Validation {
        validate(format!("---\n{yaml}\n---\n# Title\n").as_bytes(), kind)
    }

    fn only<'a>(list: &'a [String], what: &Validation) -> &'a str {
        assert_eq!(list.len(), 1, "{what:?}");
        assert_eq!(what.errors.len() + what.warnings.len(), 1, "{what:?}");
        &list[0]
    }

    #[test]
    fn errors() {
        for (yaml, expected) in [
            ("license: MIT", "\"license\" must be one of [afl-3.0, agpl-3.0, apache-2.0,"),
            ("license: [mit, nope]", "\"license\" must be one of"),
            ("license: {a: b}", "\"license\" must be one of"),
            ("tags: {a: b}", "\"tags\" must be a list of strings, but is a mapping"),
            ("tags: [a, 2024]", "\"tags[1]\" must be a string, but is `2024`: quote it"),
            ("a: 1\na: 2", "invalid YAML metadata in README.md: line 3, column 1: duplicate mapping key `a`"),
            ("a: [", "invalid YAML metadata in README.md: line 2, column 4: "),
            ("- a", "invalid YAML metadata in README.md: the metadata block must be a mapping"),
        ] {
            let found = check(RepoKind::Model, yaml);
            assert!(only(&found.errors, &found).starts_with(expected), "{yaml}: {found:?}");
        }
    }

    #[test]
    fn warnings() {
        use RepoKind::{Dataset, Model, Space};
        for (kind, yaml, expected) in [
            (Model, "", MISSING),
            (Model, "{}", MISSING),
            (Model, "license: other", "\"license\" is `other`"),
            (Model, "language: English", "\"language\" \"English\" is not an ISO 639-1"),
            (Model, "language: false", "\"language\" \"false\" is not"),
            (Model, "languages: en", "\"languages\" is not read: write \"language\""),
            (
                Model,
                "pipeline_tag: conversational",
                "The pipeline_tag \"conversational\" is not in the official list",
            ),
            (
                Model,
                "base_model: /data/x",
                "\"base_model\" with value \"/data/x\" is not the id of a repository",
            ),
            (Model, "tags: one", "\"tags\" should be a list"),
            (Model, "model-index: {a: 1}", "\"model-index\" must be a list"),
            (Model, "thumbnail: [a]", "\"thumbnail\" should be text, but is a list"),
            (Dataset, "size_categories: 10K", "The size_categories \"10K\" is not"),
            (Dataset, "task_ids: [x]", "The task_ids \"x\" is not"),
            (Dataset, "configs: [{data_files: a}]", "\"configs[0].config_name\" should be text"),
            (
                Space,
                "title: x",
                "\"sdk\" is missing: one of [docker, gradio, static, streamlit] runs a space",
            ),
            (Space, "sdk: cobol", "The sdk \"cobol\" is not"),
        ] {
            let found = check(kind, yaml);
            assert!(only(&found.warnings, &found).starts_with(expected), "{yaml}: {found:?}");
        }
    }

    #[test]
    fn silent_on_good_cards() {
        for (kind, yaml) in [
            (
                RepoKind::Model,
                "language: no\nlicense: [mit, apache-2.0]\ntags: null\nbase_model: \"\"\nmodel-index: null",
            ),
            (RepoKind::Model, "license: other\nlicense_name: ours\nbase_model: [a/b, c/d]\ntags: [\"2024\"]"),
            (
                RepoKind::Dataset,
                "language: [en, code]\ntask_categories: [text-generation]\nsize_categories: [n<1K]",
            ),
            (RepoKind::Space, "title: x\nsdk: gradio\nsdk_version: 5.0\ncolorFrom: red\nemoji: \u{1f600}"),
        ] {
            assert_eq!(check(kind, yaml), Validation::default(), "{yaml}");
        }
    }

    #[test]
    fn no_block() {
        assert_eq!(validate(b"# Title", RepoKind::Model).warnings, [MISSING]);
        assert_eq!(validate(b"--- \nlicense: mit\n---\n", RepoKind::Model).warnings, [MISSING, UNREADABLE]);
        let latin = validate(b"---\na: \xe9\n---\n", RepoKind::Model);
        assert_eq!(latin.warnings, ["README.md: the metadata block is not UTF-8 text; it is ignored"]);
        let huge = format!("---\n{}\n---\n", "#".repeat(super::super::METADATA_BYTES_MAX + 1));
        assert_eq!(validate(huge.as_bytes(), RepoKind::Model).errors.len(), 1);
    }

    #[test]
    fn answers_are_bounded() {
        let tags = vec!["1"; 100_000].join(", ");
        let languages = vec![format!("X{}", "x".repeat(50)); 10_000].join(", ");
        let found = check(RepoKind::Model, &format!("tags: [{tags}]\nlanguage: [{languages}]"));
        assert_eq!((found.errors.len(), found.warnings.len()), (NOTES_MAX, NOTES_MAX));
        assert!(found.errors.iter().chain(&found.warnings).all(|note| note.len() < 400));
    }
}
