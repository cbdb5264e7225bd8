//! Do the rows keep what the schema and this crate promise? For fsck.

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::TABLES;
use super::{Database, DbError, all};
use crate::RepoId;

/// Findings of one rule that are reported; the rest is summed up.
const FINDINGS_MAX: usize = 20;

/// Each selects one sentence per row that breaks a rule.
const RULES: &[&str] = &[
    "SELECT 'user ' || name || ' is folded as ' || folded FROM account WHERE folded <> lower(name)",
    "SELECT 'token ' || id || ' has role ' || role FROM token WHERE role NOT IN (0, 1)",
    "SELECT 'repo ' || id || ' has a kind, visibility or state that does not exist' FROM repo
     WHERE kind NOT IN (0, 1, 2) OR visibility NOT IN (0, 1) OR state NOT IN (0, 1)",
    "SELECT 'repo ' || id || ' is folded as ' || folded FROM repo WHERE folded <> lower(namespace || '/' || name)",
    "SELECT 'repo ' || id || ' belongs to no user' FROM repo
     WHERE state = 0 AND NOT EXISTS (SELECT 1 FROM account a WHERE a.folded = lower(repo.namespace))
     AND NOT EXISTS (SELECT 1 FROM org o WHERE o.folded = lower(repo.namespace))",
    "SELECT 'repo ' || id || ' counts ' || refs_count || ' refs but has ' || actual FROM
     (SELECT id, refs_count, (SELECT count(*) FROM ref WHERE repo_id = repo.id) AS actual FROM repo
     WHERE state = 0)
     WHERE refs_count <> actual",
    "SELECT 'repo ' || repo.id || ' counts other packs than it has' FROM repo
     LEFT JOIN (SELECT repo_id, count(*) AS packs, sum(bytes) AS bytes FROM pack WHERE state = 1 GROUP BY repo_id) p
     ON p.repo_id = repo.id
     WHERE packs_count <> coalesce(p.packs, 0) OR packs_bytes <> coalesce(p.bytes, 0)",
    "SELECT 'repo ' || id || ' has work to do and is not marked' FROM repo
     WHERE state = 0 AND pending <> (maint_due_ms IS NOT NULL OR manifest_generation < generation)",
    "SELECT 'deleted repo ' || id || ' is still in use' FROM repo WHERE state = 1 AND (pending = 1
     OR EXISTS (SELECT 1 FROM pack WHERE repo_id = repo.id AND state = 1)
     OR EXISTS (SELECT 1 FROM redirect WHERE repo_id = repo.id))",
    "SELECT 'redirect ' || d.folded || ' hides behind a live repo' FROM redirect d
     JOIN repo r ON r.kind = d.kind AND r.folded = d.folded AND r.state = 0",
    "SELECT 'redirect ' || folded || ' is not folded' FROM redirect WHERE folded <> lower(folded)",
    "SELECT 'ref ' || name || ' of repo ' || repo_id || ' is not under refs/' FROM ref
     WHERE substr(name, 1, 5) <> 'refs/'",
    "SELECT 'ref ' || name || ' of repo ' || repo_id || ' is null' FROM ref
     WHERE oid = zeroblob(20) OR peeled = zeroblob(20)",
    "SELECT 'the log of repo ' || l.repo_id || ' is ahead of it' FROM ref_log l JOIN repo r ON r.id = l.repo_id
     WHERE l.generation > r.generation GROUP BY l.repo_id",
    "SELECT 'pack ' || hex(id) || ' has a state or kind that does not exist' FROM pack
     WHERE state NOT IN (0, 1, 2) OR kind NOT IN (0, 1, 2, 3)",
    "SELECT 'pack ' || hex(id) || ' has times that do not fit its state' FROM pack
     WHERE (staged_ms IS NOT NULL) <> (state = 0) OR (not_before_ms IS NOT NULL) <> (state = 2)",
    "SELECT 'pack ' || hex(id) || ' is staged and has content' FROM pack WHERE state = 0 AND inline IS NOT NULL",
    "SELECT 'pack ' || hex(id) || ' says ' || bytes || ' bytes and holds ' || length(inline) FROM pack
     WHERE length(inline) <> bytes",
    "SELECT 'pack ' || hex(p.id) || ' was added in the future' FROM pack p JOIN repo r ON r.id = p.repo_id
     WHERE p.added_generation > r.generation",
    "SELECT 'repo ' || r.id || ' counts other bytes of large objects than it links' FROM repo r
     LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id WHERE r.state = 0 AND coalesce(lfs.bytes, 0) <>
     (SELECT coalesce(sum(size), 0) FROM repo_object WHERE repo_id = r.id AND state = 0)",
    "SELECT 'object ' || lower(hex(sha256)) || ' of repo ' || repo_id || ' has a state that does not fit its backing'
     FROM repo_object WHERE state NOT IN (0, 1, 2) OR (state = 0) <> (backing_id IS NOT NULL)",
    "SELECT 'object ' || lower(hex(o.sha256)) || ' of repo ' || o.repo_id || ' is linked to other or condemned bytes'
     FROM repo_object o JOIN backing b ON b.id = o.backing_id
     WHERE b.state <> 1 OR b.sha256 <> o.sha256 OR b.size <> o.size",
    "SELECT 'backing ' || id || ' has a state, proof or time that does not fit' FROM backing
     WHERE state NOT IN (1, 2) OR proof NOT IN (0, 1, 2) OR (not_before_ms IS NOT NULL) <> (state = 2)",
    "SELECT 'backing ' || id || ' is live and no repo links it' FROM backing
     WHERE state = 1 AND NOT EXISTS (SELECT 1 FROM repo_object WHERE backing_id = backing.id)",
    "SELECT 'backing ' || b.id || ' is claimed and shared' FROM backing b JOIN repo_object o ON o.backing_id = b.id
     WHERE b.state = 1 AND b.proof < 2 GROUP BY b.id HAVING count(*) > 1",
    "SELECT 'the total of ' || name || ' is ' || value || ' and should be ' || actual FROM (SELECT name, value,
     (SELECT CASE name WHEN 'objects' THEN count(*) ELSE coalesce(sum(size), 0) END FROM backing WHERE state = 1)
     AS actual FROM total) WHERE value <> actual",
    "SELECT 'deleted repo ' || repo_id || ' has locks' FROM lfs_lock l JOIN repo r ON r.id = l.repo_id
     WHERE r.state = 1 GROUP BY repo_id",
    "SELECT 'organisation ' || o.name || ' has the name of a user, or is not folded' FROM org o
     LEFT JOIN account u ON u.folded = o.folded WHERE u.id IS NOT NULL OR o.folded <> lower(o.name)",
    "SELECT 'organisation ' || o.name || ' has no administrator' FROM org o WHERE NOT EXISTS (
     SELECT 1 FROM org_member WHERE org_id = o.id AND role = 3)",
    "SELECT 'quota ' || folded || ' is not folded, or less than nothing' FROM quota
     WHERE folded <> lower(folded) OR bytes_max < 0",
    "SELECT 'upload ' || hex(u.id) || ' does not say what it is for' FROM upload u
     LEFT JOIN upload_objects o ON o.upload_id = u.id
     WHERE o.upload_id IS NULL OR length(u.pending) <> (length(o.objects) / 40 + 7) / 8",
    "SELECT 'an upload that is gone left ' || hex(upload_id) FROM (
     SELECT upload_id FROM upload_objects UNION SELECT upload_id FROM multipart
     UNION SELECT upload_id FROM reservation) WHERE upload_id NOT IN (SELECT id FROM upload)",
    "SELECT 'upload ' || hex(u.id) || ' reserves ' || u.reserved || ' bytes, not ' || coalesce(actual, 0) FROM upload u
     LEFT JOIN (SELECT upload_id, sum(bytes) AS actual FROM reservation GROUP BY upload_id) r ON r.upload_id = u.id
     WHERE u.reserved <> coalesce(actual, 0)",
    "SELECT 'xorb ' || id || ' has a state or times that do not fit' FROM xorb
     WHERE state NOT IN (0, 1, 2) OR (not_before_ms IS NOT NULL) <> (state = 2)",
    "SELECT 'xorb ' || id || ' is live and empty' FROM xorb
     WHERE state = 1 AND (chunks < 1 OR raw_bytes < 1 OR stored_bytes < 1)",
    "SELECT 'xorb ' || id || ' is not live, and ' || user || ' needs it' FROM (
     SELECT xorb_id AS id, 'file ' || file_id AS user FROM xet_file_xorb
     UNION ALL SELECT xorb_id, 'repo ' || repo_id FROM repo_xorb
     UNION ALL SELECT xorb_id, 'bucket ' || bucket_id FROM bucket_xorb
     UNION ALL SELECT xorb_id, 'chunk ' || lower(hex(chunk)) FROM dedup_key)
     WHERE id NOT IN (SELECT id FROM xorb WHERE state = 1)",
    "SELECT 'copy ' || hex(upload_id) || ' has a state or time that does not fit' FROM whole_copy
     WHERE state NOT IN (0, 1, 2) OR (not_before_ms IS NOT NULL) <> (state = 2)",
    "SELECT 'copy ' || hex(c.upload_id) || ' is live, and of no proven file' FROM whole_copy c
     LEFT JOIN backing b ON b.id = c.backing_id AND b.sha256 = c.sha256 AND b.size = c.size AND b.proof = 2
     LEFT JOIN xet_backing x ON x.backing_id = b.id WHERE c.state = 1 AND x.backing_id IS NULL",
    "SELECT 'grant ' || hex(id) || ' is for an empty xorb' FROM xorb_grant WHERE size < 1",
    "SELECT 'deleted repo ' || repo_id || ' has xorbs' FROM repo_xorb l JOIN repo r ON r.id = l.repo_id
     WHERE r.state = 1 GROUP BY repo_id",
    "SELECT 'file ' || id || ' is nobody''s' FROM xet_file
     WHERE NOT EXISTS (SELECT 1 FROM xet_backing WHERE file_id = xet_file.id)
     AND NOT EXISTS (SELECT 1 FROM bucket_file WHERE file_id = xet_file.id)
     AND NOT EXISTS (SELECT 1 FROM bucket_spare WHERE file_id = xet_file.id)",
    "SELECT 'bucket ' || id || ' has a visibility or state that does not exist, or is folded as ' || folded FROM bucket
     WHERE visibility NOT IN (0, 1) OR state NOT IN (0, 1) OR folded <> lower(namespace || '/' || name)",
    "SELECT 'bucket ' || id || ' has a journal of a version that it never had' FROM bucket
     WHERE journaled NOT BETWEEN -1 AND version",
    "SELECT 'bucket ' || id || ' belongs to no user' FROM bucket
     WHERE state = 0 AND NOT EXISTS (SELECT 1 FROM account a WHERE a.folded = lower(bucket.namespace))
     AND NOT EXISTS (SELECT 1 FROM org o WHERE o.folded = lower(bucket.namespace))",
    "SELECT 'bucket ' || b.id || ' counts other files, or bytes, than it has' FROM bucket b
     LEFT JOIN (SELECT bucket_id, count(*) AS files, sum(size) AS bytes FROM bucket_file GROUP BY bucket_id) p
     ON p.bucket_id = b.id
     WHERE b.state = 0 AND (b.files <> coalesce(p.files, 0) OR b.bytes <> coalesce(p.bytes, 0)
     OR b.spare_bytes <> (SELECT coalesce(sum(f.size), 0) FROM bucket_spare s JOIN xet_file f ON f.id = s.file_id
     WHERE s.bucket_id = b.id AND s.uploaded = 1))",
    "SELECT 'file ' || p.path || ' of bucket ' || p.bucket_id || ' has another size than it says' FROM bucket_file p
     LEFT JOIN xet_file f ON f.id = p.file_id WHERE p.size <> coalesce(f.size, 0) OR (p.size = 0) <> (p.file_id IS NULL)",
    "SELECT 'redirect ' || d.folded || ' is not folded, or hides behind a live bucket, or leads to a deleted one'
     FROM bucket_redirect d LEFT JOIN bucket b ON b.folded = d.folded AND b.state = 0
     LEFT JOIN bucket t ON t.id = d.bucket_id AND t.state = 0
     WHERE b.id IS NOT NULL OR t.id IS NULL OR d.folded <> lower(d.folded)",
    "SELECT 'backing ' || b.id || ' is a file of another size, or only claimed to be' FROM xet_backing x
     JOIN backing b ON b.id = x.backing_id JOIN xet_file f ON f.id = x.file_id
     WHERE b.size <> f.size OR b.proof = 0",
    "SELECT 'backing ' || id || ' is possessed and no file' FROM backing
     WHERE proof = 1 AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = backing.id)",
    "SELECT 'discussion ' || num || ' of repo ' || repo_id || ' has a status that does not fit' FROM discussion
     WHERE status NOT IN (0, 1, 2, 3) OR (status = 3) <> (merged IS NOT NULL)
     OR (merged IS NOT NULL) <> (merged_head IS NOT NULL) OR (status IN (0, 3) AND target IS NULL)",
    "SELECT 'discussion ' || d.num || ' of repo ' || d.repo_id || ' counts other events than it has' FROM discussion d
     LEFT JOIN (SELECT repo_id, num, count(*) AS events, max(position) + 1 AS next, sum(kind = 0) AS comments
     FROM discussion_event GROUP BY repo_id, num) e ON e.repo_id = d.repo_id AND e.num = d.num
     WHERE d.events <> coalesce(e.events, 0) OR d.events <> coalesce(e.next, 0) OR d.comments <> coalesce(e.comments, 0)",
    "SELECT 'event ' || position || ' of discussion ' || num || ' of repo ' || repo_id || ' has parts that do not fit its kind'
     FROM discussion_event WHERE kind NOT IN (0, 1, 2, 3) OR (kind = 1) <> (status IS NOT NULL)
     OR (kind = 2) <> (previous IS NOT NULL) OR (kind = 3) <> (oid IS NOT NULL)
     OR (kind <> 0 AND (hidden = 1 OR edited_ms IS NOT NULL)) OR (hidden = 1 AND text <> '')",
    "SELECT 'discussion ' || num || ' of repo ' || repo_id || ' does not exist and says something' FROM (
     SELECT DISTINCT repo_id, num FROM discussion_event) e WHERE NOT EXISTS (
     SELECT 1 FROM discussion d WHERE d.repo_id = e.repo_id AND d.num = e.num)",
    "SELECT 'event ' || e.position || ' of discussion ' || e.num || ' of repo ' || e.repo_id ||
     ' says it was edited ' || e.edits || ' times, not ' || count(v.edit) FROM discussion_event e
     LEFT JOIN discussion_edit v ON v.repo_id = e.repo_id AND v.num = e.num AND v.position = e.position
     GROUP BY e.repo_id, e.num, e.position HAVING e.edits <> count(v.edit)",
    "SELECT 'a comment that does not exist was edited in discussion ' || num || ' of repo ' || repo_id FROM discussion_edit v
     WHERE NOT EXISTS (SELECT 1 FROM discussion_event e WHERE e.repo_id = v.repo_id AND e.num = v.num
     AND e.position = v.position AND e.kind = 0)",
    "SELECT 'deleted repo ' || d.repo_id || ' has discussions' FROM discussion d JOIN repo r ON r.id = d.repo_id
     WHERE r.state = 1 GROUP BY d.repo_id",
    "SELECT 'pack ' || hex(id) || ' has ' || count(*) || ' rows and is not shared by so many repos' FROM pack
     GROUP BY id HAVING count(*) > 1 AND (count(*) <> count(DISTINCT repo_id)
     OR count(*) <> (SELECT count(*) FROM pack_share WHERE pack_id = pack.id))",
    "SELECT 'pack ' || hex(id) || ' is shared, and staged, in a row, or not the same everywhere' FROM pack
     GROUP BY id HAVING count(*) > 1 AND (min(state) = 0 OR count(inline) > 0 OR min(bytes) <> max(bytes)
     OR min(kind) <> max(kind) OR min(objects) <> max(objects))",
    "SELECT 'repo ' || repo_id || ' shares pack ' || hex(pack_id) || ' and does not have it' FROM pack_share s
     WHERE NOT EXISTS (SELECT 1 FROM pack p
     WHERE p.repo_id = s.repo_id AND p.state IN (1, 2) AND p.id = s.pack_id)",
    "SELECT 'repo ' || r.id || ' is in no list, or in another than its own' FROM repo r
     LEFT JOIN repo_rank k ON k.repo_id = r.id WHERE r.state = 0
     AND (k.repo_id IS NULL OR k.kind <> r.kind OR k.visibility <> r.visibility OR k.created_ms <> r.created_ms)",
    "SELECT 'repo ' || r.id || ' is found by another name than its own' FROM repo r
     LEFT JOIN name_text n ON n.rowid = r.id WHERE r.state = 0
     AND CASE r.kind WHEN 0 THEN n.model WHEN 1 THEN n.dataset ELSE n.space END IS NOT r.folded",
    "SELECT 'deleted repo ' || r.id || ' is still in lists' FROM repo r WHERE r.state = 1 AND (
     EXISTS (SELECT 1 FROM repo_rank WHERE repo_id = r.id) OR EXISTS (SELECT 1 FROM repo_tag WHERE repo_id = r.id)
     OR EXISTS (SELECT 1 FROM repo_like WHERE repo_id = r.id) OR EXISTS (SELECT 1 FROM access_request WHERE repo_id = r.id)
     OR EXISTS (SELECT 1 FROM collection_item WHERE repo_id = r.id))",
    "SELECT 'repo ' || k.repo_id || ' counts ' || k.likes || ' likes but has ' || actual FROM repo_rank k JOIN
     (SELECT repo_id, (SELECT count(*) FROM repo_like l WHERE l.repo_id = repo_rank.repo_id) AS actual FROM repo_rank) a
     ON a.repo_id = k.repo_id WHERE k.likes <> actual",
    "SELECT 'repo ' || repo_id || ' counts other downloads than its days' FROM repo_rank k WHERE downloads > downloads_all
     OR downloads <> (SELECT coalesce(sum(count), 0) FROM download_day d WHERE d.repo_id = k.repo_id)",
    "SELECT 'tag ' || name || ' counts ' || repos || ' repos but has ' || actual FROM
     (SELECT name, repos, (SELECT count(*) FROM repo_tag WHERE tag_id = tag.id) AS actual FROM tag) WHERE repos <> actual",
    "SELECT 'request ' || id || ' for access has a status that does not exist' FROM access_request
     WHERE status NOT IN (0, 1, 2)",
    "SELECT 'collection ' || c.id || ' belongs to nobody, or counts ' || c.items || ' items wrongly' FROM collection c
     WHERE c.items <> (SELECT count(*) FROM collection_item WHERE collection_id = c.id)
     OR NOT EXISTS (SELECT 1 FROM account a WHERE a.folded = c.folded)
     AND NOT EXISTS (SELECT 1 FROM org o WHERE o.folded = c.folded)",
    "SELECT 'webhook ' || id || ' has a state or domains that do not exist' FROM webhook
     WHERE state NOT IN (0, 1, 2) OR domains NOT IN (1, 2, 3)",
    "SELECT 'webhook ' || h.id || ' counts ' || h.waiting || ' deliveries that wait but has ' || actual FROM webhook h
     JOIN (SELECT id, (SELECT count(*) FROM webhook_delivery d WHERE d.webhook_id = webhook.id AND d.state = 0) AS actual
     FROM webhook) a ON a.id = h.id WHERE h.waiting <> actual",
    "SELECT 'webhook ' || id || ' has deliveries and no time for them, or a time and no deliveries' FROM webhook
     WHERE (due_ms IS NOT NULL) <> (waiting > 0) OR (waiting > 0 AND state <> 0)",
    "SELECT 'webhook ' || webhook_id || ' watches what does not exist' FROM webhook_watch w WHERE NOT CASE kind
     WHEN 0 THEN EXISTS (SELECT 1 FROM account WHERE id = w.target) WHEN 1 THEN EXISTS (SELECT 1 FROM org WHERE id = w.target)
     WHEN 2 THEN EXISTS (SELECT 1 FROM repo WHERE id = w.target AND state = 0) ELSE 0 END",
    "SELECT 'delivery ' || hex(key) || ' has a state or time that does not fit' FROM webhook_delivery
     WHERE state NOT IN (0, 1, 2, 3, 4) OR (ended_ms IS NOT NULL) <> (state <> 0)",
    "SELECT 'event ' || id || ' is told to no webhook' FROM webhook_event e
     WHERE NOT EXISTS (SELECT 1 FROM webhook_delivery WHERE event_id = e.id)",
    "SELECT 'event ' || id || ' has parts that do not fit what happened' FROM webhook_event
     WHERE sort NOT BETWEEN 0 AND 8 OR kind NOT IN (0, 1, 2) OR visibility NOT IN (0, 1) OR gating NOT IN (0, 1, 2)
     OR (sort = 2) <> (moved_namespace IS NOT NULL) OR (moved_namespace IS NULL) <> (moved_name IS NULL)
     OR (moved_namespace IS NULL) <> (moved_owner IS NULL) OR (sort = 3) <> (refs IS NOT NULL)
     OR (sort >= 5) <> (num IS NOT NULL) OR (sort >= 5) <> (status IS NOT NULL) OR (sort >= 7) <> (position IS NOT NULL)",
];

