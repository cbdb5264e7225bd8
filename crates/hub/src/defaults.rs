//! What a new repository begins with.

use database::RepoKind;

const RULE: &str = " filter=lfs diff=lfs merge=lfs -text\n";

/// Which files go to LFS. In a model and a space they are all of the first group.
const COMMON: &[&str] =
    &["*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*"];
const OF_DATASETS: &[&str] = &["*.lz4", "*.mds"];
const COMMON_TOO: &[&str] = &[
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
];
const MEDIA_OF_DATASETS: &[(&str, &[&str])] = &[
    ("Audio files - uncompressed", &["*.pcm", "*.sam", "*.raw"]),
    ("Audio files - compressed", &["*.aac", "*.flac", "*.mp3", "*.ogg", "*.wav"]),
    ("Image files - uncompressed", &["*.bmp", "*.gif", "*.png", "*.tiff"]),
    ("Image files - compressed", &["*.jpg", "*.jpeg", "*.webp"]),
    ("Video files - compressed", &["*.mp4", "*.webm"]),
];

/// Byte by byte what the Hub writes: clients compare its object id.
pub(crate) fn gitattributes(kind: RepoKind) -> String {
    let of_datasets = if kind == RepoKind::Dataset { OF_DATASETS } else { &[] };
    let patterns = COMMON.iter().chain(of_datasets).chain(COMMON_TOO);
    let mut text: String = patterns.map(|pattern| format!("{pattern}{RULE}")).collect();
    if kind == RepoKind::Dataset {
        for (title, patterns) in MEDIA_OF_DATASETS {
            text.push_str(&format!("# {title}\n"));
            text.extend(patterns.iter().map(|pattern| format!("{pattern}{RULE}")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use repository::{Kind, object};

    use super::*;

    #[test]
    fn the_ids_are_the_hubs() {
        let id = |kind| object::hash(Kind::Blob, gitattributes(kind).as_bytes()).to_string();
        assert_eq!(id(RepoKind::Model), "a6344aac8c09253b3b630fb776ae94478aa0275b");
        assert_eq!(id(RepoKind::Space), "a6344aac8c09253b3b630fb776ae94478aa0275b");
        assert_eq!(id(RepoKind::Dataset), "1ef325f1b111266a6b26e0196871bd78baa8c2f3");
    }
}
