//! Lists of ids. Facts only, taken from the npm packages `@huggingface/tasks` 0.21.54 and `@huggingface/hub` 2.17.5
//! (both MIT) in November 2026; seven newer licenses were added by hand. Each list is sorted, and a test keeps it so.

/// Whether a sorted list has `id`.
pub(super) fn has(sorted: &[&str], id: &str) -> bool {
    sorted.binary_search(&id).is_ok()
}

/// What a person calls the task `id`, or none if the hub has no such task.
pub fn pipeline_label(id: &str) -> Option<&'static str> {
    let at = PIPELINES.binary_search_by_key(&id, |(key, _)| key).ok()?;
    Some(PIPELINES[at].1)
}

/// Every task with its label: the values of `pipeline_tag` and of a dataset's `task_categories`.
pub static PIPELINES: &[(&str, &str)] = &[
    ("any-to-any", "Any-to-Any"),
    ("audio-classification", "Audio Classification"),
    ("audio-text-to-text", "Audio-Text-to-Text"),
    ("audio-to-audio", "Audio-to-Audio"),
    ("automatic-speech-recognition", "Automatic Speech Recognition"),
    ("depth-estimation", "Depth Estimation"),
    ("document-question-answering", "Document Question Answering"),
    ("feature-extraction", "Feature Extraction"),
    ("fill-mask", "Fill-Mask"),
    ("graph-ml", "Graph Machine Learning"),
    ("image-classification", "Image Classification"),
    ("image-feature-extraction", "Image Feature Extraction"),
    ("image-segmentation", "Image Segmentation"),
    ("image-text-to-image", "Image-Text-to-Image"),
    ("image-text-to-text", "Image-Text-to-Text"),
    ("image-text-to-video", "Image-Text-to-Video"),
    ("image-to-3d", "Image-to-3D"),
    ("image-to-image", "Image-to-Image"),
    ("image-to-text", "Image-to-Text"),
    ("image-to-video", "Image-to-Video"),
    ("keypoint-detection", "Keypoint Detection"),
    ("mask-generation", "Mask Generation"),
    ("multiple-choice", "Multiple Choice"),
    ("object-detection", "Object Detection"),
    ("other", "Other"),
    ("question-answering", "Question Answering"),
    ("reinforcement-learning", "Reinforcement Learning"),
    ("robotics", "Robotics"),
    ("sentence-similarity", "Sentence Similarity"),
    ("summarization", "Summarization"),
    ("table-question-answering", "Table Question Answering"),
    ("table-to-text", "Table to Text"),
    ("tabular-classification", "Tabular Classification"),
    ("tabular-regression", "Tabular Regression"),
    ("tabular-to-text", "Tabular to Text"),
    ("text-classification", "Text Classification"),
    ("text-generation", "Text Generation"),
    ("text-ranking", "Text Ranking"),
    ("text-retrieval", "Text Retrieval"),
    ("text-to-3d", "Text-to-3D"),
    ("text-to-audio", "Text-to-Audio"),
    ("text-to-image", "Text-to-Image"),
    ("text-to-speech", "Text-to-Speech"),
    ("text-to-video", "Text-to-Video"),
    ("time-series-forecasting", "Time Series Forecasting"),
    ("token-classification", "Token Classification"),
    ("translation", "Translation"),
    ("unconditional-image-generation", "Unconditional Image Generation"),
    ("video-classification", "Video Classification"),
    ("video-text-to-text", "Video-Text-to-Text"),
    ("video-to-video", "Video-to-Video"),
    ("visual-document-retrieval", "Visual Document Retrieval"),
    ("visual-question-answering", "Visual Question Answering"),
    ("voice-activity-detection", "Voice Activity Detection"),
    ("zero-shot-classification", "Zero-Shot Classification"),
    ("zero-shot-image-classification", "Zero-Shot Image Classification"),
    ("zero-shot-object-detection", "Zero-Shot Object Detection"),
];