impl Database {
    /// SQLite's own `integrity_check` and `foreign_key_check`, the checksum of every row, and the rules of this
    /// crate; each finding is one sentence. Reads everything, in one state; writes go on.
    pub fn check(&self) -> Result<Vec<String>, DbError> {
        self.0.readers.fresh_snapshot(|conn| {
            let mut findings = integrity(conn)?;
            for table in TABLES {
                add(&mut findings, table.check(conn)?);
            }
            for rule in RULES {
                add(&mut findings, all(conn, rule, [], sentence)?);
            }
            add(&mut findings, clashes(conn)?);
            let next = conn
                .query_row(
                    "SELECT name FROM sequence s WHERE next <= max(
                         CASE name WHEN 'account' THEN coalesce((SELECT max(id) FROM account), 0) ELSE 0 END,
                         CASE name WHEN 'token' THEN coalesce((SELECT max(id) FROM token), 0) ELSE 0 END,
                         CASE name WHEN 'repo' THEN coalesce((SELECT max(id) FROM repo), 0) ELSE 0 END,
                         CASE name WHEN 'org' THEN coalesce((SELECT max(id) FROM org), 0) ELSE 0 END,
                         CASE name WHEN 'xorb' THEN coalesce((SELECT max(id) FROM xorb), 0) ELSE 0 END,
                         CASE name WHEN 'xet_file' THEN coalesce((SELECT max(id) FROM xet_file), 0) ELSE 0 END,
                         CASE name WHEN 'tag' THEN coalesce((SELECT max(id) FROM tag), 0) ELSE 0 END,
                         CASE name WHEN 'access_request'
                             THEN coalesce((SELECT max(id) FROM access_request), 0) ELSE 0 END,
                         CASE name WHEN 'collection' THEN coalesce((SELECT max(id) FROM collection), 0) ELSE 0 END,
                         CASE name WHEN 'collection_item'
                             THEN coalesce((SELECT max(id) FROM collection_item), 0) ELSE 0 END,
                         CASE name WHEN 'bucket' THEN coalesce((SELECT max(id) FROM bucket), 0) ELSE 0 END,
                         CASE name WHEN 'webhook' THEN coalesce((SELECT max(id) FROM webhook), 0) ELSE 0 END,
                         CASE name WHEN 'webhook_event'
                             THEN coalesce((SELECT max(id) FROM webhook_event), 0) ELSE 0 END,
                         CASE name WHEN 'webhook_delivery'
                             THEN coalesce((SELECT max(id) FROM webhook_delivery), 0) ELSE 0 END,
                         CASE name WHEN 'backing' THEN coalesce((SELECT max(id) FROM backing), 0) ELSE 0 END)",
                    [],
                    |row| row.get::<_, String>(0),
                )
                .optional()?;
            findings.extend(next.map(|table| format!("an id of {table} would be given twice")));
            Ok(findings)
        })
    }
}

