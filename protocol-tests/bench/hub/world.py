"""The servers and the repositories in them, each made when a row first needs it."""

import itertools
import random

import many
from load import Generator
from sides import Git, Granary, Nginx

FILES_PER_COMMIT = 20_000
MANY = 100_000


class World:
    def __init__(self, disk, memory, stack):
        """`disk` and `memory` are directories: of a real disk, and of a tmpfs."""
        self.disk, self.memory = disk, memory
        self.stack, self.made = stack, {}
        self.random = random.Random(1)

    def _once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def side(self, name):
        def make():
            side = {"granary": Granary, "nginx": Nginx, "git": Git}[name](self.disk)
            self.stack.callback(side.stop)
            side.start()
            return side
        return self._once(name, make)

    @property
    def granary(self):
        return self.side("granary")

    @property
    def nginx(self):
        return self.side("nginx")

    @property
    def generator(self):
        return self._once("generator", lambda: Generator(self.memory))

    # -- repositories ---------------------------------------------------------------------------------------------

    def repo(self, name, files):
        """`files` makes {path: content}. They are compacted, as those of a repository that rests."""
        def make():
            repo, rest = self.granary.create(name), iter(files().items())
            while some := dict(itertools.islice(rest, FILES_PER_COMMIT)):
                self.granary.commit(repo, some)
            self.granary.compact()
            return repo
        return self._once(("repo", name), make)

    def model(self):
        """As a small model has them, its weights as a large object. nginx has the same files."""
        def make():
            repo = self.repo("model", lambda: MODEL)
            for path, content in MODEL.items():
                self.nginx.add(path, content)
            return repo
        return self._once("model", make)

    def folders(self, folders, files):
        """As many folders of as many files each."""
        return self.repo(f"folders-{folders}-{files}", lambda: {
            f"{folder:03}/{file:03}.txt": self.text() for folder in range(folders) for file in range(files)})

    def history(self, folders, files, commits):
        """As many folders of as many files, made by the first commit; each of the others changes one of the files."""
        def make():
            peer, total = self.side("git"), folders * files
            name = lambda number: f"{number // files:03}/{number % files:03}.txt"

            def stream():
                for commit in range(commits):
                    changed = range(total) if commit == 0 else [self.random.randrange(total)]
                    yield b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 1\nx\n" % (1_700_000_000 + commit)
                    for number in changed:
                        text = self.text().encode()
                        yield b"M 100644 inline %s\ndata %d\n%s\n" % (name(number).encode(), len(text), text)
            peer.fill(stream())
            repo = self.granary.create(f"history-{folders}-{files}")
            peer("push", "-q", self.granary.hub.git_url(repo, self.granary.token), "+main")  # it is made with a commit of its own
            self.granary.compact()
            return repo
        return self._once(("history", folders, files, commits), make)

    def many_repos(self):
        """A hundred thousand, in the rows alone. What else is here is among them from now on."""
        def make():
            self.granary.stop()
            many.fill(self.granary.hub.data / "granary.db", MANY)
            self.granary.start()
        return self._once("many repos", make)

    def flat(self, files):
        return self.repo(f"flat-{files}", lambda: {f"{file:05}.txt": self.text() for file in range(files)})

    def text(self):
        """Of a small file, each time another one: 200 bytes."""
        return self.random.randbytes(100).hex()


CARD = """---
language: en
license: apache-2.0
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- transformers
datasets:
- s2orc
- flax-sentence-embeddings/stackexchange_xml
- ms_marco
- gooaq
- yahoo_answers_topics
- code_search_net
- search_qa
- eli5
- snli
- multi_nli
- wikihow
- natural_questions
- trivia_qa
model-index:
- name: small
  results:
  - task:
      type: sentence-similarity
    dataset:
      name: STS benchmark
      type: stsb
    metrics:
    - type: cosine_spearman
      value: 0.82
---
# A small model

"""
CONFIG = """{
  "architectures": ["BertModel"],
  "attention_probs_dropout_prob": 0.1,
  "gradient_checkpointing": false,
  "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1,
  "hidden_size": 384,
  "initializer_range": 0.02,
  "intermediate_size": 1536,
  "layer_norm_eps": 1e-12,
  "max_position_embeddings": 512,
  "model_type": "bert",
  "num_attention_heads": 12,
  "num_hidden_layers": 6,
  "pad_token_id": 0,
  "position_embedding_type": "absolute",
  "transformers_version": "4.8.2",
  "type_vocab_size": 2,
  "use_cache": true,
  "vocab_size": 30522
}
"""
MODEL = {
    "README.md": (CARD + "It maps sentences to vectors of 384 dimensions.\n" * 100).encode(),
    "config.json": CONFIG.encode(),
    "model.safetensors": random.Random(2).randbytes(100_000),
    "vocab.txt": b"".join(b"token%d\n" % number for number in range(10_000)),
    **{name: b'{"do_lower_case": true, "mask_token": "[MASK]", "model_max_length": 512}\n' for name in (
        "config_sentence_transformers.json", "data_config.json", "modules.json", "sentence_bert_config.json",
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")},
}
