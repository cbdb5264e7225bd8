"""A hub of very many repositories, made by writing their rows: names, tags and cards as people give them."""

import contextlib
import json
import random
import sqlite3
import struct
import zlib

WORDS = ("bert gpt llama mistral whisper vision clip resnet encoder decoder base large small tiny mini instruct chat code math legal medical news "
         "french german japanese multilingual distilled quantized merged adapter reward ranking retrieval speech image video audio text tabular graph").split()
TASKS = ("text-generation", "fill-mask", "text-classification", "image-classification", "automatic-speech-recognition", "translation", "summarization")
LIBRARIES = ("transformers", "diffusers", "sentence-transformers", "timm", "peft", "gguf", "keras")
LICENSES = ("mit", "apache-2.0", "cc-by-4.0", "openrail", "llama3", "other")
LANGUAGES = ("en", "fr", "de", "ja", "zh", "es", "ru", "ar")
HOUR_MS = 3_600_000
OWNERS = 2000
VOCABULARY = 20_000
"""Of cards: words that follow Zipf's law, as those of people do."""


def crc(*values):
    """The checksum that every row has of itself."""
    state = 0
    for value in values:
        if value is None:
            part = b"\0"
        elif isinstance(value, int):
            part = b"\1" + struct.pack("<q", value)
        else:
            sort, data = (b"\4", value) if isinstance(value, bytes) else (b"\3", value.encode())
            part = sort + struct.pack("<Q", len(data)) + data
        state = zlib.crc32(part, state)
    return state - (1 << 32) if state >> 31 else state


def sealed(*values):
    return *values, crc(*values)


class Texts:
    """Words by their rank: the first is in half of all cards."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        weights = [1 / (rank + 10) for rank in range(VOCABULARY)]
        total, self.steps = 0.0, []
        for weight in weights:
            total += weight
            self.steps.append(total)
        self.words = [f"{WORDS[rank % len(WORDS)]}{rank // len(WORDS) or ''}" for rank in range(VOCABULARY)]

    def card(self, words):
        return " ".join(self.random.choices(self.words, cum_weights=self.steps, k=words))


def fill(file, count, card_words=120):
    """Adds `count` public models of many owners to the rows of a hub that is stopped; every tenth is private."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute("PRAGMA synchronous = OFF")
        rows.execute("PRAGMA cache_size = -262144")
        rows.execute("BEGIN")
        following = dict(rows.execute("SELECT name, next FROM sequence"))
        now = 1_790_000_000_000
        for number in range(OWNERS):
            name = f"team{number:04}"
            rows.execute("INSERT INTO account VALUES (?,?,?,?,?,?,?)", sealed(following["account"] + number, name, name, 0, 0, now))
        texts, chance, uses = Texts(1), random.Random(2), []
        tags = {name: [number, repos] for number, name, repos in rows.execute("SELECT id, name, repos FROM tag WHERE kind = 0 AND shown = 1")}
        known_before = len(tags)
        for number in range(count):
            repo = following["repo"] + number
            owner = f"team{int(OWNERS * chance.random() ** 3):04}"
            name = f"{'-'.join(chance.sample(WORDS, 3))}-{number}"
            folded, private, created = f"{owner}/{name}", int(number % 10 == 9), now + number * HOUR_MS // 100
            rows.execute(f"INSERT INTO repo VALUES ({','.join('?' * 21)})", sealed(
                repo, 0, owner, name, folded, private, 0, "refs/heads/main", 0, 0, 0, 0, None, created, 0, 0, 0, None, 0, 0))
            chosen = [chance.choice(TASKS), chance.choice(LIBRARIES), f"license:{chance.choice(LICENSES)}", *chance.sample(LANGUAGES, 2), "region:us",
                      f"base_model:team{number % 97:04}/base", f"dataset:team{number % 1009:04}/data", f"rare-{number % 50_000}"]
            for tag in chosen:
                known = tags.setdefault(tag, [following["tag"] + len(tags) - known_before, 0])
                known[1] += 1
                uses.append((known[0], repo))
            facts = json.dumps({"tags": chosen, "pipeline_tag": chosen[0], "library_name": chosen[1], "card_data": {"license": chosen[2][8:], "language": chosen[3:5]}})
            rows.execute("INSERT INTO repo_facts VALUES (?,?,?,?,?,?)", sealed(repo, None, created, "\n" + "".join(f"{tag}\n" for tag in chosen), facts))
            downloads = int(10 * chance.random() ** -0.7)
            rows.execute("INSERT INTO download_day VALUES (?,?,?,?)", sealed(repo, now // 86_400_000, downloads))
            rows.execute("INSERT INTO repo_rank VALUES (?,?,?,?,?,?,?,?,?,?)", sealed(repo, 0, private, created, created, 0, downloads, downloads * 3, downloads % 40))
            rows.execute("INSERT INTO name_text (rowid, model) VALUES (?,?)", (repo, folded))
            rows.execute("INSERT INTO card_text (rowid, model) VALUES (?,?)", (repo, f"{name}\n{texts.card(card_words)}"))
        for tag, (number, repos) in tags.items():
            rows.execute("INSERT OR REPLACE INTO tag VALUES (?,?,?,?,?,?,?)", sealed(number, 0, tag.lower(), tag, 1, repos))
        for use in sorted(uses):
            rows.execute("INSERT INTO repo_tag VALUES (?,?,?)", sealed(*use))
        for name, more in (("account", OWNERS), ("repo", count), ("tag", len(tags) - known_before)):
            following[name] += more
            rows.execute("UPDATE sequence SET next = ?, crc = ? WHERE name = ?", (following[name], crc(name, following[name]), name))
        rows.execute("COMMIT")
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def lists():
    """What is asked of lists: a search, filters, an order."""
    return [
        "search=bert&filter=license:mit", "search=whisper&pipeline_tag=automatic-speech-recognition&sort=downloads", "search=team0001&sort=likes",
        "filter=transformers,en&sort=trendingScore", "filter=dataset:team0007/data&sort=lastModified", "search=gpt%20legal&filter=fr", "filter=rare-77",
        "search=llama&search=chat&filter=license:apache-2.0&sort=downloads", "author=team0000&filter=de", "search=multilingual&gated=false&filter=timm,ja",
        "search=nothing-like-it", "search=ed&filter=license:other&sort=downloads", "filter=base_model:team0003/base&search=base", "search=-99&filter=en",
    ]


def questions():
    """Fifty, fixed: words of cards, common and rare, one to three of them."""
    texts = Texts(3)
    return [texts.card(1 + number % 3) for number in range(50)]
