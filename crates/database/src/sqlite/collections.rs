//! Collections of repositories.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{COLLECTION, COLLECTION_ITEM};
use super::repos::{repo, repo_sql};
use super::{CreateError, Database, DbError, all, next_id, search, users};
use crate::{
    COLLECTION_ITEMS_MAX, COLLECTIONS_MAX, Collected, Collection, CollectionEdit, CollectionId,
    CollectionItem, CollectionItemId, Collections, Namespace, NewCollection, RepoId, Seen,
};

impl Database {
    /// The last of its namespace. One that has the same title is returned as it is.
    pub async fn create_collection(&self, new: NewCollection) -> Result<Collected<Collection>, CreateError> {
        self.write(move |conn, now_ms| {
            let folded = new.namespace.folded();
            if users::namespace_by_folded(conn, &folded)?.is_none() {
                return Err(CreateError::NoUser);
            }
            if let Some(there) = by_title(conn, &folded, &new.title)? {
                return Ok(Collected::There(there));
            }
            let sql = "SELECT count(*), coalesce(max(position) + 1, 0) FROM collection WHERE folded = ?1";
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            let (count, position) = conn.prepare_cached(sql)?.query_row([&folded], read)?;
            if count >= COLLECTIONS_MAX {
                return Ok(Collected::TooMany);
            }
            let id = CollectionId(next_id(conn, "collection")?);
            let NewCollection { title, slug, description, private, theme, .. } = &new;
            let row: [&dyn rusqlite::ToSql; 10] =
                [&id, &folded, title, slug, description, private, theme, &position, &now_ms, &0];
            COLLECTION.insert(conn, &row)?;
            let made = by_id(conn, id)?;
            Ok(made.map_or(Collected::Gone, Collected::Done))
        })
        .await
    }

    pub fn collection(&self, id: CollectionId) -> Result<Option<Collection>, DbError> {
        self.read(|conn| by_id(conn, id))
    }

    /// One of the same title may be in the way.
    pub async fn edit_collection(
        &self,
        id: CollectionId,
        edit: CollectionEdit,
    ) -> Result<Collected<Collection>, DbError> {
        self.write(move |conn, now_ms| {
            let Some(mut row) = COLLECTION.record(conn, "id = ?1", [id])? else { return Ok(Collected::Gone) };
            if let Some((title, slug)) = &edit.title {
                let other = by_title(conn, &row.get::<String>("folded")?, title)?;
                if let Some(other) = other.filter(|other| other.id != id) {
                    return Ok(Collected::There(other));
                }
                row.set("title", title)?;
                row.set("slug", slug)?;
            }
            if let Some(description) = &edit.description {
                row.set("description", Some(description).filter(|text| !text.is_empty()))?;
            }
            if let Some(private) = edit.private {
                row.set("private", private)?;
            }
            if let Some(theme) = &edit.theme {
                row.set("theme", theme)?;
            }
            if let Some(position) = edit.position {
                row.set("position", position)?;
            }
            row.set("updated_ms", now_ms)?;
            row.write(conn)?;
            Ok(by_id(conn, id)?.map_or(Collected::Gone, Collected::Done))
        })
        .await
    }