fn integrity(conn: &Connection) -> Result<Vec<String>, DbError> {
    let mut findings: Vec<String> = all(conn, "PRAGMA integrity_check(100)", [], |row| row.get(0))?;
    findings.retain(|finding| finding != "ok");
    let orphans = all(conn, "PRAGMA foreign_key_check", [], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!("a row of {table} names a {parent} that does not exist"))
    })?;
    add(&mut findings, orphans);
    Ok(findings)
}

/// Refs that stand where another one needs a directory. One ordered scan.
fn clashes(conn: &Connection) -> Result<Vec<String>, DbError> {
    let mut findings = Vec::new();
    // Names before this one that it begins with. Not only the last: `a-b` sorts between `a` and `a/b`.
    let mut begun: Vec<String> = Vec::new();
    let mut repo = RepoId(0);
    let mut statement = conn.prepare("SELECT repo_id, name FROM ref ORDER BY repo_id, name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let of: RepoId = row.get(0)?;
        let name = text(row, 1)?;
        if of != repo {
            begun.clear();
            repo = of;
        }
        while begun.last().is_some_and(|before| !name.starts_with(before.as_str())) {
            begun.pop();
        }
        if let Some(file) = begun.iter().find(|file| name.as_bytes().get(file.len()) == Some(&b'/')) {
            findings.push(format!("refs {file} and {name} of repo {} exclude each other", of.0));
        }
        begun.push(name);
    }
    Ok(findings)
}

