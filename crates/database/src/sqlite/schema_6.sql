-- Schema 6: webhooks, buckets, packs that repositories share. The rules of schema.sql hold.

-- Packs.

-- The packs that more than one repo has, or had: a row per pack and repo, as long as that has the pack live or condemned.
-- Few packs are shared, and only duplicating a repo shares one, so that no push writes here. The blob goes with the last
-- row of `pack` that names it.
CREATE TABLE pack_share (
    pack_id BLOB NOT NULL CHECK (length(pack_id) = 16),
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (pack_id, repo_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX pack_share_by_repo ON pack_share (repo_id);

-- Two repos may drop the same pack.
DROP INDEX pack_not_live;
CREATE UNIQUE INDEX pack_not_live ON pack (id, repo_id) WHERE state <> 1;

-- Webhooks.

-- Buckets.
