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

INSERT INTO sequence (name, next, crc) VALUES ('access_request', 1, 72552198), ('collection', 1, -1515924854), ('collection_item', 1, 2099183726);

CREATE TABLE repo_like (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    account_id INTEGER NOT NULL REFERENCES account (id),
    liked_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, account_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX repo_like_by_time ON repo_like (repo_id, liked_ms);
CREATE INDEX repo_like_by_account ON repo_like (account_id, liked_ms);

-- Who asked to be let into a gated repo, or was let in unasked.
CREATE TABLE access_request (
    id INTEGER NOT NULL PRIMARY KEY,
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    account_id INTEGER NOT NULL REFERENCES account (id),
    status INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL,
    granted INTEGER NOT NULL CHECK (granted IN (0, 1)),  -- unasked
    fields TEXT NOT NULL,                -- what was filled in, as JSON
    reason TEXT,                         -- of a rejection
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX access_request_of ON access_request (repo_id, account_id);
CREATE INDEX access_request_by_status ON access_request (repo_id, status, id);
CREATE INDEX access_request_by_account ON access_request (account_id, status, repo_id);

CREATE TABLE collection (
    id INTEGER NOT NULL PRIMARY KEY,
    folded TEXT NOT NULL,                -- of the namespace it is of
    title TEXT NOT NULL,
    slug TEXT NOT NULL,                  -- the title in an address
    description TEXT,
    private INTEGER NOT NULL CHECK (private IN (0, 1)),
    theme TEXT NOT NULL,
    position INTEGER NOT NULL,           -- among those of the namespace
    updated_ms INTEGER NOT NULL,
    items INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX collection_by_title ON collection (folded, title);
CREATE INDEX collection_by_time ON collection (updated_ms, id);

CREATE TABLE collection_item (
    id INTEGER NOT NULL PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collection (id),
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    position INTEGER NOT NULL,
    note TEXT,
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX collection_item_of ON collection_item (collection_id, repo_id);
CREATE INDEX collection_item_by_position ON collection_item (collection_id, position, id);
CREATE INDEX collection_item_by_repo ON collection_item (repo_id);

-- Downloads, search.

INSERT INTO sequence (name, next, crc) VALUES ('tag', 1, -883953147);

-- What lists are ordered by: one row of each live repo. Its own indexes, so that a push rewrites none of them.
CREATE TABLE repo_rank (
    repo_id INTEGER NOT NULL PRIMARY KEY REFERENCES repo (id),
    kind INTEGER NOT NULL,               -- these two as in `repo`
    visibility INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    likes INTEGER NOT NULL,
    downloads INTEGER NOT NULL,          -- of the days that have rows below
    downloads_all INTEGER NOT NULL,
    trending INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE INDEX repo_rank_by_created_ms ON repo_rank (kind, visibility, created_ms, repo_id);
CREATE INDEX repo_rank_by_modified_ms ON repo_rank (kind, visibility, modified_ms, repo_id);
CREATE INDEX repo_rank_by_likes ON repo_rank (kind, visibility, likes, repo_id);
CREATE INDEX repo_rank_by_downloads ON repo_rank (kind, visibility, downloads, repo_id);
CREATE INDEX repo_rank_by_trending ON repo_rank (kind, visibility, trending, repo_id);
CREATE INDEX repo_rank_trending ON repo_rank (repo_id) WHERE trending <> 0;

CREATE TABLE download_day (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    day INTEGER NOT NULL,                -- since the epoch, UTC
    count INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (repo_id, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX download_day_by_day ON download_day (day, repo_id);

-- What repos are filtered by: their tags, and (not `shown`) what else they are found by.
CREATE TABLE tag (
    id INTEGER NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL,
    folded TEXT NOT NULL,
    name TEXT NOT NULL,                  -- as the first repo spelled it
    shown INTEGER NOT NULL CHECK (shown IN (0, 1)),
    repos INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX tag_by_name ON tag (kind, shown, folded);

CREATE TABLE repo_tag (
    tag_id INTEGER NOT NULL REFERENCES tag (id),
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    crc INTEGER NOT NULL,
    PRIMARY KEY (tag_id, repo_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX repo_tag_by_repo ON repo_tag (repo_id, tag_id);

-- By the id of the repo, in the column of its kind: its folded path, and the text of its card. These two have no checksum
-- of ours; `integrity_check` compares their index with their content.
CREATE VIRTUAL TABLE name_text USING fts5 (model, dataset, space, tokenize = 'trigram', detail = 'column', columnsize = 0);
CREATE VIRTUAL TABLE card_text USING fts5 (model, dataset, space, tokenize = 'unicode61 remove_diacritics 2');

-- Made anew, as what is above follows from it.
DELETE FROM repo_facts;

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
