-- Schema 5: what people do with repositories, beside changing them. The rules of schema.sql hold.

-- Discussions and pull requests.

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
