-- Schema 1. Changed only by adding a migration (schema.rs).
--
-- Rules that keep the PostgreSQL port mechanical: ids are made by us (`sequence`, ULIDs), never by the engine;
-- booleans are 0/1 and times are milliseconds since the epoch, both as integers; folded names are stored folded;
-- enumerations are the codes of codec.rs. Every row is written with a checksum of itself, `crc`, which we make too
-- (checksum.rs): rows are not edited by hand.
--
-- Rules that keep a small push cheap. A push of one small pack to one ref dirties one leaf each of `ref`, `ref_log`,
-- `repo`, `pack` and `pack_by_repo`; with the leaves that fill up now and then that makes fewer than seven pages
-- (tests/it/sqlite.rs counts them). So: what changes with every push stands in no index; counts are kept in the row
-- that changes anyway; `pack` has a rowid, because then rows are appended and hold up to 4 KB of content in the leaf
-- (a table WITHOUT ROWID spills beyond 1 KB, to a page of its own); a live inline pack is found by its repo only.

PRAGMA application_id = 1198678382;  -- "Gran"

CREATE TABLE sequence (
    name TEXT NOT NULL PRIMARY KEY,
    next INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sequence (name, next, crc) VALUES ('account', 1, 1784111963), ('token', 1, -114291730), ('repo', 1, -319892705);

-- Users; organisations later. Not called `user`, which PostgreSQL reserves.
CREATE TABLE account (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
    disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    created_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
    id INTEGER NOT NULL PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    role INTEGER NOT NULL,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_ms INTEGER NOT NULL,
    revoked INTEGER NOT NULL CHECK (revoked IN (0, 1)),
    crc INTEGER NOT NULL
) STRICT;

CREATE INDEX token_by_account ON token (account_id);

CREATE TABLE repo (
    id INTEGER NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,                -- of namespace/name
    visibility INTEGER NOT NULL,
    state INTEGER NOT NULL,              -- 0 live, 1 deleted: the row waits for its packs to be deleted
    head_ref TEXT NOT NULL,
    generation INTEGER NOT NULL,
    gc_epoch INTEGER NOT NULL,
    acl_version INTEGER NOT NULL,
    mirror INTEGER NOT NULL CHECK (mirror IN (0, 1)),
    blob_bytes_max INTEGER,
    created_ms INTEGER NOT NULL,
    refs_count INTEGER NOT NULL,
    packs_count INTEGER NOT NULL,        -- live ones
    packs_bytes INTEGER NOT NULL,        -- of the live ones
    maint_due_ms INTEGER,
    manifest_generation INTEGER NOT NULL,
    -- 1 iff maint_due_ms is set or the manifest is behind. The index is over this and not over those, so that it is
    -- written when a repo turns busy or idle, not by every push. Few repos are pending at a time.
    pending INTEGER NOT NULL CHECK (pending IN (0, 1)),
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX repo_by_name ON repo (kind, folded) WHERE state = 0;
CREATE INDEX repo_pending ON repo (id) WHERE pending = 1;
CREATE INDEX repo_deleted ON repo (id) WHERE state = 1;

CREATE TABLE redirect (
    kind INTEGER NOT NULL,
    folded TEXT NOT NULL,
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (kind, folded)
) STRICT, WITHOUT ROWID;

CREATE INDEX redirect_by_repo ON redirect (repo_id);

-- One ordered scan reads a repo's refs; moving one rewrites its leaf.
CREATE TABLE ref (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    name TEXT NOT NULL,
    oid BLOB NOT NULL CHECK (length(oid) = 20),
    peeled BLOB CHECK (length(peeled) = 20),
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, name)
) STRICT, WITHOUT ROWID;

-- Append only. `position` orders the moves of one generation.
CREATE TABLE ref_log (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    generation INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    old BLOB NOT NULL CHECK (length(old) = 20),
    new BLOB NOT NULL CHECK (length(new) = 20),
    actor INTEGER,
    at_ms INTEGER NOT NULL,
    message TEXT NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, generation, position)
) STRICT, WITHOUT ROWID;

-- A pack and its blob. One row does what `pack` and `repo_pack` would do together, as few packs are in two repos: those
-- have a row for each, and `pack_share` (schema 6) says so.
-- States go one way: 0 staged, 1 live, 2 condemned; a deleted pack has no row. Readers see state 1 only.
CREATE TABLE pack (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    id BLOB NOT NULL CHECK (length(id) = 16),
    state INTEGER NOT NULL,
    kind INTEGER NOT NULL,               -- this, and the next four, are 0 while staged
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    closure INTEGER NOT NULL CHECK (closure IN (0, 1)),
    added_generation INTEGER NOT NULL,
    staged_ms INTEGER,                   -- set iff staged
    not_before_ms INTEGER,               -- set iff condemned: not deleted before
    crc INTEGER NOT NULL,
    inline BLOB CHECK (length(inline) <= 65536)  -- last, so that a scan of the others reads no overflow page
) STRICT;

CREATE UNIQUE INDEX pack_by_repo ON pack (repo_id, state, id);
CREATE UNIQUE INDEX pack_not_live ON pack (id) WHERE state <> 1;
CREATE INDEX pack_staged ON pack (staged_ms) WHERE state = 0;
CREATE INDEX pack_condemned ON pack (not_before_ms) WHERE state = 2;

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
