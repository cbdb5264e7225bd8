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

INSERT INTO sequence (name, next, crc) VALUES ('webhook', 1, -329054267), ('webhook_event', 1, -240020551), ('webhook_delivery', 1, 761366314);

CREATE TABLE webhook (
    id INTEGER NOT NULL PRIMARY KEY,
    account_id INTEGER NOT NULL REFERENCES account (id),
    url TEXT NOT NULL,
    secret TEXT,
    domains INTEGER NOT NULL,            -- 1 repositories, 2 discussions, 3 both
    state INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    waiting INTEGER NOT NULL,            -- deliveries; none unless it is enabled
    due_ms INTEGER,                      -- of the first of them; set iff some wait
    failures INTEGER NOT NULL,           -- attempts that failed since the last that did not
    given_up INTEGER NOT NULL,           -- deliveries, since then
    crc INTEGER NOT NULL
) STRICT;

CREATE INDEX webhook_by_account ON webhook (account_id, id);
CREATE INDEX webhook_due ON webhook (due_ms) WHERE due_ms IS NOT NULL;

-- A change of a repo asks first whether there is any row here, then for those of the repo and of its namespace.
CREATE TABLE webhook_watch (
    kind INTEGER NOT NULL,               -- 0 all repos of a user, 1 of an organisation, 2 a repo
    target INTEGER NOT NULL,             -- its id
    webhook_id INTEGER NOT NULL REFERENCES webhook (id),
    position INTEGER NOT NULL,           -- among what the webhook watches
    crc INTEGER NOT NULL,
    PRIMARY KEY (kind, target, webhook_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_watch_by_webhook ON webhook_watch (webhook_id, position);

-- What happened, as it was then: the repo may be gone. Lives as long as a delivery of it.
CREATE TABLE webhook_event (
    id INTEGER NOT NULL PRIMARY KEY,
    repo_id INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    sort INTEGER NOT NULL,
    kind INTEGER NOT NULL,               -- this, and the next five, of the repo
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    visibility INTEGER NOT NULL,
    gating INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    head BLOB CHECK (length(head) = 20), -- NULL: unborn
    moved_namespace TEXT,                -- these three set iff it moved: to there
    moved_name TEXT,
    moved_owner INTEGER,
    refs TEXT,                           -- set iff refs moved: `OLD NEW NAME`, one a line
    refs_more INTEGER NOT NULL,          -- that moved, too
    set_visibility INTEGER,              -- set iff it changed, as are the next two
    set_gating INTEGER,
    set_discussions_disabled INTEGER,
    num INTEGER,                         -- set iff it is of a discussion
    status INTEGER,                      -- of that one, afterwards
    position INTEGER,                    -- set iff it is of a comment
    crc INTEGER NOT NULL
) STRICT;

-- One event on its way to one webhook, which gets them in the order of `id`.
CREATE TABLE webhook_delivery (
    id INTEGER NOT NULL PRIMARY KEY,
    key BLOB NOT NULL UNIQUE CHECK (length(key) = 16),   -- what the target knows it by
    webhook_id INTEGER NOT NULL REFERENCES webhook (id),
    event_id INTEGER NOT NULL REFERENCES webhook_event (id),
    state INTEGER NOT NULL,
    queued_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    tried_ms INTEGER,                    -- the last time
    ended_ms INTEGER,                    -- set iff it waits no more
    status INTEGER,                      -- what the target answered last
    error TEXT,
    crc INTEGER NOT NULL
) STRICT;

CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, id) WHERE state = 0;
CREATE INDEX webhook_delivery_ended ON webhook_delivery (webhook_id, id) WHERE state <> 0;
CREATE INDEX webhook_delivery_by_end ON webhook_delivery (ended_ms) WHERE state <> 0;
CREATE INDEX webhook_delivery_by_event ON webhook_delivery (event_id);

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
