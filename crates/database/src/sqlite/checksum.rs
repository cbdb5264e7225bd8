//! A checksum in every row: a bit that flips where no other row could tell is found by [`Database::check`].
//!
//! Each table has a column `crc`, the CRC-32 of all its other columns in the order [`Table`] lists them. Rows are
//! written through this file only, and the same [`Table`] reads them for the check, so that the two cannot drift
//! apart. A row found damaged when it is changed stays damaged: its new checksum is made wrong again, lest a write
//! beside the damage cover it up.
//!
//! [`Database::check`]: super::Database::check

use std::sync::OnceLock;

use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, Params, Result, Row, ToSql, params_from_iter};

pub(super) static SEQUENCE: Table = Table::new("sequence", &["name"], &["name", "next"]);

pub(super) static ACCOUNT: Table =
    Table::new("account", &["id"], &["id", "name", "folded", "admin", "disabled", "created_ms"]);

pub(super) static TOKEN: Table =
    Table::new("token", &["id"], &["id", "account_id", "name", "role", "hash", "created_ms", "revoked"]);

pub(super) static REPO: Table = Table::new(
    "repo",
    &["id"],
    &[
        "id",
        "kind",
        "namespace",
        "name",
        "folded",
        "visibility",
        "state",
        "head_ref",
        "generation",
        "gc_epoch",
        "acl_version",
        "mirror",
        "blob_bytes_max",
        "created_ms",
        "refs_count",
        "packs_count",
        "packs_bytes",
        "maint_due_ms",
        "manifest_generation",
        "pending",
    ],
);

pub(super) static REDIRECT: Table =
    Table::new("redirect", &["kind", "folded"], &["kind", "folded", "repo_id"]);

pub(super) static REF: Table = Table::new("ref", &["repo_id", "name"], &["repo_id", "name", "oid", "peeled"]);

pub(super) static REF_LOG: Table = Table::new(
    "ref_log",
    &["repo_id", "generation", "position"],
    &["repo_id", "generation", "position", "name", "old", "new", "actor", "at_ms", "message"],
);

pub(super) static PACK: Table = Table::new(
    "pack",
    // With the state, as `pack_by_repo` has it.
    &["repo_id", "state", "id"],
    &[
        "repo_id",
        "id",
        "state",
        "kind",
        "objects",
        "bytes",
        "closure",
        "added_generation",
        "staged_ms",
        "not_before_ms",
        "inline",
    ],
);

pub(super) static PACK_SHARE: Table =
    Table::new("pack_share", &["pack_id", "repo_id"], &["pack_id", "repo_id"]);

pub(super) static SETTING: Table = Table::new("setting", &["name"], &["name", "value"]);

pub(super) static REPO_LFS: Table =
    Table::new("repo_lfs", &["repo_id"], &["repo_id", "incomplete", "bytes", "locks_version"]);

pub(super) static UPLOAD: Table = Table::new(
    "upload",
    &["id"],
    &["id", "repo_id", "account_id", "expires_ms", "pending", "closed", "quota", "reserved"],
);

pub(super) static RESERVATION: Table =
    Table::new("reservation", &["repo_id", "sha256"], &["repo_id", "sha256", "upload_id", "bytes"]);

pub(super) static UPLOAD_OBJECTS: Table =
    Table::new("upload_objects", &["upload_id"], &["upload_id", "objects"]);

pub(super) static MULTIPART: Table =
    Table::new("multipart", &["upload_id", "sha256"], &["upload_id", "sha256", "s3_id"]);

pub(super) static BACKING: Table = Table::new(
    "backing",
    &["id"],
    &["id", "sha256", "size", "upload_id", "proof", "state", "writable_until_ms", "not_before_ms"],
);

pub(super) static REPO_OBJECT: Table = Table::new(
    "repo_object",
    &["repo_id", "sha256"],
    &["repo_id", "sha256", "state", "backing_id", "size", "linked_ms", "account_id"],
);

pub(super) static LFS_LOCK: Table = Table::new(
    "lfs_lock",
    &["repo_id", "id"],
    &["repo_id", "id", "path", "account_id", "ref_name", "locked_ms"],
);

pub(super) static QUOTA: Table = Table::new("quota", &["folded"], &["folded", "bytes_max"]);