    /// False if there is none.
    pub async fn delete_collection(&self, id: CollectionId) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            conn.prepare_cached("DELETE FROM collection_item WHERE collection_id = ?1")?.execute([id])?;
            Ok(conn.prepare_cached("DELETE FROM collection WHERE id = ?1")?.execute([id])? > 0)
        })
        .await
    }

    /// Behind all others.
    pub async fn collect(
        &self,
        id: CollectionId,
        repo: RepoId,
        note: Option<String>,
    ) -> Result<Collected<()>, DbError> {
        self.write(move |conn, now_ms| {
            let live = "SELECT 1 FROM repo WHERE id = ?1 AND state = 0";
            let Some(mut row) = COLLECTION.record(conn, "id = ?1", [id])? else { return Ok(Collected::Gone) };
            if !conn.prepare_cached(live)?.exists([repo])? {
                return Ok(Collected::Gone);
            }
            let there = "SELECT 1 FROM collection_item WHERE collection_id = ?1 AND repo_id = ?2";
            if conn.prepare_cached(there)?.exists(params![id, repo])? {
                return Ok(Collected::There(()));
            }
            let items: i64 = row.get("items")?;
            if items >= COLLECTION_ITEMS_MAX {
                return Ok(Collected::TooMany);
            }
            let item = CollectionItemId(next_id(conn, "collection_item")?);
            COLLECTION_ITEM.insert(conn, &[&item, &id, &repo, &items, &note])?;
            row.set("items", items + 1)?;
            row.set("updated_ms", now_ms)?;
            row.write(conn)?;
            Ok(Collected::Done(()))
        })
        .await
    }

    /// Others make room for one that is moved. False if there is no such item.
    pub async fn edit_item(
        &self,
        id: CollectionId,
        item: CollectionItemId,
        note: Option<String>,
        position: Option<i64>,
    ) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let found = COLLECTION_ITEM.record(conn, "id = ?1 AND collection_id = ?2", params![item, id])?;
            let Some(mut row) = found else { return Ok(false) };
            if let Some(note) = note {
                row.set("note", Some(note).filter(|note| !note.is_empty()))?;
                row.write(conn)?;
            }
            if let Some(position) = position {
                let mut order = order(conn, id)?;
                order.retain(|other| *other != item);
                let place = usize::try_from(position).unwrap_or(0).min(order.len());
                order.insert(place, item);
                number(conn, &order)?;
            }
            touch(conn, id, 0, now_ms)?;
            Ok(true)
        })
        .await
    }

    /// False if there is no such item.
    pub async fn drop_item(&self, id: CollectionId, item: CollectionItemId) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let sql = "DELETE FROM collection_item WHERE id = ?1 AND collection_id = ?2";
            if conn.prepare_cached(sql)?.execute(params![item, id])? == 0 {
                return Ok(false);
            }
            number(conn, &order(conn, id)?)?;
            touch(conn, id, -1, now_ms)?;
            Ok(true)
        })
        .await
    }

    /// Those of them that may be `seen`, in order, at most `limit`.
    pub fn collection_items(
        &self,
        id: CollectionId,
        seen: &Seen,
        limit: u32,
    ) -> Result<Vec<CollectionItem>, DbError> {
        let mut values = search::Values::default();
        let id = values.add(id.0);
        let seen = search::seen(seen, "r", &mut values);
        let limit = values.add(i64::from(limit));
        let sql = format!(
            "{}, i.id, i.position, i.note FROM collection_item i CROSS JOIN repo r ON r.id = i.repo_id AND r.state = 0
             LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id LEFT JOIN repo_hub h ON h.repo_id = r.id
             WHERE i.collection_id = {id} AND {seen} ORDER BY i.position, i.id LIMIT {limit}",
            repo_sql!(@columns)
        );
        let item = |row: &Row<'_>| {
            Ok(CollectionItem {
                id: row.get(16)?,
                repo: repo(row)?,
                position: row.get(17)?,
                note: row.get(18)?,
            })
        };
        self.read(|conn| all(conn, &sql, values.params(), item))
    }

    /// Those that may be seen, changed last first. `seen` says which private ones, and what in them counts.
    pub fn collections(&self, asked: &Collections) -> Result<Vec<Collection>, DbError> {
        let mut values = search::Values::default();
        let mut terms = Vec::new();
        match &asked.seen {
            Seen::All => {}
            Seen::None => terms.push("0".to_owned()),
            Seen::Public { and_namespaces } => {
                let mine: Vec<String> = and_namespaces.iter().map(|name| values.add(name.clone())).collect();
                terms.push(format!("(c.private = 0 OR c.folded IN ({}))", mine.join(", ")));
            }
        }
        if !asked.owners.is_empty() {
            let owners: Vec<String> = asked.owners.iter().map(|name| values.add(name.clone())).collect();
            terms.push(format!("c.folded IN ({})", owners.join(", ")));
        }
        if !asked.with.is_empty() {
            let with: Vec<String> = asked.with.iter().map(|id| values.add(id.0)).collect();
            terms.push(format!(
                "c.id IN (SELECT collection_id FROM collection_item WHERE repo_id IN ({}))",
                with.join(", ")
            ));
        }
        terms.push("1".to_owned());
        let (limit, offset) = (values.add(i64::from(asked.limit)), values.add(i64::from(asked.offset)));
        let sql = format!(
            "{COLUMNS} WHERE {} ORDER BY c.updated_ms DESC, c.id DESC LIMIT {limit} OFFSET {offset}",
            terms.join(" AND ")
        );
        self.read(|conn| all(conn, &sql, values.params(), collection))
    }
}

