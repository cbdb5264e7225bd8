//! Facts of a model.

use serde_json::Value;

use super::facts::{Facts, Sources};
use super::fields::{is_repo_id, text, texts};
use super::formats::{has_extension, has_file, model_formats};
use super::tags::Tags;
use super::{tables, transformers};

/// Tags and `quant_method`s of weights that were made smaller.
const QUANTIZED: [&str; 7] = ["gptq", "awq", "gguf", "exl2", "aqlm", "bitsandbytes", "hqq"];

pub(super) fn facts(sources: &Sources<'_>) -> Facts {
    let formats = model_formats(sources.files);
    let library_name = library(sources);
    let pipeline_tag = pipeline_tag(sources);
    let base_models: Vec<String> =
        sources.names("base_model").into_iter().filter(|id| is_repo_id(id)).collect();
    let base_model_relation = (!base_models.is_empty()).then(|| relation(sources, base_models.len()));
    let uses_transformers = library_name.as_deref() == Some("transformers");
    let mut facts = Facts {
        arxiv_ids: sources.papers(),
        mask_token: mask_token(sources, pipeline_tag.as_deref()),
        model_index: sources.field("model-index").filter(|index| index.is_array()).cloned(),
        transformers_info: sources
            .config
            .filter(|_| uses_transformers)
            .and_then(|config| transformers::info(config, sources.files, pipeline_tag.as_deref())),
        config: transformers::reduced_config(sources.config, sources.tokenizer_config),
        datasets: sources.names("datasets"),
        pipeline_tag,
        library_name,
        base_models,
        base_model_relation,
        ..Facts::default()
    };
    facts.tags = tags(sources, &facts, &formats);
    facts
}

/// The order of the hub: library, formats, type, task, the author's, languages, references, license, numbers.
fn tags(sources: &Sources<'_>, facts: &Facts, formats: &[&str]) -> Vec<String> {
    let config = |key: &str| sources.config.and_then(|config| config.get(key));
    let mut tags = Tags::default();
    tags.push_field("", facts.library_name.clone().map(Value::from).as_ref());
    formats.iter().for_each(|format| tags.push(format));
    tags.push_field("", config("model_type").filter(|model_type| model_type.is_string()));
    tags.push_field("", facts.pipeline_tag.clone().map(Value::from).as_ref());
    tags.push_free(sources.card);
    if is_conversational(sources) {
        tags.push("conversational");
    }
    if config("auto_map").and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
        tags.push("custom_code");
    }
    tags.push_field("", sources.field("language"));
    tags.push_field("dataset:", sources.field("datasets"));
    facts.arxiv_ids.iter().for_each(|id| tags.push(&format!("arxiv:{id}")));
    facts.base_models.iter().for_each(|id| tags.push(&format!("base_model:{id}")));
    for (id, relation) in facts.base_models.iter().zip(std::iter::repeat(facts.base_model_relation)) {
        tags.push(&format!("base_model:{}:{id}", relation.unwrap_or("finetune")));
    }
    tags.push_field("license:", sources.field("license"));
    if facts.model_index.is_some() {
        tags.push("model-index");
    }
    if sources.files.iter().any(|path| path.starts_with(".eval_results/") && path.ends_with(".yaml")) {
        tags.push("eval-results");
    }
    quantization(config("quantization_config")).iter().for_each(|tag| tags.push(tag));
    tags.push_region();
    tags.into_list()
}

/// What the card says, else its first tag that names a library, else what the files are. A bare `config.json` means
/// transformers: huggingface.co stopped guessing so in 2024, users of their own hub rely on it.
fn library(sources: &Sources<'_>) -> Option<String> {
    let files = sources.files;
    let tagged =
        || texts(sources.field("tags")).find(|tag| tables::has(tables::LIBRARIES, tag)).map(Into::into);
    let from_files = || {
        let found = match () {
            () if has_extension(files, "nemo") => "nemo",
            () if has_extension(files, "mlmodel") => "coreml",
            () if has_file(files, "modules.json") => "sentence-transformers",
            () if has_file(files, "model_index.json") => "diffusers",
            () if has_file(files, "adapter_config.json") => "peft",
            () if has_extension(files, "gguf") => "gguf",
            () if has_file(files, "config.json") => "transformers",
            () => return None,
        };
        Some(found.to_owned())
    };
    text(sources.field("library_name")).or_else(tagged).or_else(from_files)
}

