"""The libraries that read and write through huggingface_hub, unmodified: `datasets` and `transformers`."""

import pytest

from harness.hf import CLIENTS, Hf

shows = pytest.mark.shows
datasets = pytest.mark.client("datasets", "5.2.0")
transformers = pytest.mark.client("transformers", "5.24.0")


@pytest.fixture
def hf(hub, alice, tmp):
    return Hf(hub.url, alice, tmp / "hf-home", CLIENTS / "libraries")


@pytest.fixture
def named(hub):
    return lambda: f"alice/d{next(hub.names)}"


@datasets
@shows("load_dataset of csv, json, parquet", "load_dataset streaming", "load_dataset of one file of a revision", "get_dataset_split_names",
       "pandas.read_parquet, read_csv of hf://")
def test_data_files_are_a_dataset(hf, named):
    told = hf.python("""
import datasets, io, pandas
name, kinds = sys.argv[1], ("csv", "json", "parquet")
rows = [{"id": number, "text": f"row {number}"} for number in range(1000)]
frame = pandas.DataFrame(rows)
api.create_repo(name, repo_type="dataset")
api.create_commit(name, [
    CommitOperationAdd("csv/train.csv", frame.to_csv(index=False).encode()), CommitOperationAdd("csv/test.csv", frame[:10].to_csv(index=False).encode()),
    CommitOperationAdd("json/train.jsonl", frame.to_json(orient="records", lines=True).encode()),
    CommitOperationAdd("parquet/train-00000-of-00001.parquet", frame.to_parquet(index=False))], commit_message="data", repo_type="dataset")
whole = {kind: datasets.load_dataset(name, data_dir=kind, split="train") for kind in kinds}
streams = {kind: datasets.load_dataset(name, data_dir=kind, split="train", streaming=True) for kind in kinds}
one = datasets.load_dataset(name, data_files="csv/test.csv", revision="main", split="train")
frames = [pandas.read_parquet(f"hf://datasets/{name}/parquet/train-00000-of-00001.parquet"), pandas.read_csv(f"hf://datasets/{name}/csv/train.csv")]
tell(dict(version=datasets.__version__, frames=[read.equals(frame) for read in frames],
          whole=[list(data) == rows for data in whole.values()], streams=[list(data) == rows for data in streams.values()],
          tail=[row["id"] for row in streams["parquet"].skip(998)], one=len(one), splits=datasets.get_dataset_split_names(name, data_dir="csv")))
""", named(), seconds=300)
    assert told == {"version": "5.2.0", "frames": [True] * 2, "whole": [True] * 3, "streams": [True] * 3, "tail": [998, 999], "one": 10,
                    "splits": ["train", "test"]}


@datasets
@shows("Dataset.push_to_hub", "Dataset.push_to_hub again", "Dataset.push_to_hub of a second config", "DatasetDict.push_to_hub",
       "load_dataset of what was pushed", "load_dataset_builder", "get_dataset_config_names", "DatasetCard metadata")
def test_what_is_pushed_is_loaded(hf, named):
    told = hf.python("""
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset, load_dataset_builder
name = sys.argv[1]
data = lambda *numbers: Dataset.from_dict({"n": list(numbers), "s": [str(number) * 10 for number in numbers]})
values = lambda dataset: dataset["n"][:]
data(1, 2, 3).push_to_hub(name, private=True)
first = values(load_dataset(name, split="train"))
data(*range(5000)).push_to_hub(name, num_shards=3)
again = load_dataset(name, split="train")
DatasetDict(train=data(7), test=data(8, 9)).push_to_hub(name, "other")
other = load_dataset(name, "other")
streamed = [row["n"] for row in load_dataset(name, "other", split="test", streaming=True)]
builder = load_dataset_builder(name)
card = DatasetCard.load(name).data
tell(dict(first=first, again=values(again) == list(range(5000)), text=again[4999]["s"], other={split: values(part) for split, part in other.items()},
          streamed=streamed, features=sorted(builder.info.features), examples=builder.info.splits["train"].num_examples,
          configs=get_dataset_config_names(name), card=[config["config_name"] for config in card.configs],
          files=api.list_repo_files(name, repo_type="dataset"),
          private=api.dataset_info(name).private))
""", named(), seconds=300)
    assert told["first"] == [1, 2, 3] and told["again"] is True and told["text"] == "4999" * 10
    assert told["other"] == {"train": [7], "test": [8, 9]} and told["streamed"] == [8, 9]
    assert told["features"] == ["n", "s"] and told["examples"] == 5000 and told["private"] is True
    assert sorted(told["configs"]) == sorted(told["card"]) == ["default", "other"]
    assert [path for path in told["files"] if path.startswith("data/")] == [f"data/train-0000{number}-of-00003.parquet" for number in range(3)]
    assert {path.split("/")[0] for path in told["files"]} == {".gitattributes", "README.md", "data", "other"}