pub(super) static TOTAL: Table = Table::new("total", &["name"], &["name", "value"]);

pub(super) static ORG: Table = Table::new("org", &["id"], &["id", "name", "folded", "created_ms"]);

pub(super) static ORG_MEMBER: Table =
    Table::new("org_member", &["org_id", "account_id"], &["org_id", "account_id", "role"]);

pub(super) static REPO_HUB: Table =
    Table::new("repo_hub", &["repo_id"], &["repo_id", "creator", "gating", "discussions_disabled"]);

pub(super) static REPO_FACTS: Table =
    Table::new("repo_facts", &["repo_id"], &["repo_id", "commit_oid", "modified_ms", "tags", "facts"]);

pub(super) static XORB: Table = Table::new(
    "xorb",
    &["id"],
    &["id", "hash", "upload_id", "state", "chunks", "raw_bytes", "stored_bytes", "seen_ms", "not_before_ms"],
);

pub(super) static REPO_XORB: Table =
    Table::new("repo_xorb", &["repo_id", "xorb_id"], &["repo_id", "xorb_id"]);

pub(super) static XET_FILE: Table = Table::new("xet_file", &["id"], &["id", "hash", "size", "terms"]);

pub(super) static XET_FILE_XORB: Table =
    Table::new("xet_file_xorb", &["file_id", "xorb_id"], &["file_id", "xorb_id"]);

pub(super) static XET_BACKING: Table = Table::new("xet_backing", &["backing_id"], &["backing_id", "file_id"]);

pub(super) static DEDUP_KEY: Table = Table::new("dedup_key", &["chunk", "xorb_id"], &["chunk", "xorb_id"]);

pub(super) static XORB_GRANT: Table =
    Table::new("xorb_grant", &["id"], &["id", "repo_id", "hash", "size", "expires_ms", "taken"]);

pub(super) static WHOLE_COPY: Table = Table::new(
    "whole_copy",
    &["upload_id"],
    &["upload_id", "backing_id", "sha256", "size", "state", "staged_ms", "not_before_ms"],
);

pub(super) static DISCUSSION: Table = Table::new(
    "discussion",
    &["repo_id", "num"],
    &[
        "repo_id",
        "num",
        "status",
        "title",
        "account_id",
        "created_ms",
        "events",
        "comments",
        "bytes",
        "target",
        "merged",
        "merged_base",
        "merged_head",
    ],
);

pub(super) static DISCUSSION_EVENT: Table = Table::new(
    "discussion_event",
    &["repo_id", "num", "position"],
    &[
        "repo_id",
        "num",
        "position",
        "kind",
        "account_id",
        "at_ms",
        "edited_ms",
        "edits",
        "hidden",
        "status",
        "oid",
        "previous",
        "text",
    ],
);

pub(super) static DISCUSSION_EDIT: Table = Table::new(
    "discussion_edit",
    &["repo_id", "num", "position", "edit"],
    &["repo_id", "num", "position", "edit", "at_ms", "text"],
);

pub(super) static REPO_LIKE: Table =
    Table::new("repo_like", &["repo_id", "account_id"], &["repo_id", "account_id", "liked_ms"]);

pub(super) static ACCESS_REQUEST: Table = Table::new(
    "access_request",
    &["id"],
    &["id", "repo_id", "account_id", "status", "asked_ms", "granted", "fields", "reason"],
);

pub(super) static COLLECTION: Table = Table::new(
    "collection",
    &["id"],
    &["id", "folded", "title", "slug", "description", "private", "theme", "position", "updated_ms", "items"],
);

pub(super) static COLLECTION_ITEM: Table =
    Table::new("collection_item", &["id"], &["id", "collection_id", "repo_id", "position", "note"]);

pub(super) static REPO_RANK: Table = Table::new(
    "repo_rank",
    &["repo_id"],
    &[
        "repo_id",
        "kind",
        "visibility",
        "created_ms",
        "modified_ms",
        "likes",
        "downloads",
        "downloads_all",
        "trending",
    ],
);

pub(super) static DOWNLOAD_DAY: Table =
    Table::new("download_day", &["repo_id", "day"], &["repo_id", "day", "count"]);

pub(super) static TAG: Table =
    Table::new("tag", &["id"], &["id", "kind", "folded", "name", "shown", "repos"]);

