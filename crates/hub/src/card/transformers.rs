//! What the name of a model's class says about its task.

use serde_json::{Map, Value};

use super::formats::has_file;

/// Class suffix, `AutoModel…` class, task. The first that fits wins.
const CLASSES: [(&str, &str, Option<&str>); 29] = [
    ("ForSequenceClassification", "AutoModelForSequenceClassification", Some("text-classification")),
    ("ForTokenClassification", "AutoModelForTokenClassification", Some("token-classification")),
    ("TapasForQuestionAnswering", "AutoModelForTableQuestionAnswering", Some("table-question-answering")),
    ("ViltForQuestionAnswering", "AutoModelForVisualQuestionAnswering", Some("visual-question-answering")),
    ("ForQuestionAnswering", "AutoModelForQuestionAnswering", Some("question-answering")),
    (
        "ForDocumentQuestionAnswering",
        "AutoModelForDocumentQuestionAnswering",
        Some("document-question-answering"),
    ),
    ("ForMaskedLM", "AutoModelForMaskedLM", Some("fill-mask")),
    ("ForCausalLM", "AutoModelForCausalLM", Some("text-generation")),
    ("LMHeadModel", "AutoModelForCausalLM", Some("text-generation")),
    ("ForMultipleChoice", "AutoModelForMultipleChoice", Some("multiple-choice")),
    ("ForImageClassification", "AutoModelForImageClassification", Some("image-classification")),
    ("ForVideoClassification", "AutoModelForVideoClassification", Some("video-classification")),
    ("ForAudioClassification", "AutoModelForAudioClassification", Some("audio-classification")),
    ("ForObjectDetection", "AutoModelForObjectDetection", Some("object-detection")),
    ("ForSemanticSegmentation", "AutoModelForSemanticSegmentation", Some("image-segmentation")),
    ("ForInstanceSegmentation", "AutoModelForInstanceSegmentation", Some("image-segmentation")),
    ("ForUniversalSegmentation", "AutoModelForUniversalSegmentation", Some("image-segmentation")),
    ("ForDepthEstimation", "AutoModelForDepthEstimation", Some("depth-estimation")),
    ("ForKeypointDetection", "AutoModelForKeypointDetection", Some("keypoint-detection")),
    ("ForImageTextToText", "AutoModelForImageTextToText", Some("image-text-to-text")),
    ("ForTextToWaveform", "AutoModelForTextToWaveform", Some("text-to-audio")),
    ("ForCTC", "AutoModelForCTC", Some("automatic-speech-recognition")),
    ("ForSpeechSeq2Seq", "AutoModelForSpeechSeq2Seq", Some("automatic-speech-recognition")),
    ("WhisperForConditionalGeneration", "AutoModelForSpeechSeq2Seq", Some("automatic-speech-recognition")),
    ("MarianMTModel", "AutoModelForSeq2SeqLM", Some("translation")),
    ("CLIPModel", "AutoModelForZeroShotImageClassification", Some("zero-shot-image-classification")),
    ("SiglipModel", "AutoModelForZeroShotImageClassification", Some("zero-shot-image-classification")),
    ("ForConditionalGeneration", "AutoModelForSeq2SeqLM", None),
    ("ForPreTraining", "AutoModelForPreTraining", None),
];

/// The file that says how inputs are prepared. The first that is there wins.
const PROCESSORS: [(&str, &str); 4] = [
    ("processor_config.json", "AutoProcessor"),
    ("preprocessor_config.json", "AutoProcessor"),
    ("tokenizer_config.json", "AutoTokenizer"),
    ("tokenizer.json", "AutoTokenizer"),
];

/// The class that loads a model and the task it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    pub auto_model: &'static str,
    pub task: Option<&'static str>,
}

pub(super) fn class_of(config: &Value) -> Option<Class> {
    let name = config.get("architectures")?.get(0)?.as_str()?;
    if name.ends_with("ForConditionalGeneration") && config.get("vision_config").is_some() {
        return Some(Class { auto_model: "AutoModelForImageTextToText", task: Some("image-text-to-text") });
    }
    let known = CLASSES.iter().find(|(suffix, ..)| name.ends_with(suffix));
    match known {
        Some((_, auto_model, task)) => Some(Class { auto_model, task: *task }),
        None if name.ends_with("Model") => Some(Class { auto_model: "AutoModel", task: None }),
        None => None,
    }
}

