-- Schema 2: large objects, their uploads, links and locks. The rules of schema.sql hold.
--
-- What LFS needs to know of a repo stands in a row of its own: a push without large objects rewrites none of it.

INSERT INTO sequence (name, next, crc) VALUES ('backing', 1, -299133384);

-- No row means zeros.
CREATE TABLE repo_lfs (
    repo_id INTEGER NOT NULL PRIMARY KEY REFERENCES repo (id),
    incomplete INTEGER NOT NULL CHECK (incomplete IN (0, 1)),
    bytes INTEGER NOT NULL,              -- of its live links
    locks_version INTEGER NOT NULL,      -- grows with each new lock
    crc INTEGER NOT NULL
) STRICT;

-- What a batch may bring: one row however many objects. It goes when each of them got a backing, or when it has expired
-- and what lies under its keys is deleted.
CREATE TABLE upload (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    account_id INTEGER REFERENCES account (id),
    expires_ms INTEGER NOT NULL,
    pending BLOB NOT NULL,               -- a bit per object, the first is the lowest: 1 until it got a backing
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)),
    quota INTEGER,                       -- of a namespace that has none of its own; NULL: it counts against none
    reserved INTEGER NOT NULL,           -- the sum of its reservations
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX upload_by_expiry ON upload (expires_ms);
CREATE INDEX upload_by_repo ON upload (repo_id, expires_ms);

-- Room for what is announced and not linked yet, beyond what is linked of it: held by the upload that announced it last,
-- until that expires. A repo has one for an object, of the largest size that was said.
CREATE TABLE reservation (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    upload_id BLOB NOT NULL CHECK (length(upload_id) = 16),
    bytes INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, sha256)
) STRICT, WITHOUT ROWID;

-- Apart, since the row above changes with each object that arrives.
CREATE TABLE upload_objects (
    upload_id BLOB NOT NULL PRIMARY KEY CHECK (length(upload_id) = 16),
    objects BLOB NOT NULL CHECK (length(objects) % 40 = 0),  -- of each the SHA-256, in order, and the size, big endian
    crc INTEGER NOT NULL
) STRICT;

-- Multipart uploads that S3 keeps until they are completed or aborted.
CREATE TABLE multipart (
    upload_id BLOB NOT NULL CHECK (length(upload_id) = 16),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    s3_id TEXT NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (upload_id, sha256)
) STRICT, WITHOUT ROWID;

-- Bytes under a key, which is made of `sha256` and `upload_id`. States: 1 live, 2 condemned; a deleted one has no row.
-- As URLs for writing to a bucket cannot be taken back, a row stays until they are dead, if need be after its bytes.
CREATE TABLE backing (
    id INTEGER NOT NULL PRIMARY KEY,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    size INTEGER NOT NULL,
    upload_id BLOB NOT NULL CHECK (length(upload_id) = 16),
    proof INTEGER NOT NULL,
    state INTEGER NOT NULL,
    writable_until_ms INTEGER NOT NULL,  -- when its upload expires, or expired
    not_before_ms INTEGER,               -- set iff condemned: not deleted before
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX backing_by_key ON backing (sha256, upload_id);
CREATE UNIQUE INDEX backing_verified ON backing (sha256) WHERE state = 1 AND proof = 2;
CREATE INDEX backing_claimed ON backing (id) WHERE state = 1 AND proof = 0;
CREATE INDEX backing_condemned ON backing (not_before_ms) WHERE state = 2;

CREATE TABLE repo_object (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    state INTEGER NOT NULL,
    backing_id INTEGER REFERENCES backing (id),  -- set iff live
    size INTEGER NOT NULL,
    linked_ms INTEGER NOT NULL,
    account_id INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX repo_object_by_backing ON repo_object (backing_id) WHERE backing_id IS NOT NULL;
CREATE INDEX repo_object_lost ON repo_object (repo_id) WHERE state <> 0;

CREATE TABLE lfs_lock (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    id BLOB NOT NULL CHECK (length(id) = 16),
    path TEXT NOT NULL,
    account_id INTEGER NOT NULL REFERENCES account (id),
    ref_name TEXT,
    locked_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX lfs_lock_by_path ON lfs_lock (repo_id, path);

-- Of namespaces that have another than the node's default.
CREATE TABLE quota (
    folded TEXT NOT NULL PRIMARY KEY,
    bytes_max INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Of live backings, so that metrics need not count them.
CREATE TABLE total (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO total (name, value, crc) VALUES ('objects', 0, -433252150), ('objects_bytes', 0, -783079340);
