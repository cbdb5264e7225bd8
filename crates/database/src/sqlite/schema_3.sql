-- Schema 3: organisations, and what the hub knows of a repository beside git. The rules of schema.sql hold.

INSERT INTO sequence (name, next, crc) VALUES ('org', 1, -2117002947);

-- Shares its names with `account`: a namespace is one or the other.
CREATE TABLE org (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE org_member (
    org_id INTEGER NOT NULL REFERENCES org (id),
    account_id INTEGER NOT NULL REFERENCES account (id),
    role INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (org_id, account_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX org_member_by_account ON org_member (account_id);

-- No row means nobody in particular made it, and it is open.
CREATE TABLE repo_hub (
    repo_id INTEGER NOT NULL PRIMARY KEY REFERENCES repo (id),
    creator INTEGER,
    gating INTEGER NOT NULL,
    discussions_disabled INTEGER NOT NULL CHECK (discussions_disabled IN (0, 1)),
    crc INTEGER NOT NULL
) STRICT;

-- What follows from the files of one commit of the default branch; behind it once the branch has moved. Can be made anew.
CREATE TABLE repo_facts (
    repo_id INTEGER NOT NULL PRIMARY KEY REFERENCES repo (id),
    commit_oid BLOB CHECK (length(commit_oid) = 20),   -- NULL: of a branch that is unborn
    modified_ms INTEGER NOT NULL,
    tags TEXT NOT NULL,                  -- each with a line feed before and behind it
    facts TEXT NOT NULL,                 -- a document of the crate that makes them
    crc INTEGER NOT NULL
) STRICT;
