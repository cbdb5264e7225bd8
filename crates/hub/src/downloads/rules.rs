//! Which file stands for a download of a model. Facts only, taken from the npm package `@huggingface/tasks` 0.21.54 (MIT) in
//! November 2026.

/// By library: ways that a file may be meant, with `|` between; of each, all that must hold of its path, with `&` between.
/// `path:` it is, `stem:` and `ext:` its last part is made of, `below:` it begins with; `in:folder`, it is not at the top.
/// Sorted.
static RULES: &[(&str, &str)] = &[
    ("3dtopia-xl", "path:model_vae_fp16.pt"),
    ("PaddleOCR", "ext:safetensors | path:inference.pdiparams | path:inference.onnx"),
    ("acestep", "path:ace_step_transformer/config.json"),
    ("adapter-transformers", "path:adapter_config.json"),
    ("anemoi", "ext:ckpt"),
    ("asteroid", "path:pytorch_model.bin"),
    ("audiocraft", "path:state_dict.bin"),
    ("audioseal", "ext:pth"),
    ("aviation-ner", "path:gliner_config.json"),
    ("bagel-mot", "path:llm_config.json"),
    ("bboxmaskpose", "ext:pth"),
    ("big_vision", "ext:npz"),
    ("bionemo", "ext:ckpt | path:config.json"),
    ("birder", "ext:pt"),
    ("bm25s", "path:params.index.json"),
    ("boltzgen", "path:boltzgen1_diverse.ckpt"),
    ("cancertathomev2", "path:run.py"),
    ("causilo", "path:classifier/config.json | path:regressor/config.json"),
    ("ccpfn", "ext:pt"),
    ("champ", "path:champ/motion_module.pth"),
    ("chaossim", "path:ChaosSim.nb"),
    ("chat_tts", "path:asset/GPT.pt"),
    ("chatterbox", "path:tokenizer.json"),
    ("chexmix", "ext:safetensors"),
    ("clara", "ext:ckpt | path:config.json"),
    ("clipscope", "ext:pt"),
    ("cloud-agents", "path:setup.py"),
    ("colipri", "ext:safetensors"),
    ("collectorvision", "ext:onnx"),
    ("colpali", "path:adapter_config.json"),
    ("comet", "path:hparams.yaml"),
    ("cortiq", "ext:cmf"),
    ("cosmos", "path:config.json | ext:pt"),
    ("cosyvoice", "ext:onnx | ext:pt"),
    ("cotracker", "ext:pth"),
    ("cxr-foundation", "path:precomputed_embeddings/embeddings.npz | path:pax-elixr-b-text/saved_model.pb"),
    ("depth-anything-v2", "ext:pth"),
    ("depth-pro", "ext:pt"),
    ("derm-foundation", "path:scin_dataset_precomputed_embeddings.npz | path:saved_model.pb"),
    ("diff-interpretation-tuning", "ext:pt"),
    ("diffree", "path:diffree-step=000010999.ckpt"),
    ("diffusers", "path:model_index.json | path:modular_model_index.json"),
    ("diffusion-single-file", "ext:safetensors"),
    ("docking-at-home", "path:setup.py"),
    ("edsnlp", "stem:config & ext:cfg"),
    ("elm", "stem:slicex_elm_config & ext:json"),
    ("encoderfile", "ext:encoderfile"),
    ("eupe", "ext:pt"),
    ("f5-tts", "ext:safetensors | ext:pt"),
    ("fastprint", "ext:cs"),
    ("fasttext", "ext:bin"),
    ("fixer", "path:pretrained/pretrained_fixer.pkl"),
    ("flair", "path:pytorch_model.bin"),
    ("flexray", "ext:safetensors | ext:onnx"),
    ("flextab", "ext:pt"),
    ("fme", "ext:tar"),
    ("gaussianformer", "path:config.json"),
    ("gemma.cpp", "ext:sbs"),
    ("genmo", "path:vae_stats.json"),
    ("geometry-crafter", "path:point_map_vae/diffusion_pytorch_model.safetensors"),
    ("gliformer", "path:gliner_config.json"),
    ("gliner", "path:gliner_config.json"),
    ("glm-tts", "path:flow/flow.pt"),
    ("glyph-byt5", "path:checkpoints/byt5_model.pt"),
    ("granite-library", "stem:adapter_config & ext:json"),
    ("grok", "path:ckpt/tensor00000_000 | path:ckpt-0/tensor00000_000"),
    ("habibi-tts", "ext:safetensors"),
    ("hallo", "path:hallo/net.pth"),
    ("hermes", "path:ckpt/hermes_final.pth"),
    ("hezar", "path:model_config.yaml | path:embedding/embedding_config.yaml"),
    ("holomotion", "ext:onnx"),
    ("hunyuan-dit", "path:pytorch_model_ema.pt | path:pytorch_model_distill.pt"),
    ("hunyuan3d-2", "stem:model_index | stem:config"),
    ("hy-world-2", "ext:json"),
    ("hy-worldplay", "ext:json"),
    ("image-matching-models", "ext:safetensors"),
    ("imstoucan", "path:embedding_gan.pt | path:Vocoder.pt | path:ToucanTTS.pt"),
    (
        "infinite-you",
        "path:infu_flux_v1.0/sim_stage1/image_proj_model.bin | path:infu_flux_v1.0/aes_stage2/image_proj_model.bin",
    ),
    ("infinitetalk", "ext:safetensors"),
    ("intellifold", "ext:pt | ext:zst"),
    ("ising-decoding", "ext:safetensors"),
    ("jev-style", "ext:gguf | stem:config & ext:json"),
    ("keras", "path:config.json | ext:keras"),
    ("kernels", "stem:_ops & ext:py"),
    ("kronos", "ext:pt"),
    ("lagernvs", "ext:pt"),
    ("laya", "path:rl_agent_config.json"),
    ("lightglue", "ext:pth | path:config.json"),
    ("litert", "ext:tflite"),
    ("litert-lm", "ext:litertlm | ext:task"),
    ("liveportrait", "path:liveportrait/landmark.onnx"),
    ("ltx", "ext:safetensors"),
    ("lvface", "ext:pt | ext:onnx"),
    ("lyra-2.0", "path:checkpoints/image_encoder/model.pth"),
    (
        "magenta-realtime",
        "path:checkpoints/llm_base_x4286_c1860k.tar | path:checkpoints/llm_large_x3047_c1860k.tar | path:checkpoints/llm_large_x3047_c1860k/checkpoint",
    ),
    (
        "magenta-realtime-2",
        "path:models/mrt2_base/mrt2_base.mlxfn | path:models/mrt2_small/mrt2_small.mlxfn | path:checkpoints/mrt2_base.safetensors | path:checkpoints/mrt2_small.safetensors",
    ),
    ("magi-1", "path:ckpt/vae/config.json"),
    ("manas-1", "ext:pt"),
    ("mars5-tts", "path:mars5_ar.safetensors"),
    ("mect", "ext:pt"),
    ("medvae", "ext:ckpt"),
    ("merlin", "ext:pt"),
    ("mesh-anything", "path:MeshAnything_350m.pth"),
    ("mflux", "ext:safetensors"),
    ("microduck", "ext:onnx"),
    ("mini-omni2", "path:model_config.yaml"),
    ("minimax-h3", "ext:safetensors | stem:model_index | stem:config | path:modular_model_index.json"),
    ("mitie", "stem:total_word_feature_extractor"),
    ("ml-agents", "ext:onnx"),
    ("ml-sharp", "ext:pt"),
    ("mlc-llm", "path:mlc-chat-config.json"),
    ("mlx-image", "path:model.safetensors"),
    ("mobilint", "path:config.json | ext:mxq"),
    ("monkeyocr", "path:Recognition/config.json"),
    ("montreal-forced-aligner", "path:acoustic/final.mdl | ext:zip"),
    ("moshi", "path:tokenizer-e351c8d8-checkpoint125.safetensors"),
    ("mtvcraft", "path:vae/3d-vae.pt"),
    ("nemo", "ext:nemo | path:model_config.yaml | ext:json"),
    ("ninfer", "ext:ninfer"),
    ("nv-medtech", "ext:pt | ext:safetensors | path:config.json"),
    ("open-oasis", "path:oasis500m.safetensors"),
    ("open-sora", "path:Open_Sora_v2.safetensors"),
    (
        "open_clip",
        "path:open_clip_model.safetensors | path:model.safetensors | path:open_clip_pytorch_model.bin | path:pytorch_model.bin",
    ),
    ("openasr", "ext:oasr"),
    ("opendde", "ext:pt"),
    ("openpeerllm", "path:.meta-huggingface.json"),
    ("paddlenlp", "path:model_config.json"),
    ("peft", "path:adapter_config.json"),
    ("perception-encoder", "ext:pt"),
    ("phantom-wan", "ext:pth"),
    ("piper", "ext:onnx | ext:ckpt"),
    ("pocket-tts", "path:tts_b6369a24.safetensors"),
    ("quantumpeer", "ext:setup.py"),
    ("recurrentgemma", "path:tokenizer.model"),
    ("refiners", "path:model.safetensors"),
    ("rkllm", "ext:rkllm"),
    ("robo-orchard-lab", "ext:safetensors"),
    ("routee-powertrain", "ext:onnx | ext:joblib"),
    ("rwkv", "ext:pth"),
    ("sam-3d-body", "path:model_config.yaml"),
    ("sam-3d-objects", "path:checkpoints/pipeline.yaml"),
    ("sam2", "ext:pt"),
    ("same", "path:ckpt/SAME.pt | path:pretrain/Attnq_pretrained_ckpt.pt"),
    ("sample-factory", "path:cfg.json"),
    ("sana", "ext:pth"),
    ("sap-rpt-1-oss", "ext:pt"),
    ("sapiens", "ext:pt2 | ext:pth | ext:onnx"),
    ("sapiens2", "ext:safetensors"),
    ("scail-2", "path:model/1/fsdp2_rank_0000_checkpoint.pt"),
    ("seed-story", "path:cvlm_llama2_tokenizer/tokenizer.model"),
    ("seedvr", "ext:pth"),
    ("self-forcing", "ext:pt"),
    ("shadow", "ext:shdw"),
    ("skala", "ext:fun"),
    ("sklearn", "path:sklearn_model.joblib"),
    ("soloaudio", "path:soloaudio_v2.pt"),
    ("songbloom", "ext:pt"),
    ("spacy", "ext:whl"),
    ("speechbrain", "path:hyperparams.yaml"),
    ("ssr-speech", "ext:.pth"),
    ("stable-audio-3", "path:model_config.json"),
    ("stable-audio-tools", "path:model.safetensors"),
    ("stable-baselines3", "ext:zip"),
    ("stanza", "path:models/default.zip"),
    ("synthefy-migas", "path:model.pt"),
    ("tencent-song-generation", "path:ckpt/songgeneration_base/model.pt"),
    ("tensorrt", "ext:onnx"),
    ("terratorch", "ext:pt | ext:ckpt"),
    ("tf-keras", "path:saved_model.pb"),
    ("tic-clip", "ext:pt & below:checkpoints/"),
    ("timee-ts", "path:model.safetensors"),
    (
        "timesfm",
        "path:config.json | path:torch_model.ckpt | path:checkpoints/checkpoint_1100000/state/checkpoint | path:checkpoints/checkpoint_2150000/state/checkpoint",
    ),
    ("timm", "path:pytorch_model.bin | path:model.safetensors"),
    ("tirex", "ext:ckpt"),
    ("tirex-2", "path:model-config.yaml"),
    ("torchgeo", "ext:pt | ext:pth"),
    ("trellis", "ext:safetensors"),
    ("trellis2", "ext:safetensors"),
    ("tunejury", "ext:pt"),
    ("ultralytics", "ext:pt"),
    ("uni-3dar", "ext:pt"),
    ("unity-sentis", "ext:sentis"),
    ("univa", "path:config.json"),
    ("vfi-mamba", "ext:pkl"),
    ("videoprism", "ext:npz"),
    ("videox_fun", "ext:safetensors"),
    ("vismatch", "path:vismatch.yaml"),
    ("vqweb", "ext:vqw"),
    ("vui", "ext:pt"),
    ("wan2.2", "stem:config & ext:json"),
    ("wham", "ext:ckpt"),
    ("whisperkit", "stem:model & ext:mil & in:folder"),
    ("yolov10", "ext:pt | ext:safetensors"),
    ("yolov26", "ext:pt | ext:safetensors"),
    ("zeromodels", "path:model.weights.h5 | path:model.weights.json"),
];