pub(super) static REPO_TAG: Table = Table::new("repo_tag", &["tag_id", "repo_id"], &["tag_id", "repo_id"]);

pub(super) static BUCKET: Table = Table::new(
    "bucket",
    &["id"],
    &[
        "id",
        "namespace",
        "name",
        "folded",
        "visibility",
        "state",
        "acl_version",
        "creator",
        "created_ms",
        "files",
        "bytes",
        "spare_bytes",
        "version",
        "journaled",
    ],
);

pub(super) static BUCKET_REDIRECT: Table =
    Table::new("bucket_redirect", &["folded"], &["folded", "bucket_id"]);

pub(super) static BUCKET_FILE: Table = Table::new(
    "bucket_file",
    &["bucket_id", "path"],
    &["bucket_id", "path", "file_id", "size", "mtime_ms", "uploaded_ms", "content_type"],
);

pub(super) static BUCKET_SPARE: Table =
    Table::new("bucket_spare", &["bucket_id", "file_id"], &["bucket_id", "file_id", "since_ms", "uploaded"]);

pub(super) static BUCKET_XORB: Table =
    Table::new("bucket_xorb", &["bucket_id", "xorb_id"], &["bucket_id", "xorb_id"]);
pub(super) static WEBHOOK: Table = Table::new(
    "webhook",
    &["id"],
    &[
        "id",
        "account_id",
        "url",
        "secret",
        "domains",
        "state",
        "created_ms",
        "waiting",
        "due_ms",
        "failures",
        "given_up",
    ],
);

pub(super) static WEBHOOK_WATCH: Table = Table::new(
    "webhook_watch",
    &["kind", "target", "webhook_id"],
    &["kind", "target", "webhook_id", "position"],
);

pub(super) static WEBHOOK_EVENT: Table = Table::new(
    "webhook_event",
    &["id"],
    &[
        "id",
        "repo_id",
        "at_ms",
        "sort",
        "kind",
        "namespace",
        "name",
        "visibility",
        "gating",
        "owner",
        "head",
        "moved_namespace",
        "moved_name",
        "moved_owner",
        "refs",
        "refs_more",
        "set_visibility",
        "set_gating",
        "set_discussions_disabled",
        "num",
        "status",
        "position",
    ],
);

pub(super) static WEBHOOK_DELIVERY: Table = Table::new(
    "webhook_delivery",
    &["id"],
    &[
        "id",
        "key",
        "webhook_id",
        "event_id",
        "state",
        "queued_ms",
        "attempts",
        "tried_ms",
        "ended_ms",
        "status",
        "error",
    ],
);

pub(super) static TABLES: &[&Table] = &[
    &SEQUENCE,
    &ACCOUNT,
    &TOKEN,
    &REPO,
    &REDIRECT,
    &REF,
    &REF_LOG,
    &PACK,
    &PACK_SHARE,
    &SETTING,
    &REPO_LFS,
    &UPLOAD,
    &UPLOAD_OBJECTS,
    &RESERVATION,
    &MULTIPART,
    &BACKING,
    &REPO_OBJECT,
    &LFS_LOCK,
    &QUOTA,
    &TOTAL,
    &ORG,
    &ORG_MEMBER,
    &REPO_HUB,
    &REPO_FACTS,
    &XORB,
    &REPO_XORB,
    &XET_FILE,
    &XET_FILE_XORB,
    &XET_BACKING,
    &DEDUP_KEY,
    &XORB_GRANT,
    &WHOLE_COPY,
    &DISCUSSION,
    &DISCUSSION_EVENT,
    &DISCUSSION_EDIT,
    &REPO_LIKE,
    &ACCESS_REQUEST,
    &COLLECTION,
    &COLLECTION_ITEM,
    &REPO_RANK,
    &DOWNLOAD_DAY,
    &TAG,
    &REPO_TAG,
    &BUCKET,
    &BUCKET_REDIRECT,
    &BUCKET_FILE,
    &BUCKET_SPARE,
    &BUCKET_XORB,
    &WEBHOOK,
    &WEBHOOK_WATCH,
    &WEBHOOK_EVENT,
    &WEBHOOK_DELIVERY,
];

/// A table whose rows carry a checksum.
pub(super) struct Table {
    name: &'static str,
    /// Finds one row, by an index.
    key: &'static [&'static str],
    /// All but `crc`, in the order of the checksum.
    columns: &'static [&'static str],
    sql: OnceLock<Sql>,
}