/// License ids that a card may name.
#[rustfmt::skip]
pub static LICENSES: &[&str] = &[
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2",
    "fair-noncommercial-research-license", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "grok2-community",
    "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "llama2", "llama3",
    "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl",
    "odc-by", "ofl-1.1", "openmdw-1.0", "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql",
    "unknown", "unlicense", "wtfpl", "zlib",
];

/// Keys of `library_name`. Another key is legal; this list says which tags name a library.
#[rustfmt::skip]
pub static LIBRARIES: &[&str] = &[
    "3dtopia-xl", "PaddleOCR", "acestep", "adapter-transformers", "allennlp", "aneforge", "anemoi",
    "araclip", "asteroid", "audiocraft", "audioseal", "aviation-ner", "bagel-mot", "bboxmaskpose", "ben2",
    "bertopic", "big_vision", "bionemo", "birder", "birefnet", "bm25s", "boltzgen", "cancertathomev2",
    "cartesia_mlx", "cartesia_pytorch", "causilo", "ccpfn", "champ", "chaossim", "chat_tts", "chatterbox",
    "chexmix", "chronos-forecasting", "clara", "clipscope", "cloud-agents", "colipri", "collectorvision",
    "colpali", "comet", "cortiq", "cosmos", "cosyvoice", "cotracker", "cxr-foundation", "deepforest",
    "depth-anything-v2", "depth-pro", "derm-foundation", "describe-anything", "dia-tts", "dia2",
    "diff-interpretation-tuning", "diffree", "diffusers", "diffusion-single-file", "diffusionkit",
    "docking-at-home", "doctr", "edsnlp", "elm", "encoderfile", "espnet", "eupe", "f5-tts", "fairseq",
    "fastai", "fastprint", "fasttext", "fixer", "flair", "flexray", "flextab", "fme", "gaussianformer",
    "gemma.cpp", "genmo", "geometry-crafter", "gliformer", "gliner", "gliner2", "glm-tts", "glyph-byt5",
    "granite-library", "grok", "habibi-tts", "hallo", "hermes", "hezar", "holomotion", "htrflow",
    "hunyuan-dit", "hunyuan3d-2", "hunyuanworld-voyager", "hy-world-2", "hy-worldplay",
    "image-matching-models", "imstoucan", "index-tts", "infinite-you", "infinitetalk", "intellifold",
    "ising-decoding", "jev-style", "k2", "keras", "keras-hub", "kernels", "kimi-audio", "kittentts",
    "kronos", "lagernvs", "laya", "lerobot", "lightglue", "lightning-ir", "litert", "litert-lm",
    "liveportrait", "llama-cpp-python", "longcat-video-avatar-1.5", "ltx", "lvface", "lyra-2.0",
    "magenta-realtime", "magenta-realtime-2", "magi-1", "mamba-ssm", "manas-1", "mars5-tts", "matanyone",
    "mect", "medvae", "memra", "merlin", "mesh-anything", "mflux", "microduck", "mindspore", "mini-omni2",
    "minimax-h3", "mitie", "ml-agents", "ml-sharp", "mlc-llm", "mlx", "mlx-image", "mobilint", "model2vec",
    "monkeyocr", "montreal-forced-aligner", "moshi", "mtvcraft", "multimolecule", "nemo", "ninfer", "nobg",
    "nv-medtech", "open-oasis", "open-sora", "open_clip", "openasr", "opendde", "openpeerllm", "outetts",
    "paddlenlp", "peft", "perception-encoder", "phantom-wan", "piper", "pocket-tts", "pruna-ai", "pxia",
    "py-feat", "pyannote-audio", "pythae", "quantumpeer", "qwen3_tts", "recurrentgemma", "refiners",
    "relik", "renderformer", "reverb", "rkllm", "robo-orchard-lab", "routee-powertrain", "rwkv", "saelens",
    "sam-3d-body", "sam-3d-objects", "sam2", "same", "sample-factory", "sana", "sap-rpt-1-oss", "sapiens",
    "sapiens2", "scail-2", "seed-story", "seedvr", "self-forcing", "sentence-transformers", "setfit",
    "shadow", "skala", "sklearn", "soloaudio", "songbloom", "spacy", "span-marker", "speechbrain",
    "ssr-speech", "stable-audio-3", "stable-audio-tools", "stable-baselines3", "stanza", "supertonic",
    "swarmformer", "synthefy-migas", "tabpfn", "tencent-song-generation", "tensorflowtts", "tensorrt",
    "terratorch", "tf-keras", "tic-clip", "timee-ts", "timesfm", "timm", "tirex", "tirex-2", "torchgeo",
    "transformers", "transformers.js", "trellis", "trellis2", "tunejury", "ultralytics", "uni-3dar",
    "unity-sentis", "univa", "vfi-mamba", "vibevoice", "videoprism", "videox_fun", "vismatch", "voicecraft",
    "voxcpm", "vqweb", "vui", "wan2.2", "wham", "whisperkit", "yolov10", "yolov26", "zeromodels", "zonos",
];

