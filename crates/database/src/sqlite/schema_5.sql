-- Schema 5: what people do with repositories, beside changing them. The rules of schema.sql hold.

-- Discussions and pull requests.

-- Likes, requests for access, collections.

-- Downloads, search.

-- Copies, large files.

-- Webhooks.

-- Buckets.