/// Made once per table.
struct Sql {
    insert: String,
    replace: String,
    select: String,
}

impl Table {
    const fn new(
        name: &'static str,
        key: &'static [&'static str],
        columns: &'static [&'static str],
    ) -> Table {
        Table { name, key, columns, sql: OnceLock::new() }
    }

    /// Adds a row. `values` are those of all columns, in their order.
    pub(super) fn insert(&self, conn: &Connection, values: &[&dyn ToSql]) -> Result<()> {
        execute_sealed(conn, &self.sql().insert, values)?;
        Ok(())
    }

    /// Puts `values` in the place of the row with the same key, whatever that held. False if there is none.
    pub(super) fn replace(&self, conn: &Connection, values: &[&dyn ToSql]) -> Result<bool> {
        Ok(execute_sealed(conn, &self.sql().replace, values)? > 0)
    }

    /// Changes the rows that `condition` selects, and says how many there were.
    pub(super) fn change(
        &'static self,
        conn: &Connection,
        condition: &str,
        params: impl Params,
        change: impl Fn(&mut Record) -> Result<()>,
    ) -> Result<usize> {
        let mut records = self.records(conn, condition, params)?;
        for record in &mut records {
            change(record)?;
            record.write(conn)?;
        }
        Ok(records.len())
    }

    /// The row that `condition` selects, to be changed; the first if there are several.
    pub(super) fn record(
        &'static self,
        conn: &Connection,
        condition: &str,
        params: impl Params,
    ) -> Result<Option<Record>> {
        Ok(self.records(conn, condition, params)?.into_iter().next())
    }

    fn records(
        &'static self,
        conn: &Connection,
        condition: &str,
        params: impl Params,
    ) -> Result<Vec<Record>> {
        let mut statement = conn.prepare_cached(&format!("{} WHERE {condition}", self.sql().select))?;
        let records = statement.query_map(params, |row| {
            let values = (0..self.columns.len()).map(|index| row.get(index)).collect::<Result<_>>()?;
            Ok(Record { table: self, values, changes: Vec::new(), sound: self.is_sound(row)? })
        })?;
        records.collect()
    }

    /// A sentence for each row that is not what was written. Reads all of them.
    pub(super) fn check(&self, conn: &Connection) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut statement = conn.prepare(&self.sql().select)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !self.is_sound(row)? {
                let key: Vec<String> =
                    self.key.iter().map(|column| shown(row, column)).collect::<Result<_>>()?;
                findings.push(format!(
                    "the row of {} with {} is not as it was written: its checksum differs",
                    self.name,
                    key.join(", ")
                ));
            }
        }
        Ok(findings)
    }

    /// `row` is one of `Sql::select`.
    fn is_sound(&self, row: &Row<'_>) -> Result<bool> {
        let mut checksum = Checksum::default();
        for index in 0..self.columns.len() {
            checksum.add(row.get_ref(index)?);
        }
        let stored = row.get_ref(self.columns.len())?;
        Ok(stored == ValueRef::Integer(i64::from(checksum.finish())))
    }

    fn position(&self, column: &str) -> Result<usize> {
        let position = self.columns.iter().position(|known| *known == column);
        position.ok_or_else(|| Error::InvalidColumnName(format!("{}.{column}", self.name)))
    }

    fn sql(&self) -> &Sql {
        self.sql.get_or_init(|| {
            let Table { name, key, columns, .. } = self;
            // Parameters are numbered as the columns are, and the checksum comes after them.
            let numbered = |of_key: bool, separator: &str| {
                let chosen = columns.iter().enumerate().filter(|(_, column)| key.contains(column) == of_key);
                let terms: Vec<String> =
                    chosen.map(|(index, column)| format!("{column} = ?{}", index + 1)).collect();
                terms.join(separator)
            };
            let places: Vec<String> = (1..=columns.len() + 1).map(|number| format!("?{number}")).collect();
            let (all, crc) = (columns.join(", "), columns.len() + 1);
            Sql {
                insert: format!("INSERT INTO {name} ({all}, crc) VALUES ({})", places.join(", ")),
                replace: format!(
                    "UPDATE {name} SET {}, crc = ?{crc} WHERE {}",
                    numbered(false, ", "),
                    numbered(true, " AND ")
                ),
                select: format!("SELECT {all}, crc FROM {name}"),
            }
        })
    }
}

