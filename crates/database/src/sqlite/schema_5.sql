-- Schema 5: what people do with repositories, beside changing them. The rules of schema.sql hold.

-- Of the verified backings of one object there may be one that is whole, and one per file in xorbs: a client that was told
-- of a file goes on reading it as that.
DROP INDEX backing_verified;
CREATE INDEX backing_verified ON backing (sha256) WHERE state = 1 AND proof = 2;

-- Discussions and pull requests.

-- Likes, requests for access, collections.

-- Downloads, search.

-- Copies, large files.

-- Webhooks.

-- Buckets.
