-- Schema 5: what people do with repositories, beside changing them. The rules of schema.sql hold.

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