/// A row as it was read, and what is to change in it.
pub(super) struct Record {
    table: &'static Table,
    values: Vec<Value>,
    /// By position; at most one per column.
    changes: Vec<(usize, Value)>,
    sound: bool,
}

impl Record {
    /// As it was read.
    pub(super) fn get<T: FromSql>(&self, column: &str) -> Result<T> {
        let index = self.table.position(column)?;
        let value = ValueRef::from(&self.values[index]);
        T::column_result(value)
            .map_err(|error| Error::FromSqlConversionFailure(index, value.data_type(), Box::new(error)))
    }

    /// As it will be when it is written.
    pub(super) fn get_new<T: FromSql>(&self, column: &str) -> Result<T> {
        let index = self.table.position(column)?;
        let changed = self.changes.iter().find(|(changed, _)| *changed == index);
        let value = ValueRef::from(changed.map_or(&self.values[index], |(_, value)| value));
        T::column_result(value)
            .map_err(|error| Error::FromSqlConversionFailure(index, value.data_type(), Box::new(error)))
    }

    /// Not written yet. A column set to what it holds is not written at all, and neither are indexes over it.
    pub(super) fn set(&mut self, column: &str, value: impl ToSql) -> Result<()> {
        let index = self.table.position(column)?;
        let value = borrowed(&value.to_sql()?)?.try_into()?;
        self.changes.retain(|(changed, _)| *changed != index);
        if self.values[index] != value {
            self.changes.push((index, value));
        }
        Ok(())
    }

    /// Writes what was set. Once: the row is then no longer what was read.
    pub(super) fn write(&mut self, conn: &Connection) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let Table { name, key, columns, .. } = self.table;
        let set: String =
            self.changes.iter().map(|(index, _)| format!("{} = ?, ", columns[*index])).collect();
        let found: Vec<String> = key.iter().map(|column| format!("{column} = ?")).collect();
        let sql = format!("UPDATE {name} SET {set}crc = ? WHERE {}", found.join(" AND "));
        let crc = Value::from(self.crc());
        let key: Vec<&Value> =
            key.iter().map(|column| Ok(&self.values[self.table.position(column)?])).collect::<Result<_>>()?;
        let changes = self.changes.iter().map(|(_, value)| value);
        conn.prepare_cached(&sql)?
            .execute(params_from_iter(changes.chain(std::iter::once(&crc)).chain(key)))?;
        Ok(())
    }

    /// Of the row with its changes; a wrong one if the row was damaged before.
    fn crc(&self) -> i32 {
        let mut checksum = Checksum::default();
        for (index, value) in self.values.iter().enumerate() {
            let changed = self.changes.iter().find(|(changed, _)| *changed == index);
            checksum.add(changed.map_or(value, |(_, value)| value).into());
        }
        let crc = checksum.finish();
        if self.sound { crc } else { !crc }
    }
}

/// Runs `sql` with `values` and, behind them, their checksum.
fn execute_sealed(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize> {
    let mut values: Vec<ToSqlOutput<'_>> =
        values.iter().map(|value| value.to_sql()).collect::<Result<_>>()?;
    let mut checksum = Checksum::default();
    for value in &values {
        checksum.add(borrowed(value)?);
    }
    values.push(checksum.finish().into());
    conn.prepare_cached(sql)?.execute(params_from_iter(values))
}

/// What SQLite would read back.
fn borrowed<'a>(value: &'a ToSqlOutput<'_>) -> Result<ValueRef<'a>> {
    match value {
        ToSqlOutput::Borrowed(value) => Ok(*value),
        ToSqlOutput::Owned(value) => Ok(value.into()),
        other => Err(Error::ToSqlConversionFailure(format!("{other:?} is no plain value").into())),
    }
}

fn shown(row: &Row<'_>, column: &str) -> Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => format!("{column} NULL"),
        ValueRef::Integer(number) => format!("{column} {number}"),
        ValueRef::Real(number) => format!("{column} {number}"),
        ValueRef::Text(text) => format!("{column} '{}'", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("{column} {hex}")
        }
    })
}

