use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

/// The card of `sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0), shortened.
const MINILM: &str = "---
language: en
license: apache-2.0
library_name: sentence-transformers
tags:
- sentence-transformers
- feature-extraction
- sentence-similarity
- transformers
datasets:
- s2orc
- flax-sentence-embeddings/stackexchange_xml
- ms_marco
- embedding-data/QQP
pipeline_tag: sentence-similarity
---


# all-MiniLM-L6-v2
This is a [sentence-transformers](https://www.SBERT.net) model.

| Dataset                                                  | Paper                                    |
|--------------------------------------------------------|:----------------------------------------:|
| [Reddit comments (2015-2018)](https://github.com/x) | [paper](https://arxiv.org/abs/1904.06472) |
| [S2ORC](https://github.com/allenai/s2orc) | [paper](https://aclanthology.org/2020.acl-main.447/) |
| [WikiAnswers](https://github.com/afader/oqa) | [paper](https://doi.org/10.1145/2623330.2623677) |
| [PAQ](https://github.com/facebookresearch/PAQ) | [paper](https://arxiv.org/abs/2102.07033) |
";

#[derive(Default)]
struct Repo {
    card: &'static str,
    files: &'static [&'static str],
    config: Value,
    tokenizer: Value,
}

fn derive(kind: RepoKind, repo: Repo) -> Facts {
    let card = parse(repo.card).unwrap();
    facts(Sources {
        kind,
        card: Some(&card),
        body: None,
        files: repo.files,
        config: Some(&repo.config),
        tokenizer_config: Some(&repo.tokenizer),
    })
}

#[test]
fn a_real_card() {
    assert_eq!(validate(MINILM.as_bytes(), RepoKind::Model), Validation::default());
    let card = read(MINILM.as_bytes()).unwrap();
    let facts = facts(Sources {
        kind: RepoKind::Model,
        card: Some(&card.data),
        body: std::str::from_utf8(card.body).ok(),
        files: &["1_Pooling/config.json", "README.md", "config.json", "model.safetensors", "modules.json"],
        config: Some(&json!({ "architectures": ["BertModel"], "model_type": "bert" })),
        tokenizer_config: Some(&json!({ "mask_token": "[MASK]" })),
    });
    assert_eq!(
        facts.tags,
        [
            "sentence-transformers",
            "safetensors",
            "bert",
            "sentence-similarity",
            "feature-extraction",
            "transformers",
            "en",
            "dataset:s2orc",
            "dataset:flax-sentence-embeddings/stackexchange_xml",
            "dataset:ms_marco",
            "dataset:embedding-data/QQP",
            "arxiv:1904.06472",
            "arxiv:2102.07033",
            "license:apache-2.0",
            "region:us"
        ]
    );
    assert_eq!(facts.pipeline_tag.as_deref(), Some("sentence-similarity"));
    assert_eq!(facts.library_name.as_deref(), Some("sentence-transformers"));
    assert_eq!((facts.mask_token, facts.transformers_info), (None, None));
    assert_eq!(facts.card_data.unwrap()["datasets"][1], "flax-sentence-embeddings/stackexchange_xml");
}

#[test]
fn a_chat_model() {
    let facts = derive(
        RepoKind::Model,
        Repo {
            card: "language: [en, no]\nlicense: mit\nbase_model: [Qwen/Base, /data/x]\ntags: [chat, arxiv:2401.00001]",
            files: &["config.json", "model-00001-of-00002.safetensors", "tokenizer_config.json"],
            config: json!({
                "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "auto_map": {"AutoConfig": "c.C"},
                "quantization_config": {"quant_method": "fp8"}
            }),
            tokenizer: json!({ "chat_template": "{{ messages }}", "eos_token": "x" }),
        },
    );
    assert_eq!(
        facts.tags,
        [
            "transformers",
            "safetensors",
            "qwen2",
            "text-generation",
            "chat",
            "arxiv:2401.00001",
            "conversational",
            "custom_code",
            "en",
            "no",
            "base_model:Qwen/Base",
            "base_model:quantized:Qwen/Base",
            "license:mit",
            "8-bit",
            "fp8",
            "region:us"
        ]
    );
    assert_eq!(facts.arxiv_ids, ["2401.00001"]);
    assert_eq!(facts.transformers_info.unwrap()["auto_model"], "AutoModelForCausalLM");
    assert_eq!(facts.config.unwrap()["tokenizer_config"]["eos_token"], "x");
}

#[test]
fn libraries_tasks_and_relations() {
    for (card, files, library, task, relation) in [
        ("", &["x.gguf"][..], Some("gguf"), None, None),
        ("base_model: a/b", &["x.gguf"], Some("gguf"), None, Some("quantized")),
        ("base_model: a/b", &["adapter_config.json"], Some("peft"), None, Some("adapter")),
        ("base_model: [a/b, c/d]", &["config.json"], Some("transformers"), None, Some("merge")),
        ("base_model: a/b\nbase_model_relation: merge", &[], None, None, Some("merge")),
        ("base_model: \"\"", &[], None, None, None),
        ("tags: [foo, timm, image-classification]", &[], Some("timm"), Some("image-classification"), None),
        (
            "library_name: mine\npipeline_tag: own-task",
            &["config.json"],
            Some("mine"),
            Some("own-task"),
            None,
        ),
        (
            "",
            &["modules.json", "config.json"],
            Some("sentence-transformers"),
            Some("sentence-similarity"),
            None,
        ),
        ("", &["model_index.json", "unet/config.json"], Some("diffusers"), None, None),
        ("tags: null\nlibrary_name: {a: b}\npipeline_tag: [1]", &["a.nemo"], Some("nemo"), Some("1"), None),
    ] {
        let facts = derive(RepoKind::Model, Repo { card, files, ..Repo::default() });
        let found = (facts.library_name.as_deref(), facts.pipeline_tag.as_deref(), facts.base_model_relation);
        assert_eq!(found, (library, task, relation), "{card} {files:?}");
    }
}

#[test]
fn a_masked_model() {
    let config = json!({ "architectures": ["BertForMaskedLM"] });
    let tokenizer = json!({ "mask_token": { "content": "[MASK]", "__type": "AddedToken" } });
    let facts = derive(RepoKind::Model, Repo { config, tokenizer, ..Repo::default() });
    assert_eq!(facts.mask_token.as_deref(), Some("[MASK]"));
    assert_eq!(facts.card_data, None);
}

#[test]
fn a_dataset() {
    let facts = derive(
        RepoKind::Dataset,
        Repo {
            card: "license: odc-by\nlanguage: en\ntask_categories: [question-answering]\nsize_categories: n<1K\n\
                tags: [synthetic, 2024]\ndataset_info:\n  features:\n  - {name: a, dtype: string}\n  \
                - {name: b, sequence: int32}\n  - {name: c, struct: [{name: d, dtype: image}]}\n",
            files: &["README.md", "data/train.parquet"],
            ..Repo::default()
        },
    );
    assert_eq!(
        facts.tags,
        [
            "task_categories:question-answering",
            "language:en",
            "license:odc-by",
            "size_categories:n<1K",
            "format:parquet",
            "modality:image",
            "modality:tabular",
            "modality:text",
            "library:datasets",
            "library:pandas",
            "region:us",
            "synthetic",
            "2024"
        ]
    );
}

#[test]
fn a_space() {
    let card = "sdk: gradio\nsdk_version: 5.0\napp_file: app.py\nmodels: [a/b]\ntags: [demo]";
    let facts = derive(RepoKind::Space, Repo { card, ..Repo::default() });
    assert_eq!(facts.tags, ["gradio", "demo", "region:us"]);
    assert_eq!((facts.sdk.as_deref(), facts.sdk_version.as_deref()), (Some("gradio"), Some("5.0")));
    assert_eq!((facts.app_file.as_deref(), facts.models), (Some("app.py"), vec!["a/b".to_owned()]));
}

/// Everything that a push would do with a README.
fn exercise(readme: &[u8]) {
    for kind in [RepoKind::Model, RepoKind::Dataset, RepoKind::Space] {
        let verdict = validate(readme, kind);
        let card = read(readme);
        let Ok(card) = card else { continue };
        let facts = facts(Sources {
            kind,
            card: Some(&card.data),
            body: std::str::from_utf8(card.body).ok(),
            files: &["config.json", "a.safetensors"],
            config: Some(&card.data),
            tokenizer_config: Some(&card.data),
        });
        assert!(facts.tags.len() <= TAGS_MAX && facts.tags.contains(&"region:us".to_owned()));
        assert!(facts.tags.iter().all(|tag| tag.chars().count() <= TAG_CHARS_MAX));
        assert!(verdict.errors.iter().chain(&verdict.warnings).all(|note| !note.is_empty()));
    }
}

/// A small generator (xorshift), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn mutations_neither_panic_nor_hang() {
    const PIECES: [&[u8]; 16] = [
        b"---", b"\n", b": ", b"- ", b"&a ", b"*a", b"<<: ", b"[", b"{", b"\"", b"|\n", b"!!set ", b"\xff",
        b"? ", b"#", b"\t",
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let began = Instant::now();
    for _ in 0..1_000 {
        let mut readme = MINILM.as_bytes().to_vec();
        for _ in 0..1 + dice.roll(8) {
            let at = dice.roll(420);
            match dice.roll(4) {
                0 => readme[at] = dice.roll(256) as u8,
                1 => drop(readme.drain(at..at + dice.roll(20))),
                2 => readme.truncate(500 + dice.roll(200)),
                _ => drop(readme.splice(at..at, PIECES[dice.roll(PIECES.len())].iter().copied())),
            }
        }
        exercise(&readme);
        let noise: Vec<u8> = (0..dice.roll(200)).map(|_| dice.roll(256) as u8).collect();
        exercise(&[b"---\n", noise.as_slice(), b"\n---\n"].concat());
        let soup: Vec<u8> =
            (0..dice.roll(60)).flat_map(|_| PIECES[dice.roll(PIECES.len())].to_vec()).collect();
        exercise(&[b"---\n", soup.as_slice(), b"\n---\n"].concat());
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// Large blocks, each of one repeated piece: what is quadratic somewhere shows here.
#[test]
fn large_blocks_take_bounded_time() {
    const SIZE: usize = METADATA_BYTES_MAX / 4;
    const LIMIT: Duration = Duration::from_secs(10);
    let numbered: String = (0..20_000).map(|n| format!("k{n:06}: {n}\n")).collect();
    let tags: String = (0..20_000).map(|n| format!("- {n:06}\n")).collect();
    let anchors: String = (0..15_000).map(|n| format!("- &a{n} x\n")).collect();
    let merges: String = (0..9_000).map(|n| format!("k{n}: {{<<: *b, y: 1}}\n")).collect();
    let mut blocks = vec![
        numbered,
        format!("tags:\n{tags}"),
        format!("a:\n{anchors}"),
        format!("b: &b {{x: 1}}\n{merges}"),
        format!("b: &b [{}]\nc: [{}]\n", "x, ".repeat(1_000), "*b, ".repeat(10_000)),
    ];
    for piece in [
        "a", "[", "{", "- ", "? ", "a: ", "[a, ", "'", "\"", "\\", "&a ", "*a ", "!", "#\n", "\n", "\r", " ",
        "\t", "|", "%", "---x\n", "- - ", "a:\n ", "{a: ", ", ", "[]", "\u{e9}", "- |\n", "'' ", "a b\n",
        ": ", "!!str ", "- a\n", "[\n", "<<: ",
    ] {
        blocks.push(piece.repeat(SIZE / piece.len()));
        blocks.push(format!("a: {}", piece.repeat(SIZE / piece.len())));
        blocks.push(format!("a: \"{}\"", piece.repeat(SIZE / piece.len())));
    }
    for block in blocks {
        let began = Instant::now();
        let verdict = validate(format!("---\n{block}\n---\n").as_bytes(), RepoKind::Model);
        assert!(began.elapsed() < LIMIT, "{:?} {:?}", began.elapsed(), block.get(..40));
        assert!(verdict.errors.len() <= 50);
    }
}