/// What the card says, else what the class in `config.json` is for, else what the files or the tags say.
fn pipeline_tag(sources: &Sources<'_>) -> Option<String> {
    let class = sources.config.and_then(transformers::class_of);
    let from_class = class.and_then(|class| class.task);
    let from_files = || has_file(sources.files, "modules.json").then_some("sentence-similarity");
    let tagged = || texts(sources.field("tags")).find(|tag| tables::pipeline_label(tag).is_some());
    let bare =
        || class.filter(|class| class.auto_model == "AutoModel").map(|_| "feature-extraction".to_owned());
    text(sources.field("pipeline_tag"))
        .or_else(|| from_class.or_else(from_files).map(str::to_owned))
        .or_else(|| tagged().map(Into::into))
        .or_else(bare)
}

fn mask_token(sources: &Sources<'_>, pipeline_tag: Option<&str>) -> Option<String> {
    let of_tokenizer = || {
        let token = sources.tokenizer_config?.get("mask_token")?;
        text(Some(token.get("content").unwrap_or(token)))
    };
    let relevant = pipeline_tag == Some("fill-mask");
    text(sources.field("mask_token")).or_else(|| relevant.then(of_tokenizer).flatten())
}

fn is_conversational(sources: &Sources<'_>) -> bool {
    let template = sources.tokenizer_config.and_then(|config| config.get("chat_template"));
    let given = match template {
        Some(Value::String(template)) => !template.is_empty(),
        Some(Value::Array(named)) => !named.is_empty(),
        _ => false,
    };
    given || ["chat_template.jinja", "chat_template.json"].iter().any(|file| has_file(sources.files, file))
}

/// How a model came from its base models. The card's own word wins.
fn relation(sources: &Sources<'_>, base_models: usize) -> &'static str {
    const RELATIONS: [&str; 4] = ["adapter", "merge", "quantized", "finetune"];
    let stated = text(sources.field("base_model_relation"));
    if let Some(known) = RELATIONS.iter().find(|known| Some(**known) == stated.as_deref()) {
        return known;
    }
    let tagged = |any: &[&str]| texts(sources.field("tags")).any(|tag| any.contains(&tag.as_ref()));
    let library = text(sources.field("library_name"));
    if has_file(sources.files, "adapter_config.json")
        || library.as_deref() == Some("peft")
        || tagged(&["peft", "lora"])
    {
        return "adapter";
    }
    let quantized_config = sources.config.is_some_and(|config| config.get("quantization_config").is_some());
    if has_extension(sources.files, "gguf") || quantized_config || tagged(&QUANTIZED) {
        return "quantized";
    }
    if base_models > 1 { "merge" } else { "finetune" }
}

/// `8-bit` and `fp8` and their like, from `quantization_config`.
fn quantization(config: Option<&Value>) -> Vec<String> {
    let Some(config) = config else { return Vec::new() };
    let method = config.get("quant_method").and_then(Value::as_str);
    let flag = |key: &str| config.get(key).and_then(Value::as_bool) == Some(true);
    let bits = match (config.get("bits").and_then(Value::as_u64), method) {
        (Some(bits @ 1..=16), _) => Some(bits),
        _ if flag("load_in_4bit") => Some(4),
        _ if flag("load_in_8bit") => Some(8),
        (_, Some("fp8" | "mxfp4")) => Some(8),
        _ => None,
    };
    bits.map(|bits| format!("{bits}-bit")).into_iter().chain(method.map(str::to_owned)).collect()
}
