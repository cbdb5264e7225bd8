-- Schema 6: webhooks, buckets, packs that repositories share. The rules of schema.sql hold.

-- Packs.

-- Webhooks.

-- Buckets.

INSERT INTO sequence (name, next, crc) VALUES ('bucket', 1, 2103987707);

CREATE TABLE bucket (
    id INTEGER NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,                -- of namespace/name
    visibility INTEGER NOT NULL,
    state INTEGER NOT NULL,              -- 0 live, 1 deleted: the row waits for the rows of its files to be deleted
    acl_version INTEGER NOT NULL,
    creator INTEGER,
    created_ms INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    spare_bytes INTEGER NOT NULL,        -- of what was uploaded and is at no path yet
    version INTEGER NOT NULL,            -- grows with all that the journal tells of: name, visibility, files, the end
    journaled INTEGER NOT NULL,          -- the version that the journal tells of; -1: none
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX bucket_by_name ON bucket (folded) WHERE state = 0;
CREATE INDEX bucket_deleted ON bucket (id) WHERE state = 1;
CREATE INDEX bucket_behind ON bucket (id) WHERE journaled < version;

-- Where a live bucket was before it was moved.
CREATE TABLE bucket_redirect (
    folded TEXT NOT NULL PRIMARY KEY,
    bucket_id INTEGER NOT NULL REFERENCES bucket (id),
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX bucket_redirect_by_bucket ON bucket_redirect (bucket_id);

CREATE TABLE bucket_file (
    bucket_id INTEGER NOT NULL REFERENCES bucket (id),
    path TEXT NOT NULL,
    file_id INTEGER REFERENCES xet_file (id),  -- NULL iff it is empty
    size INTEGER NOT NULL,
    mtime_ms INTEGER,
    uploaded_ms INTEGER NOT NULL,
    content_type TEXT,
    crc INTEGER NOT NULL,
    PRIMARY KEY (bucket_id, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX bucket_file_by_file ON bucket_file (file_id, bucket_id) WHERE file_id IS NOT NULL;

-- Files that a bucket has at no path: uploaded a while ago (these count as its bytes), or at one until a while ago (so that
-- whoever reads them reads on).
CREATE TABLE bucket_spare (
    bucket_id INTEGER NOT NULL REFERENCES bucket (id),
    file_id INTEGER NOT NULL REFERENCES xet_file (id),
    since_ms INTEGER NOT NULL,
    uploaded INTEGER NOT NULL CHECK (uploaded IN (0, 1)),
    crc INTEGER NOT NULL,
    PRIMARY KEY (bucket_id, file_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX bucket_spare_by_file ON bucket_spare (file_id);
CREATE INDEX bucket_spare_by_time ON bucket_spare (uploaded, since_ms);

-- As `repo_xorb`.
CREATE TABLE bucket_xorb (
    bucket_id INTEGER NOT NULL REFERENCES bucket (id),
    xorb_id INTEGER NOT NULL REFERENCES xorb (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (bucket_id, xorb_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX bucket_xorb_by_xorb ON bucket_xorb (xorb_id);

-- In `xorb_grant`, whose `repo_id` refers to nothing, a bucket is its negative id.
