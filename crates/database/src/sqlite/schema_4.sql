-- Schema 4: Xet. Files as lists of chunks, and the xorbs that hold those. The rules of schema.sql hold.

INSERT INTO sequence (name, next, crc) VALUES ('xorb', 1, -1860931799), ('xet_file', 1, -527475287);

-- Chunks under a key, which is made of `hash` and `upload_id`, and their index beside them. States: 0 staged, 1 live,
-- 2 condemned; a deleted one has no row. Staged ones have no sizes yet.
CREATE TABLE xorb (
    id INTEGER NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    upload_id BLOB NOT NULL CHECK (length(upload_id) = 16),
    state INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,            -- when a client was last told of it, or told of it; roughly
    not_before_ms INTEGER,               -- set iff condemned: not deleted before
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX xorb_live ON xorb (hash) WHERE state = 1;
CREATE INDEX xorb_staged ON xorb (seen_ms) WHERE state = 0;
CREATE INDEX xorb_condemned ON xorb (not_before_ms) WHERE state = 2;

-- Who brought all of a xorb, or proved to have chunks of it. It lets nobody read it: files do.
CREATE TABLE repo_xorb (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    xorb_id INTEGER NOT NULL REFERENCES xorb (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, xorb_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX repo_xorb_by_xorb ON repo_xorb (xorb_id);

-- The hash says all of the content, so one row serves whoever has it. It lives as long as a backing names it.
CREATE TABLE xet_file (
    id INTEGER NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    size INTEGER NOT NULL,
    terms BLOB NOT NULL CHECK (length(terms) % 28 = 0),  -- see `XetTerm`
    crc INTEGER NOT NULL
) STRICT;

-- Each xorb that terms name, once: it is kept as long.
CREATE TABLE xet_file_xorb (
    file_id INTEGER NOT NULL REFERENCES xet_file (id),
    xorb_id INTEGER NOT NULL REFERENCES xorb (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (file_id, xorb_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX xet_file_xorb_by_xorb ON xet_file_xorb (xorb_id);

-- Of a backing that is a file: nothing ever lies under its own key.
CREATE TABLE xet_backing (
    backing_id INTEGER NOT NULL PRIMARY KEY REFERENCES backing (id),
    file_id INTEGER NOT NULL REFERENCES xet_file (id),
    crc INTEGER NOT NULL
) STRICT;

CREATE INDEX xet_backing_by_file ON xet_backing (file_id);
CREATE INDEX backing_possessed ON backing (id) WHERE state = 1 AND proof = 1;

-- By the first half of a chunk's hash, live xorbs that have it: of chunks that clients ask for.
CREATE TABLE dedup_key (
    chunk BLOB NOT NULL CHECK (length(chunk) = 16),
    xorb_id INTEGER NOT NULL REFERENCES xorb (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (chunk, xorb_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dedup_key_by_xorb ON dedup_key (xorb_id);