/// `transformersInfo` of the API. Clients take `auto_model` for granted, so there is none without it.
pub(super) fn info(config: &Value, files: &[&str], task: Option<&str>) -> Option<Value> {
    let class = class_of(config)?;
    let mut info = Map::from_iter([("auto_model".to_owned(), Value::from(class.auto_model))]);
    let custom =
        config.get("auto_map").and_then(|map| map.get(class.auto_model)).filter(|custom| custom.is_string());
    if let Some(custom) = custom {
        info.insert("custom_class".to_owned(), custom.clone());
    }
    if let Some(task) = task {
        info.insert("pipeline_tag".to_owned(), task.into());
    }
    if let Some((_, processor)) = PROCESSORS.iter().find(|(file, _)| has_file(files, file)) {
        info.insert("processor".to_owned(), (*processor).into());
    }
    Some(Value::Object(info))
}

/// Keys of `tokenizer_config.json` that the API repeats.
const TOKENIZER_KEYS: [&str; 8] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "chat_template",
];
const CONFIG_KEYS: [&str; 4] = ["architectures", "auto_map", "model_type", "quantization_config"];
/// A chat template is some kilobytes; an answer should not carry what somebody hid in one.
const CONFIG_BYTES_MAX: usize = 256 << 10;

/// `config` of the API: the part of the two files that clients read.
pub(super) fn reduced_config(config: Option<&Value>, tokenizer: Option<&Value>) -> Option<Value> {
    let mut reduced = pick(config, &CONFIG_KEYS);
    let tokenizer = pick(tokenizer, &TOKENIZER_KEYS);
    if !tokenizer.is_empty() {
        reduced.insert("tokenizer_config".to_owned(), Value::Object(tokenizer));
    }
    let reduced = Value::Object(reduced);
    let fits = reduced != Value::Object(Map::new()) && reduced.to_string().len() <= CONFIG_BYTES_MAX;
    fits.then_some(reduced)
}

fn pick(from: Option<&Value>, keys: &[&str]) -> Map<String, Value> {
    let present = |key: &&str| Some(((*key).to_owned(), from?.get(*key)?.clone()));
    keys.iter().filter_map(present).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tasks_of_classes() {
        for (class, task) in [
            ("BertForSequenceClassification", Some("text-classification")),
            ("TapasForQuestionAnswering", Some("table-question-answering")),
            ("GPT2LMHeadModel", Some("text-generation")),
            ("WhisperForConditionalGeneration", Some("automatic-speech-recognition")),
            ("T5ForConditionalGeneration", None),
            ("CLIPModel", Some("zero-shot-image-classification")),
            ("BertModel", None),
        ] {
            let found = class_of(&json!({ "architectures": [class] })).unwrap();
            assert_eq!(found.task, task, "{class}");
            assert!(task.is_none_or(|task| crate::card::pipeline_label(task).is_some()), "{class}");
        }
        let vision = json!({ "architectures": ["XForConditionalGeneration"], "vision_config": {} });
        assert_eq!(class_of(&vision).unwrap().task, Some("image-text-to-text"));
        for config in [json!(null), json!({"architectures": "x"}), json!({"architectures": [1]}), json!([])] {
            assert_eq!(class_of(&config), None);
        }
    }

    #[test]
    fn information_for_clients() {
        let config = json!({
            "architectures": ["PhiForCausalLM"], "auto_map": {"AutoModelForCausalLM": "phi.Phi"}, "hidden_size": 1
        });
        let expected = json!({
            "auto_model": "AutoModelForCausalLM", "custom_class": "phi.Phi",
            "pipeline_tag": "text-generation", "processor": "AutoTokenizer"
        });
        assert_eq!(info(&config, &["tokenizer.json"], Some("text-generation")), Some(expected));
        let reduced = reduced_config(Some(&config), Some(&json!({ "pad_token": "x", "other": 1 }))).unwrap();
        assert_eq!(reduced["tokenizer_config"], json!({ "pad_token": "x" }));
        assert_eq!(reduced.get("hidden_size"), None);
        let huge = json!({ "chat_template": "x".repeat(CONFIG_BYTES_MAX) });
        assert_eq!(reduced_config(None, Some(&huge)), None);
    }
}
