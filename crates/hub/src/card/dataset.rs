//! Facts of a dataset.

use std::collections::BTreeSet;

use serde_json::Value;

use super::facts::{Facts, Sources};
use super::formats::dataset_format;
use super::tags::Tags;

/// Fields that become `field:value`, in the order in which the hub shows them.
const FIELDS: [&str; 10] = [
    "task_categories",
    "task_ids",
    "annotations_creators",
    "language_creators",
    "multilinguality",
    "source_datasets",
    "language",
    "license",
    "size_categories",
    "benchmark",
];

pub(super) fn facts(sources: &Sources<'_>) -> Facts {
    let mut tags = Tags::default();
    for field in FIELDS {
        tags.push_field(&format!("{field}:"), sources.field(field));
    }
    let format = dataset_format(sources.files);
    if let Some(format) = format {
        tags.push(&format!("format:{format}"));
    }
    for modality in modalities(format, sources.field("dataset_info")) {
        tags.push(&format!("modality:{modality}"));
    }
    for library in libraries(format) {
        tags.push(&format!("library:{library}"));
    }
    let arxiv_ids = sources.papers();
    for id in &arxiv_ids {
        tags.push(&format!("arxiv:{id}"));
    }
    tags.push_region();
    tags.push_free(sources.card);
    Facts { tags: tags.into_list(), arxiv_ids, ..Facts::default() }
}

/// Who can open files of this format from a hub that is not huggingface.co.
fn libraries(format: Option<&str>) -> &'static [&'static str] {
    match format {
        Some("parquet" | "csv" | "json") => &["datasets", "pandas"],
        Some("webdataset") => &["datasets", "webdataset"],
        Some(_) => &["datasets"],
        None => &[],
    }
}

/// What the declared features hold, and what the format says on its own.
fn modalities(format: Option<&str>, info: Option<&Value>) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    match format {
        Some("text") => drop(found.insert("text")),
        Some("imagefolder") => drop(found.insert("image")),
        Some("audiofolder") => drop(found.insert("audio")),
        Some("videofolder") => drop(found.insert("video")),
        _ => {}
    }
    let configs = match info {
        Some(Value::Array(configs)) => configs.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for features in configs.iter().filter_map(|config| config.get("features")) {
        collect(features, &mut found);
    }
    found
}

/// Features nest in `list`, `sequence` and `struct`; the YAML reader bounds how deep.
fn collect(features: &Value, found: &mut BTreeSet<&'static str>) {
    match features {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(dtype) if matches!(key.as_str(), "dtype" | "list" | "sequence") => {
                        found.extend(modality_of(dtype));
                    }
                    Value::Array(_) | Value::Object(_) => collect(value, found),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn modality_of(dtype: &str) -> Option<&'static str> {
    match dtype {
        "string" | "large_string" => Some("text"),
        "image" => Some("image"),
        "audio" => Some("audio"),
        "video" => Some("video"),
        "pdf" => Some("document"),
        "nifti" => Some("3d"),
        _ if dtype.starts_with("timestamp") => Some("timeseries"),
        _ if ["int", "uint", "float"].iter().any(|number| dtype.starts_with(number)) => Some("tabular"),
        _ => None,
    }
}
