-- Schema 6: webhooks, buckets, packs that repositories share. The rules of schema.sql hold.

-- Packs.

-- Webhooks.

-- Buckets.