@transformers
@shows("AutoConfig.from_pretrained", "AutoTokenizer.from_pretrained", "AutoConfig.push_to_hub", "AutoTokenizer.push_to_hub", "from_pretrained of a revision",
       "from_pretrained of a model that is missing, private or gated", "from_pretrained local_files_only")
def test_config_and_tokenizer(hub, hf, named, model_files, tmp):
    """Of a real model, from its files as they were uploaded."""
    told = hf.python("""
import transformers
from transformers import AutoConfig, AutoTokenizer
name, copy, missing, files = sys.argv[1:]
api.create_repo(name)
first = api.upload_folder(repo_id=name, folder_path=files, allow_patterns=["*.json", "*.txt"])
config, tokenizer = AutoConfig.from_pretrained(name), AutoTokenizer.from_pretrained(name)
tokens = tokenizer("Hello, Granary!")["input_ids"]
config.hidden_dropout_prob = 0.25
config.push_to_hub(copy, private=True)
tokenizer.push_to_hub(copy)
config.num_labels = 7
config.push_to_hub(name)
tell(dict(version=transformers.__version__, type=config.model_type, tokens=tokens,
          same=AutoTokenizer.from_pretrained(copy)("Hello, Granary!")["input_ids"] == tokens,
          dropout=AutoConfig.from_pretrained(copy).hidden_dropout_prob, private=api.model_info(copy).private,
          labels=[AutoConfig.from_pretrained(name, revision=at).num_labels for at in ("main", first.oid)],
          local=AutoConfig.from_pretrained(name, local_files_only=True).model_type,
          missing=[fails(OSError, AutoConfig.from_pretrained, missing), fails(OSError, AutoConfig.from_pretrained, name, revision="zzz")]))
api.update_repo_settings(name, private=False, gated="manual")
""", name := named(), private := named(), named(), model_files, seconds=300)
    assert told["version"] == "5.24.0" and told["type"] == "bert" and told["same"] is True and told["dropout"] == 0.25 and told["private"] is True
    assert told["tokens"][0] == 101 and told["tokens"][-1] == 102 and told["labels"] == [7, 2] and told["local"] == "bert"
    assert "not a valid model identifier" in told["missing"][0] and "zzz" in told["missing"][1], told["missing"]
    bob = Hf(hub.url, hub.tokens["bob"], tmp / "bob", CLIENTS / "libraries")
    told = bob.python("from transformers import AutoConfig\ntell([fails(OSError, AutoConfig.from_pretrained, name) for name in sys.argv[1:]])", name, private)
    assert "gated repo" in told[0] and "not a valid model identifier" in told[1], told


@transformers
@shows("a model without safetensors is sent nowhere")
def test_no_token_leaves_for_a_conversion(hf, named):
    """Of a model without safetensors it looks for a pull request that has them, and else asks a service on the internet for one."""
    told = hf.python("""
import transformers.safetensors_conversion as conversion
name, sent = sys.argv[1], []
conversion.spawn_conversion = lambda *what: sent.append(what)
api.create_repo(name, private=True)
api.upload_file(repo_id=name, path_or_fileobj=b"not really", path_in_repo="pytorch_model.bin")
why = fails(errors.HfHubHTTPError, conversion.auto_conversion, name, token=api.token)
assert conversion.auto_conversion(name, ignore_errors_during_conversion=True) is None
tell([why, sent, len(api.list_repo_commits(name)), list(api.get_repo_discussions(name))])
""", named(), seconds=300)
    assert "does not convert models" in told[0] and told[1:] == [[], 2, []], told
