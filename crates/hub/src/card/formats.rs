//! What the names of a repository's files tell.

/// Says by a file's name, without directories, whether it has a format.
type IsFormat = fn(&str) -> bool;

/// Formats of weights as tags, in the order the hub shows them.
const MODEL_FORMATS: [(&str, IsFormat); 14] = [
    ("pytorch", is_pytorch),
    ("tf", |name| (name.starts_with("tf_model") && name.ends_with(".h5")) || name == "saved_model.pb"),
    ("jax", |name| name.starts_with("flax_model") && name.ends_with(".msgpack")),
    ("tflite", |name| name.ends_with(".tflite")),
    ("rust", |name| name == "rust_model.ot"),
    ("coreml", |name| name.ends_with(".mlmodel")),
    ("onnx", |name| name.ends_with(".onnx")),
    ("safetensors", |name| name.ends_with(".safetensors")),
    ("tensorboard", |name| name.contains("events.out.tfevents")),
    ("gguf", |name| name.ends_with(".gguf")),
    ("openvino", |name| name.starts_with("openvino") && name.ends_with(".xml")),
    ("keras", |name| name.ends_with(".keras") || name == "keras_metadata.pb"),
    ("nemo", |name| name.ends_with(".nemo")),
    ("joblib", |name| name.ends_with(".joblib")),
];

/// Builders of `datasets` by extension.
const DATASET_FORMATS: [(&str, &[&str]); 9] = [
    ("parquet", &["parquet"]),
    ("csv", &["csv", "tsv"]),
    ("json", &["json", "jsonl", "ndjson"]),
    ("text", &["txt"]),
    ("arrow", &["arrow"]),
    ("webdataset", &["tar"]),
    ("imagefolder", &["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"]),
    ("audiofolder", &["wav", "mp3", "flac", "ogg", "opus", "m4a"]),
    ("videofolder", &["mp4", "mkv", "avi", "mov", "webm"]),
];

/// Files that stand beside the data.
const NOT_DATA: [&str; 7] = [
    "dataset_infos.json",
    "metadata.csv",
    "metadata.jsonl",
    "metadata.parquet",
    "requirements.txt",
    "license.txt",
    "citation.txt",
];

pub(super) fn model_formats(files: &[&str]) -> Vec<&'static str> {
    let found = |is: IsFormat| files.iter().any(|path| is(file_name(path)) || in_mlpackage(path, is));
    MODEL_FORMATS.iter().filter(|(_, is)| found(*is)).map(|(tag, _)| *tag).collect()
}

/// The format of most data files: how `datasets` chooses its builder. Of two that are equal, the first of the table.
pub(super) fn dataset_format(files: &[&str]) -> Option<&'static str> {
    let mut counts = [0_usize; DATASET_FORMATS.len()];
    for path in files {
        let Some(extension) = data_extension(path) else { continue };
        let at = DATASET_FORMATS.iter().position(|(_, known)| known.contains(&extension.as_str()));
        if let Some(at) = at {
            counts[at] += 1;
        }
    }
    let most = *counts.iter().max().filter(|most| **most > 0)?;
    let at = counts.iter().position(|count| *count == most)?;
    Some(DATASET_FORMATS[at].0)
}

/// Whether the top directory has the file `name`.
pub(super) fn has_file(files: &[&str], name: &str) -> bool {
    files.contains(&name)
}

pub(super) fn has_extension(files: &[&str], extension: &str) -> bool {
    files.iter().any(|path| file_name(path).rsplit_once('.').is_some_and(|(_, found)| found == extension))
}

/// `*.mlpackage` is a directory, so no file name ends so.
fn in_mlpackage(path: &str, is: IsFormat) -> bool {
    is("x.mlmodel") && path.contains(".mlpackage/")
}

/// Weights only: a trainer also leaves its own state in files of these extensions.
fn is_pytorch(name: &str) -> bool {
    const STATE: [&str; 6] = ["training_args", "optimizer", "scheduler", "rng_state", "scaler", "openvino"];
    let weights = [".bin", ".pt", ".pth"].iter().any(|extension| name.ends_with(extension));
    weights && !STATE.iter().any(|state| name.starts_with(state))
}

fn data_extension(path: &str) -> Option<String> {
    if path.split('/').any(|part| part.starts_with('.')) {
        return None;
    }
    let name = file_name(path).to_ascii_lowercase();
    if NOT_DATA.contains(&name.as_str()) {
        return None;
    }
    let stem =
        [".gz", ".zst", ".bz2", ".xz"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
    stem.rsplit_once('.').map(|(_, extension)| extension.to_owned())
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_models() {
        let files = [
            "README.md",
            "a/model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "flax_model.msgpack",
            "x.mlpackage/Data/weights",
            "runs/events.out.tfevents.1",
            "onnx/model.onnx",
        ];
        let expected = ["pytorch", "tf", "jax", "coreml", "onnx", "safetensors", "tensorboard"];
        assert_eq!(model_formats(&files), expected);
        let state = ["training_args.bin", "optimizer.pt", "openvino_model.bin", "openvino_model.xml"];
        assert_eq!(model_formats(&state), ["openvino"]);
    }

    #[test]
    fn formats_of_datasets() {
        assert_eq!(
            dataset_format(&["README.md", "data/train-0.parquet", "a.json", "b.parquet"]),
            Some("parquet")
        );
        assert_eq!(dataset_format(&["a.jsonl.gz", "b.JSON", "x.csv"]), Some("json"));
        assert_eq!(dataset_format(&["metadata.csv", "train/a.png"]), Some("imagefolder"));
        assert_eq!(dataset_format(&[".cache/a.csv", "README.md", "LICENSE.txt"]), None);
    }
}