/// The values of a dataset's `task_ids`.
#[rustfmt::skip]
pub(super) static TASK_IDS: &[&str] = &[
    "abstractive-qa", "acceptability-classification", "audio-emotion-recognition",
    "audio-intent-classification", "audio-language-identification", "closed-book-qa", "closed-domain-qa",
    "conversational", "coreference-resolution", "dialogue-generation", "dialogue-modeling",
    "document-question-answering", "document-retrieval", "entity-linking-classification",
    "entity-linking-retrieval", "explanation-generation", "extractive-qa", "face-detection",
    "fact-checking", "fact-checking-retrieval", "grasping", "hate-speech-detection", "image-captioning",
    "image-colorization", "image-inpainting", "instance-segmentation", "intent-classification",
    "keyword-spotting", "language-identification", "language-modeling", "lemmatization",
    "masked-language-modeling", "multi-class-classification", "multi-class-image-classification",
    "multi-input-text-classification", "multi-label-classification", "multi-label-image-classification",
    "multiple-choice-coreference-resolution", "multiple-choice-qa", "multivariate-time-series-forecasting",
    "named-entity-recognition", "natural-language-inference", "news-articles-headline-generation",
    "news-articles-summarization", "open-book-qa", "open-domain-abstractive-qa", "open-domain-qa",
    "panoptic-segmentation", "parsing", "part-of-speech", "pose-estimation", "rdf-to-text",
    "semantic-segmentation", "semantic-similarity-classification", "semantic-similarity-scoring",
    "sentiment-analysis", "sentiment-classification", "sentiment-scoring", "slot-filling",
    "speaker-identification", "super-resolution", "tabular-multi-class-classification",
    "tabular-multi-label-classification", "tabular-single-column-regression", "task-planning",
    "text-scoring", "text-simplification", "text2text-generation", "topic-classification",
    "univariate-time-series-forecasting", "utterance-retrieval", "vehicle-detection",
    "visual-question-answering", "word-sense-disambiguation",
];

/// The values of a dataset's `size_categories`.
pub(super) static SIZES: &[&str] = &[
    "100B<n<1T",
    "100K<n<1M",
    "100M<n<1B",
    "10B<n<100B",
    "10K<n<100K",
    "10M<n<100M",
    "1B<n<10B",
    "1K<n<10K",
    "1M<n<10M",
    "n<1K",
    "n>1T",
];

/// What can run a space.
pub(super) static SDKS: &[&str] = &["docker", "gradio", "static", "streamlit"];

/// The values of a space's `colorFrom` and `colorTo`.
pub(super) static COLORS: &[&str] = &["blue", "gray", "green", "indigo", "pink", "purple", "red", "yellow"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        for list in [LICENSES, LIBRARIES, TASK_IDS, SIZES, SDKS, COLORS] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
        assert!(PIPELINES.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(pipeline_label("text-generation"), Some("Text Generation"));
        assert_eq!(pipeline_label("conversational"), None);
    }
}