fn sentence(row: &Row<'_>) -> rusqlite::Result<String> {
    text(row, 0)
}

/// Also of a damaged row, where it may be no UTF-8, or nothing.
fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(index)?.as_bytes_or_null()?;
    Ok(bytes.map_or("a row lacks a value".into(), String::from_utf8_lossy).into_owned())
}

fn add(findings: &mut Vec<String>, new: Vec<String>) {
    let more = new.len().saturating_sub(FINDINGS_MAX);
    findings.extend(new.into_iter().take(FINDINGS_MAX));
    if more > 0 {
        findings.push(format!("… and {more} more like the last"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Attempt, Change, Clock, Collected, CollectionId, Facts, FoundBy, NewCollection, NewPack, NewRepo,
        NewUpload, NewWebhook, NewXetFile, NewXetObject, Oid, PackContent, PackId, PackKind, Proof,
        ProvenXorb, Publish, Quota, RefEdit, Sha256, Then, UploadId, UserId, Visibility, Watch,
        WebhookDomains, WebhookId, XetHash, XetRegistration, XetTerm, XorbGrant,
    };

    /// Breaks sound rows by `sql` and returns what is found.
    async fn findings_after(sql: &'static str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open(&directory.path().join("t.db"), Clock::default()).unwrap();
        db.create_user("Acme".parse().unwrap(), false).await.unwrap();
        let path = "acme/Model".parse().unwrap();
        let new = NewRepo {
            path,
            visibility: Visibility::Public,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let repo = db.create_repo(new).await.unwrap();
        let webhook = add_webhook(&db, repo.id).await;
        db.rename_repo(repo.id, "acme/new".parse().unwrap()).await.unwrap();
        let edit = |name: &str| RefEdit {
            name: name.to_owned(),
            expected: crate::Expected::Absent,
            new: Oid([1; 20]),
            peeled: None,
        };
        let content = PackContent::Inline(vec![1; 10].into());
        let pack = NewPack { id: PackId::new(), kind: PackKind::Api, objects: 1, closure: false, content };
        let change = Change {
            repo: repo.id,
            acl_version: None,
            gc_epoch: 0,
            refs: vec![edit("refs/heads/a"), edit("refs/heads/a-b"), edit("refs/heads/c")],
            refs_max: 10,
            atomic: true,
            packs_added: vec![pack],
            packs_superseded: vec![],
            superseded_until_ms: 0,
            generation: None,
            head_ref: None,
            links_required: Vec::new(),
            links_dropped: Vec::new(),
            locks_version: None,
            collects: false,
            actor: None,
            message: String::new(),
        };
        db.apply(change.clone()).await.unwrap();
        add_shared_pack(&db, &change).await;
        add_objects(&db, repo.id).await;
        add_discussion(&db, repo.id, repo.acl_version + 1).await;
        add_people(&db, repo.id).await;
        add_bucket(&db).await;
        tell_webhook(&db, webhook).await;
        assert_eq!(db.check().unwrap(), Vec::<String>::new());
        let conn = Connection::open(directory.path().join("t.db")).unwrap();
        conn.pragma_update(None, "foreign_keys", false).unwrap();
        conn.execute_batch(sql).unwrap();
        db.check().unwrap()
    }

    /// Stored in repo 1, and given to repo 2.
    async fn add_shared_pack(db: &Database, like: &Change) {
        let (from, id) = (like.repo, PackId::new());
        db.stage_pack(id, from).await.unwrap();
        let other = NewRepo {
            path: crate::RepoPath::new(crate::RepoKind::Dataset, "acme", "other").unwrap(),
            visibility: Visibility::Public,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
        };
        let other = db.create_repo(other).await.unwrap();
        for (repo, content) in
            [(from, PackContent::Stored { bytes: 9 }), (other.id, PackContent::Shared { from, bytes: 9 })]
        {
            let pack = NewPack { id, kind: PackKind::Receive, objects: 1, closure: false, content };
            db.apply(Change { repo, refs: vec![], packs_added: vec![pack], ..like.clone() }).await.unwrap();
        }
    }

    /// Of one comment, which was edited.
    async fn add_discussion(db: &Database, repo: RepoId, acl_version: i64) {
        let (title, text, author) = ("talk".to_owned(), "a".to_owned(), UserId(1));
        let new = crate::NewDiscussion { title, text, author };
        let num = db.open_discussion(repo, acl_version, new).await.unwrap().num;
        let edit = crate::DiscussionEdit::Edit { position: 0, text: "b".to_owned() };
        db.edit_discussion(repo, acl_version, num, author, edit).await.unwrap();
    }

    /// Backing 1 is verified, 2 is claimed; another object is waited for, by its parts; one file is locked.
    async fn add_objects(db: &Database, repo: RepoId) {
        let (upload, sha) = (UploadId::new(), |n| Sha256([n; 32]));
        let objects = vec![(sha(1), 10), (sha(2), 20), (sha(3), 30)];
        let (expires_ms, quota) = (i64::MAX, Quota::Default(Some(1000)));
        let new = NewUpload { id: upload, repo, by: None, objects, expires_ms, quota };
        db.begin_upload(new).await.unwrap();
        for (n, proof) in [(1, Proof::Verified), (2, Proof::Claimed)] {
            let (sha256, size) = (sha(n), u64::from(n) * 10);
            db.publish_object(Publish { upload, repo, sha256, size, proof, by: None }).await.unwrap();
        }
        db.set_multipart(upload, vec![(sha(3), "x".to_owned())]).await.unwrap();
        add_file(db, repo, sha(4)).await;
        db.create_lock(repo, "a".to_owned(), None, UserId(1), 9).await.unwrap();
        db.set_quota("acme".parse().unwrap(), Some(1000)).await.unwrap();
    }

    /// Xorb 1, and file 1 made of it, as backing 3.
    async fn add_file(db: &Database, repo: RepoId, sha256: Sha256) {
        let (id, _) = db.stage_xorb(XetHash([1; 32])).await.unwrap();
        let dedup_keys = vec![[1; 16]];
        let proven = ProvenXorb { id, chunks: 1, raw_bytes: 5, stored_bytes: 13, dedup_keys };
        db.publish_xorb(repo, proven).await.unwrap();
        let (chunk_start, chunk_end) = (0, 1);
        let term = XetTerm { xorb: id, chunk_start, chunk_end, raw_bytes: 5, byte_start: 0, byte_end: 13 };
        let (hash, proof, terms) = (XetHash([2; 32]), Proof::Possessed, vec![term]);
        let object =
            NewXetObject { file: NewXetFile { hash, size: 5, terms, dedup_key: None }, sha256, proof };
        let (quota, objects) = (Quota::Exempt, vec![object]);
        let registration = XetRegistration { repo, by: None, quota, xorbs: vec![], objects };
        db.register_xet(registration).await.unwrap();
        let grant = XorbGrant { holder: repo.into(), hash: XetHash([3; 32]), size: 9, expires_ms: i64::MAX };
        db.grant_xorb(grant, 1).await.unwrap().unwrap();
        // Another file, which is proven and has a copy: backing 4.
        let file = NewXetFile { hash: XetHash([4; 32]), size: 5, terms: vec![term], dedup_key: None };
        let object = NewXetObject { file, sha256: Sha256([5; 32]), proof: Proof::Verified };
        let registration =
            XetRegistration { repo, by: None, quota: Quota::Exempt, xorbs: vec![], objects: vec![object] };
        let registered = db.register_xet(registration).await.unwrap();
        let copy = db.stage_whole(registered[0].backing).await.unwrap().unwrap();
        assert!(db.publish_whole(copy).await.unwrap());
    }

    /// With one file, file 3, and another that is at no path.
    async fn add_bucket(db: &Database) {
        let path = crate::BucketPath::new("acme", "old").unwrap();
        let new = crate::NewBucket { path, visibility: Visibility::Public, creator: None };
        let bucket = db.create_bucket(new).await.unwrap();
        let path = crate::BucketPath::new("acme", "files").unwrap();
        let acl_version = db.rename_bucket(bucket.id, path).await.unwrap().acl_version;
        let (chunk_start, chunk_end, xorb) = (0, 1, crate::XorbId(1));
        let term = XetTerm { xorb, chunk_start, chunk_end, raw_bytes: 5, byte_start: 0, byte_end: 13 };
        let file = |n| NewXetFile { hash: XetHash([n; 32]), size: 5, terms: vec![term], dedup_key: None };
        let (quota, files) = (Quota::Exempt, vec![file(6), file(7)]);
        let registration = crate::BucketRegistration { bucket: bucket.id, quota, xorbs: vec![], files };
        db.register_in_bucket(registration).await.unwrap();
        let (hash, from) = (XetHash([6; 32]), crate::BucketSource::Here);
        let put = crate::BucketPut { hash, from, mtime_ms: None, content_type: None };
        let edits = vec![crate::BucketEdit { path: "a".into(), act: crate::BucketAct::Put(put) }];
        let batch = crate::BucketBatch { bucket: bucket.id, acl_version, quota, edits };
        assert_eq!(db.edit_bucket(batch).await.unwrap(), [None]);
    }

    /// One like, one download, one tag, one request, one collection of one item.
    async fn add_people(db: &Database, repo: RepoId) {
        let facts = Facts { commit: None, modified_ms: 1, tags: vec!["a".into()], document: "{}".into() };
        let found_by = FoundBy { terms: vec![], text: "words of a card".into() };
        db.set_facts(repo, facts, found_by).await.unwrap();
        assert!(db.set_like(repo, UserId(1), true).await.unwrap());
        db.add_downloads(vec![(repo, 1)]).await.unwrap();
        db.grant_access(repo, UserId(1)).await.unwrap();
        let collection = NewCollection {
            namespace: "acme".parse().unwrap(),
            title: "One".into(),
            slug: "one".into(),
            description: None,
            private: false,
            theme: "blue".into(),
        };
        db.create_collection(collection).await.unwrap();
        assert_eq!(db.collect(CollectionId(1), repo, None).await.unwrap(), Collected::Done(()));
    }

    /// That watches the repo.
    async fn add_webhook(db: &Database, repo: RepoId) -> WebhookId {
        let domains = WebhookDomains { repo: true, discussion: true };
        let (url, watched) = ("http://ci/".to_owned(), vec![Watch::User(UserId(1)), Watch::Repo(repo)]);
        let new = NewWebhook { owner: UserId(1), url, secret: Some("s".into()), domains, watched };
        db.create_webhook(new).await.unwrap().id
    }

    /// The first event, of a new name, has arrived; three more wait: refs, a discussion, and a comment that was edited.
    async fn tell_webhook(db: &Database, webhook: WebhookId) {
        let delivery = db.next_delivery(webhook).unwrap().unwrap().delivery;
        let attempt = Attempt { delivery, status: Some(200), error: None, then: Then::Delivered };
        db.end_attempt(attempt).await.unwrap();
    }

    #[tokio::test]
    async fn each_rule_finds_what_breaks_it() {
        let cases: &[(&str, &str)] = &[
            ("UPDATE account SET folded = 'Acme'", "user Acme is folded as Acme"),
            ("INSERT INTO token VALUES (1, 1, 'x', 7, zeroblob(32), 0, 0, 0)", "token 1 has role 7"),
            ("UPDATE repo SET visibility = 5", "repo 1 has a kind, visibility or state that does not exist"),
            ("UPDATE repo SET folded = 'acme/NEW'", "repo 1 is folded as acme/NEW"),
            ("UPDATE repo SET namespace = 'x', folded = 'x/new'", "repo 1 belongs to no user"),
            ("UPDATE repo SET refs_count = 4", "repo 1 counts 4 refs but has 3"),
            ("UPDATE repo SET packs_bytes = 4", "repo 1 counts other packs than it has"),
            ("UPDATE repo SET pending = 0", "repo 1 has work to do and is not marked"),
            ("UPDATE repo SET state = 1", "deleted repo 1 is still in use"),
            ("UPDATE redirect SET folded = 'acme/new'", "redirect acme/new hides behind a live repo"),
            ("UPDATE redirect SET folded = 'acme/X'", "redirect acme/X is not folded"),
            (
                "UPDATE ref SET name = 'HEAD' WHERE name = 'refs/heads/c'",
                "ref HEAD of repo 1 is not under refs/",
            ),
            (
                "UPDATE ref SET oid = zeroblob(20) WHERE name = 'refs/heads/c'",
                "ref refs/heads/c of repo 1 is null",
            ),
            (
                "UPDATE ref SET name = 'refs/heads/a/b' WHERE name = 'refs/heads/c'",
                "refs refs/heads/a and refs/heads/a/b of repo 1 exclude each other",
            ),
            ("UPDATE ref_log SET generation = 9", "the log of repo 1 is ahead of it"),
            ("UPDATE pack SET kind = 9", "has a state or kind that does not exist"),
            ("UPDATE pack SET not_before_ms = 9", "has times that do not fit its state"),
            ("UPDATE pack SET state = 0, staged_ms = 1", "is staged and has content"),
            ("UPDATE pack SET inline = x'00'", "says 10 bytes and holds 1"),
            ("UPDATE pack SET added_generation = 9", "was added in the future"),
            (
                "INSERT INTO pack SELECT repo_id, id, 2, kind, objects, bytes, closure, 1, NULL, 0, 0, inline FROM pack",
                "has 2 rows and is not shared by so many repos",
            ),
            ("UPDATE pack_share SET repo_id = 7 WHERE repo_id = 2", "repo 7 shares pack"),
            ("DELETE FROM pack WHERE repo_id = 2", "repo 2 shares pack"),
            (
                "UPDATE pack SET kind = 3 WHERE repo_id = 2",
                "is shared, and staged, in a row, or not the same",
            ),
            (
                "UPDATE pack SET bytes = 8 WHERE repo_id = 2",
                "is shared, and staged, in a row, or not the same",
            ),
            (
                "UPDATE pack SET state = 0 WHERE repo_id = 2",
                "is shared, and staged, in a row, or not the same",
            ),
            ("DELETE FROM pack_share", "has 2 rows and is not shared by so many"),
            ("UPDATE sequence SET next = 1 WHERE name = 'repo'", "an id of repo would be given twice"),
            ("UPDATE ref SET repo_id = 9", "a row of ref names a repo that does not exist"),
            ("UPDATE repo_lfs SET bytes = 4", "repo 1 counts other bytes of large objects than it links"),
            ("DELETE FROM repo_object WHERE backing_id = 2", "repo 1 counts other bytes of large objects"),
            ("DELETE FROM repo_object WHERE backing_id = 2", "backing 2 is live and no repo links it"),
            ("UPDATE repo_object SET state = 2", "has a state that does not fit its backing"),
            ("UPDATE repo_object SET backing_id = 3 - backing_id", "is linked to other or condemned bytes"),
            ("UPDATE backing SET state = 2, not_before_ms = 1", "is linked to other or condemned bytes"),
            ("DELETE FROM backing WHERE id = 2", "a row of repo_object names a backing that does not exist"),
            ("UPDATE backing SET proof = 3", "backing 1 has a state, proof or time that does not fit"),
            (
                "UPDATE backing SET not_before_ms = 1",
                "backing 1 has a state, proof or time that does not fit",
            ),
            (
                "INSERT INTO repo_object SELECT 2, sha256, state, backing_id, size, 0, NULL, 0 FROM repo_object",
                "backing 2 is claimed and shared",
            ),
            ("UPDATE total SET value = 9", "the total of objects is 9 and should be 4"),
            ("UPDATE total SET value = 9", "the total of objects_bytes is 9 and should be 40"),
            ("DELETE FROM upload_objects", "does not say what it is for"),
            ("UPDATE upload SET pending = x'0000'", "does not say what it is for"),
            ("DELETE FROM upload", "an upload that is gone left"),
            ("UPDATE upload SET reserved = 29", "reserves 29 bytes, not 30"),
            ("UPDATE reservation SET upload_id = zeroblob(16)", "an upload that is gone left 0000"),
            ("UPDATE repo SET state = 1", "deleted repo 1 has locks"),
            ("UPDATE quota SET folded = 'Acme'", "quota Acme is not folded, or less than nothing"),
            ("UPDATE xorb SET state = 4", "xorb 1 has a state or times that do not fit"),
            ("UPDATE xorb SET not_before_ms = 1", "xorb 1 has a state or times that do not fit"),
            ("UPDATE xorb SET chunks = 0", "xorb 1 is live and empty"),
            ("UPDATE xorb SET state = 2, not_before_ms = 1", "xorb 1 is not live, and file 1 needs it"),
            ("UPDATE xorb SET state = 0", "xorb 1 is not live, and repo 1 needs it"),
            ("DELETE FROM xorb", "xorb 1 is not live, and chunk 0101"),
            ("UPDATE repo SET state = 1", "deleted repo 1 has xorbs"),
            ("UPDATE xorb_grant SET size = 0", "is for an empty xorb"),
            ("UPDATE whole_copy SET state = 2", "has a state or time that does not fit"),
            ("UPDATE whole_copy SET size = 6", "is live, and of no proven file"),
            ("UPDATE backing SET proof = 1 WHERE id = 4", "is live, and of no proven file"),
            ("DELETE FROM xet_backing WHERE backing_id = 4", "is live, and of no proven file"),
            ("DELETE FROM xet_backing", "file 1 is nobody's"),
            ("DELETE FROM bucket_spare", "file 4 is nobody's"),
            ("DELETE FROM xorb", "xorb 1 is not live, and bucket 1 needs it"),
            ("UPDATE bucket SET visibility = 5", "bucket 1 has a visibility or state that does not exist"),
            ("UPDATE bucket SET folded = 'acme/FILES'", "or is folded as acme/FILES"),
            ("UPDATE bucket SET namespace = 'x', folded = 'x/files'", "bucket 1 belongs to no user"),
            (
                "UPDATE bucket SET journaled = version + 1",
                "bucket 1 has a journal of a version that it never had",
            ),
            ("UPDATE bucket SET journaled = -2", "bucket 1 has a journal of a version that it never had"),
            ("UPDATE bucket SET files = 2", "bucket 1 counts other files, or bytes, than it has"),
            ("UPDATE bucket SET bytes = 6", "bucket 1 counts other files, or bytes, than it has"),
            ("UPDATE bucket SET spare_bytes = 6", "bucket 1 counts other files, or bytes, than it has"),
            ("UPDATE bucket_file SET size = 6", "file a of bucket 1 has another size than it says"),
            ("UPDATE bucket_file SET file_id = NULL", "file a of bucket 1 has another size than it says"),
            (
                "UPDATE bucket_redirect SET folded = 'acme/files'",
                "redirect acme/files is not folded, or hides",
            ),
            ("UPDATE bucket SET state = 1", "or leads to a deleted one"),
            ("UPDATE sequence SET next = 1 WHERE name = 'bucket'", "an id of bucket would be given twice"),
            ("DELETE FROM xet_backing", "backing 3 is possessed and no file"),
            ("UPDATE discussion SET status = 3", "discussion 1 of repo 1 has a status that does not fit"),
            ("UPDATE discussion SET status = 0", "discussion 1 of repo 1 has a status that does not fit"),
            ("UPDATE discussion SET events = 2", "discussion 1 of repo 1 counts other events than it has"),
            ("UPDATE discussion SET comments = 0", "discussion 1 of repo 1 counts other events than it has"),
            ("UPDATE discussion_event SET kind = 3", "has parts that do not fit its kind"),
            ("UPDATE discussion_event SET hidden = 1", "has parts that do not fit its kind"),
            ("DELETE FROM discussion", "discussion 1 of repo 1 does not exist and says something"),
            ("DELETE FROM discussion_edit", "says it was edited 1 times, not 0"),
            ("DELETE FROM discussion_event", "a comment that does not exist was edited in discussion 1"),
            ("UPDATE repo SET state = 1", "deleted repo 1 has discussions"),
            ("UPDATE xet_file SET size = 6", "backing 3 is a file of another size, or only claimed to be"),
            (
                "UPDATE backing SET proof = 0 WHERE id = 3",
                "backing 3 is a file of another size, or only claimed",
            ),
            (
                "INSERT INTO repo_object SELECT 2, sha256, state, 3, size, 0, NULL, 0 FROM repo_object WHERE backing_id = 3",
                "backing 3 is claimed and shared",
            ),
            ("UPDATE sequence SET next = 1 WHERE name = 'xorb'", "an id of xorb would be given twice"),
            (
                "UPDATE sequence SET next = 1 WHERE name = 'xet_file'",
                "an id of xet_file would be given twice",
            ),
            ("UPDATE repo_rank SET visibility = 1", "repo 1 is in no list, or in another than its own"),
            ("DELETE FROM repo_rank", "repo 1 is in no list"),
            ("DELETE FROM name_text", "repo 1 is found by another name than its own"),
            ("UPDATE repo SET state = 1", "deleted repo 1 is still in lists"),
            ("UPDATE repo_rank SET likes = 2", "repo 1 counts 2 likes but has 1"),
            ("DELETE FROM download_day", "repo 1 counts other downloads than its days"),
            ("UPDATE tag SET repos = 2", "tag a counts 2 repos but has 1"),
            ("UPDATE access_request SET status = 3", "request 1 for access has a status that does not exist"),
            ("DELETE FROM collection_item", "collection 1 belongs to nobody, or counts 1 items wrongly"),
            ("UPDATE sequence SET next = 1 WHERE name = 'tag'", "an id of tag would be given twice"),
            ("UPDATE webhook SET state = 3", "webhook 1 has a state or domains that do not exist"),
            ("UPDATE webhook SET waiting = 1", "webhook 1 counts 1 deliveries that wait but has 4"),
            ("UPDATE webhook SET due_ms = NULL", "webhook 1 has deliveries and no time for them"),
            ("UPDATE webhook SET state = 1", "webhook 1 has deliveries and no time for them"),
            ("UPDATE webhook_watch SET target = 9 WHERE kind = 2", "webhook 1 watches what does not exist"),
            ("UPDATE webhook_watch SET kind = 3 WHERE kind = 2", "webhook 1 watches what does not exist"),
            ("UPDATE webhook_delivery SET ended_ms = 1", "has a state or time that does not fit"),
            ("DELETE FROM webhook_delivery WHERE state = 1", "event 1 is told to no webhook"),
            ("UPDATE webhook_event SET moved_name = NULL", "event 1 has parts that do not fit what happened"),
            (
                "UPDATE webhook_event SET sort = 7, position = NULL",
                "event 3 has parts that do not fit what happened",
            ),
            ("UPDATE sequence SET next = 1 WHERE name = 'webhook'", "an id of webhook would be given twice"),
            (
                "UPDATE sequence SET next = 1 WHERE name = 'webhook_event'",
                "an id of webhook_event would be given twice",
            ),
            (
                "UPDATE sequence SET next = 1 WHERE name = 'webhook_delivery'",
                "an id of webhook_delivery would be given twice",
            ),
            ("UPDATE name_text_data SET block = x'00' WHERE id > 1", "name_text"),
            ("UPDATE card_text_content SET c0 = 'other words'", "card_text"),
            ("UPDATE sequence SET next = 2 WHERE name = 'backing'", "an id of backing would be given twice"),
        ];
        for (sql, finding) in cases {
            let found = findings_after(sql).await;
            assert!(found.iter().any(|found| found.contains(finding)), "{sql}: {found:?}");
        }
    }

    #[test]
    fn findings_are_bounded() {
        let mut findings = vec!["a".to_owned()];
        add(&mut findings, vec!["b".to_owned(); 1000]);
        assert_eq!(findings.len(), 22);
        assert_eq!(findings[21], "… and 980 more like the last");
    }
}