/// With the name as its owner spells it.
const COLUMNS: &str = "SELECT c.id, coalesce((SELECT a.name FROM account a WHERE a.folded = c.folded),
    (SELECT o.name FROM org o WHERE o.folded = c.folded), c.folded), c.title, c.slug, c.description, c.private, c.theme,
    c.position, c.updated_ms FROM collection c";

fn collection(row: &Row<'_>) -> rusqlite::Result<Collection> {
    Ok(Collection {
        id: row.get(0)?,
        namespace: Namespace::from_row(row.get(1)?),
        title: row.get(2)?,
        slug: row.get(3)?,
        description: row.get(4)?,
        private: row.get(5)?,
        theme: row.get(6)?,
        position: row.get(7)?,
        updated_ms: row.get(8)?,
    })
}

fn by_id(conn: &Connection, id: CollectionId) -> Result<Option<Collection>, DbError> {
    let sql = format!("{COLUMNS} WHERE c.id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id], collection).optional()?)
}

fn by_title(conn: &Connection, folded: &str, title: &str) -> Result<Option<Collection>, DbError> {
    let sql = format!("{COLUMNS} WHERE c.folded = ?1 AND c.title = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row([folded, title], collection).optional()?)
}

fn order(conn: &Connection, id: CollectionId) -> Result<Vec<CollectionItemId>, DbError> {
    let sql = "SELECT id FROM collection_item WHERE collection_id = ?1 ORDER BY position, id";
    all(conn, sql, [id], |row| row.get(0))
}

fn number(conn: &Connection, order: &[CollectionItemId]) -> Result<(), DbError> {
    for (position, item) in order.iter().enumerate() {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        COLLECTION_ITEM.change(conn, "id = ?1", [item], |row| row.set("position", position))?;
    }
    Ok(())
}

fn touch(conn: &Connection, id: CollectionId, more: i64, now_ms: i64) -> rusqlite::Result<()> {
    let change = |row: &mut super::checksum::Record| {
        row.set("items", row.get::<i64>("items")? + more)?;
        row.set("updated_ms", now_ms)
    };
    COLLECTION.change(conn, "id = ?1", [id], change).map(drop)
}

/// A repo that goes leaves all collections.
pub(super) fn forget(conn: &Connection, repo: RepoId) -> Result<(), DbError> {
    let sql = "SELECT collection_id, id FROM collection_item WHERE repo_id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<_, CollectionId>(0)?, row.get::<_, CollectionItemId>(1)?));
    for (collection, item) in all(conn, sql, [repo], row)? {
        conn.prepare_cached("DELETE FROM collection_item WHERE id = ?1")?.execute([item])?;
        number(conn, &order(conn, collection)?)?;
        COLLECTION
            .change(conn, "id = ?1", [collection], |row| row.set("items", row.get::<i64>("items")? - 1))?;
    }
    Ok(())
}