/// Of models of no library, or of one that has no rule.
const USUAL: &[&str] = &["config.json", "config.yaml", "hyperparams.yaml", "params.json", "meta.yaml"];

/// Whether a request for this file counts as a download of the model.
pub(super) fn counts(library: Option<&str>, path: &str) -> bool {
    // Each is a model of its own, whatever loads it.
    if path.ends_with(".gguf") {
        return true;
    }
    let rule = library.and_then(|library| {
        let at = RULES.binary_search_by_key(&library, |(key, _)| key).ok()?;
        Some(RULES[at].1)
    });
    match rule {
        None => USUAL.contains(&path),
        // Its weights at the top, too, when they are one file.
        Some(_) if library == Some("diffusers") && is_whole_pipeline(path) => true,
        Some(rule) => rule.split(" | ").any(|way| way.split(" & ").all(|term| holds(term, path))),
    }
}

fn is_whole_pipeline(path: &str) -> bool {
    !path.contains('/') && [".safetensors", ".ckpt", ".bin"].iter().any(|ending| path.ends_with(ending))
}

fn holds(term: &str, path: &str) -> bool {
    let (field, value) = term.split_once(':').unwrap_or((term, ""));
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match field {
        "path" => path == value,
        "ext" => extension == value.trim_start_matches('.'),
        "stem" => stem == value,
        "below" => path.starts_with(value),
        "in" => path.contains('/'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_sorted_and_can_be_read() {
        assert!(RULES.is_sorted_by(|a, b| a.0 < b.0));
        for (library, rule) in RULES {
            for term in rule.split(" | ").flat_map(|way| way.split(" & ")) {
                let (field, value) = term.split_once(':').unwrap();
                assert!(
                    ["path", "ext", "stem", "below", "in"].contains(&field) && !value.is_empty(),
                    "{library}"
                );
            }
        }
    }

    #[test]
    fn what_counts() {
        for (library, path, expected) in [
            (None, "config.json", true),
            (None, "model.safetensors", false),
            (None, "sub/config.json", false),
            (None, "sub/model.Q4.gguf", true),
            (Some("transformers"), "config.json", true),
            (Some("adapter-transformers"), "adapter_config.json", true),
            (Some("adapter-transformers"), "config.json", false),
            (Some("diffusers"), "model_index.json", true),
            (Some("diffusers"), "weights.safetensors", true),
            (Some("diffusers"), "unet/weights.safetensors", false),
            (Some("tic-clip"), "checkpoints/a.pt", true),
            (Some("tic-clip"), "a.pt", false),
            (Some("whisperkit"), "a/model.mil", true),
            (Some("whisperkit"), "model.mil", false),
        ] {
            assert_eq!(counts(library, path), expected, "{library:?} {path}");
        }
    }
}
