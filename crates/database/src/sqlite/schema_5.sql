-- Schema 5: what people do with repositories, beside changing them. The rules of schema.sql hold.

-- Of the verified backings of one object there may be one that is whole, and one per file in xorbs: a client that was told
-- of a file goes on reading it as that.
DROP INDEX backing_verified;
CREATE INDEX backing_verified ON backing (sha256) WHERE state = 1 AND proof = 2;

-- Discussions and pull requests.

-- Those of a repo share one sequence of numbers; none is ever deleted before its repo is.
CREATE TABLE discussion (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    num INTEGER NOT NULL,
    status INTEGER NOT NULL,
    title TEXT NOT NULL,
    account_id INTEGER NOT NULL REFERENCES account (id),
    created_ms INTEGER NOT NULL,
    events INTEGER NOT NULL,             -- how many it has, at positions 0, 1, …
    comments INTEGER NOT NULL,           -- of those
    bytes INTEGER NOT NULL,              -- of all texts of comments, edited ones too
    target TEXT,                         -- of a pull request, the branch it is for: a full name
    merged BLOB CHECK (length(merged) = 20),             -- the commit by which it is in there; set iff merged
    merged_base BLOB CHECK (length(merged_base) = 20),   -- what it was compared with then; NULL: with nothing
    merged_head BLOB CHECK (length(merged_head) = 20),   -- where it was then; set iff merged
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, num)
) STRICT, WITHOUT ROWID;

-- With a rowid, as comments are long.
CREATE TABLE discussion_event (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    num INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    account_id INTEGER REFERENCES account (id),
    at_ms INTEGER NOT NULL,
    edited_ms INTEGER,                   -- set iff it is a comment that was edited
    edits INTEGER NOT NULL,              -- versions before this one
    hidden INTEGER NOT NULL CHECK (hidden IN (0, 1)),
    status INTEGER,                      -- set iff the status changed: the new one
    oid BLOB CHECK (length(oid) = 20),   -- set iff it is a commit
    previous TEXT,                                -- set iff the title changed: the old one
    text TEXT NOT NULL,                  -- of a comment; the new title; the first line of a commit
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, num, position)
) STRICT;

-- What a comment said before it was edited.
CREATE TABLE discussion_edit (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    num INTEGER NOT NULL,
    position INTEGER NOT NULL,
    edit INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,              -- since when it had said this
    text TEXT NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, num, position, edit)
) STRICT;

-- Likes, requests for access, collections.

-- Downloads, search.

-- Copies, large files.

-- Webhooks.

-- Buckets.

-- Xet in a bucket.

-- A xorb that a client may put there itself, under a key that is made of `id`. As URLs for writing cannot be taken back, a row
-- stays until they are dead, after its bytes and after its repo: it refers to none.
CREATE TABLE xorb_grant (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    repo_id INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    size INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    taken INTEGER NOT NULL CHECK (taken IN (0, 1)),  -- what came was copied to where it is proven
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX xorb_grant_by_expiry ON xorb_grant (expires_ms);
CREATE INDEX xorb_grant_open ON xorb_grant (repo_id) WHERE taken = 0;

-- The bytes of a file in xorbs once more, as one object under a key that is made of `sha256` and `upload_id`: readers are sent
-- there. The xorbs stay what the file is made of, and the copy goes with its backing. States: 0 staged, 1 live, 2 condemned; a
-- deleted one has no row.
CREATE TABLE whole_copy (
    upload_id BLOB NOT NULL PRIMARY KEY CHECK (length(upload_id) = 16),
    backing_id INTEGER NOT NULL,         -- of a condemned one it may be gone
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    size INTEGER NOT NULL,
    state INTEGER NOT NULL,
    staged_ms INTEGER NOT NULL,
    not_before_ms INTEGER,               -- set iff condemned: not deleted before
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX whole_copy_live ON whole_copy (backing_id) WHERE state = 1;
CREATE INDEX whole_copy_staged ON whole_copy (staged_ms) WHERE state = 0;
CREATE INDEX whole_copy_condemned ON whole_copy (not_before_ms) WHERE state = 2;