/// Each value goes in with its type and, where it varies, its length: no two rows look the same.
#[derive(Default)]
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.update(&[0]),
            ValueRef::Integer(number) => self.fixed(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.fixed(2, number.to_le_bytes()),
            ValueRef::Text(bytes) => self.varying(3, bytes),
            ValueRef::Blob(bytes) => self.varying(4, bytes),
        }
    }

    fn fixed(&mut self, sort: u8, bytes: [u8; 8]) {
        self.0.update(&[sort]);
        self.0.update(&bytes);
    }

    fn varying(&mut self, sort: u8, bytes: &[u8]) {
        self.fixed(sort, (bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Signed, as it fits a column of 32 bits.
    fn finish(self) -> i32 {
        self.0.finalize().cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;
    use crate::{Clock, Database};

    fn rows() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.db");
        drop(Database::open(&file, Clock::default()).unwrap());
        (directory, Connection::open(file).unwrap())
    }

    #[test]
    fn every_column_of_every_table_is_covered() {
        let (_directory, conn) = rows();
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND name NOT LIKE '%_text' AND name NOT LIKE '%_text_%' ORDER BY name";
        let names = |sql: &str| -> Vec<String> {
            conn.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        tables.sort_unstable();
        assert_eq!(names(sql), tables);
        for table in TABLES {
            let mut columns = names(&format!("SELECT name FROM pragma_table_info('{}')", table.name));
            columns.retain(|column| column != "crc");
            assert_eq!(columns, table.columns);
            assert!(table.key.iter().all(|column| table.columns.contains(column)));
        }
    }

    #[test]
    fn the_rows_of_the_schema_are_sealed() {
        let (_directory, conn) = rows();
        assert_eq!(SEQUENCE.check(&conn).unwrap(), Vec::<String>::new());
        let sequences: i64 = conn.query_row("SELECT count(*) FROM sequence", [], |row| row.get(0)).unwrap();
        assert_eq!(sequences, 15);
    }

    #[test]
    fn what_is_written_is_sound_however_it_is_written() {
        let (_directory, conn) = rows();
        SETTING.insert(&conn, &[&"a", &"1"]).unwrap();
        assert!(SETTING.replace(&conn, &[&"a", &"2"]).unwrap());
        assert!(!SETTING.replace(&conn, &[&"b", &"2"]).unwrap());
        let changed = SETTING.change(&conn, "name = ?1", ["a"], |row| row.set("value", "3")).unwrap();
        assert_eq!((changed, SETTING.check(&conn).unwrap()), (1, vec![]));
        let row = SETTING.record(&conn, "name = ?1", ["a"]).unwrap().unwrap();
        assert_eq!(row.get::<String>("value").unwrap(), "3");
        assert!(row.get::<i64>("value").is_err() && row.get::<i64>("valeu").is_err());
    }

    #[test]
    fn a_change_beside_the_damage_does_not_cover_it() {
        let (_directory, conn) = rows();
        ACCOUNT.insert(&conn, &[&1, &"A", &"a", &false, &false, &0]).unwrap();
        conn.execute("UPDATE account SET admin = 1", []).unwrap();
        let finding = ["the row of account with id 1 is not as it was written: its checksum differs"];
        assert_eq!(ACCOUNT.check(&conn).unwrap(), finding);
        ACCOUNT.change(&conn, "id = ?1", params![1], |row| row.set("disabled", true)).unwrap();
        assert_eq!(ACCOUNT.check(&conn).unwrap(), finding);
        ACCOUNT.replace(&conn, &[&1, &"A", &"a", &false, &true, &0]).unwrap();
        assert_eq!(ACCOUNT.check(&conn).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn values_that_look_alike_differ() {
        let sum = |values: &[ValueRef<'_>]| {
            let mut checksum = Checksum::default();
            values.iter().for_each(|value| checksum.add(*value));
            checksum.finish()
        };
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        assert_ne!(sum(&[text("ab"), text("c")]), sum(&[text("a"), text("bc")]));
        assert_ne!(sum(&[text("a")]), sum(&[ValueRef::Blob(b"a")]));
        assert_ne!(sum(&[ValueRef::Null]), sum(&[ValueRef::Integer(0)]));
        assert_ne!(sum(&[text(""), ValueRef::Null]), sum(&[ValueRef::Null, text("")]));
    }
}
