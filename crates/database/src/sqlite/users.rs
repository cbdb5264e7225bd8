//! Users, their tokens, and the node's settings.

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::{ACCOUNT, SETTING, TOKEN};
use super::{CreateError, Database, DbError, all, buckets, next_id, orgs, repos};
use crate::{Namespace, Token, TokenId, TokenRole, User, UserId};

impl Database {
    /// Taken if a user or an organisation of that folded name exists.
    pub async fn create_user(&self, name: Namespace, admin: bool) -> Result<User, CreateError> {
        self.write(move |conn, now_ms| {
            if namespace_by_folded(conn, &name.folded())?.is_some() {
                return Err(CreateError::Taken);
            }
            let id = UserId(next_id(conn, "account")?);
            ACCOUNT.insert(conn, &[&id, &name.as_str(), &name.folded(), &admin, &false, &now_ms])?;
            Ok(User { id, name, admin, disabled: false, created_ms: now_ms })
        })
        .await
    }

    /// By name in any case.
    pub fn user(&self, name: &str) -> Result<Option<User>, DbError> {
        let folded = name.to_ascii_lowercase();
        self.read(|conn| user_by_folded(conn, &folded))
    }

    pub fn user_by_id(&self, id: UserId) -> Result<Option<User>, DbError> {
        let sql = "SELECT u.id, u.name, u.admin, u.disabled, u.created_ms FROM account u WHERE u.id = ?1";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], |row| user_at(row, 0)).optional()?))
    }

    /// Those with `part`, folded, in their name, that are not disabled; who begins with it comes first.
    pub fn users_like(&self, part: &str, limit: u32) -> Result<Vec<User>, DbError> {
        let sql = "SELECT u.id, u.name, u.admin, u.disabled, u.created_ms FROM account u
                   WHERE u.disabled = 0 AND instr(u.folded, ?1) > 0 ORDER BY instr(u.folded, ?1), u.folded LIMIT ?2";
        self.read(|conn| all(conn, sql, rusqlite::params![part, limit], |row| user_at(row, 0)))
    }

    /// All of them, in order of their folded names.
    pub fn users(&self) -> Result<Vec<User>, DbError> {
        let sql = "SELECT u.id, u.name, u.admin, u.disabled, u.created_ms FROM account u ORDER BY u.folded";
        self.read(|conn| all(conn, sql, [], |row| user_at(row, 0)))
    }

    /// False if there is no such user. Bumps `acl_version` of the user's repos and buckets.
    pub async fn set_user_disabled(&self, user: UserId, disabled: bool) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let Some(mut account) = ACCOUNT.record(conn, "id = ?1", [user])? else { return Ok(false) };
            account.set("disabled", disabled)?;
            account.write(conn)?;
            let folded: String = account.get("folded")?;
            repos::bump_acl_of_namespace(conn, &folded)?;
            buckets::bump_acl_of_namespace(conn, &folded)?;
            Ok(true)
        })
        .await
    }

    /// `hash` is SHA-256 of the token. Taken if the hash exists.
    pub async fn create_token(
        &self,
        user: UserId,
        name: String,
        role: TokenRole,
        hash: [u8; 32],
    ) -> Result<TokenId, CreateError> {
        self.write(move |conn, now_ms| {
            let known = |sql| conn.prepare_cached(sql);
            if !known("SELECT 1 FROM account WHERE id = ?1")?.exists([user])? {
                return Err(CreateError::NoUser);
            }
            if known("SELECT 1 FROM token WHERE hash = ?1")?.exists([&hash[..]])? {
                return Err(CreateError::Taken);
            }
            let id = TokenId(next_id(conn, "token")?);
            TOKEN.insert(conn, &[&id, &user, &name, &role, &&hash[..], &now_ms, &false])?;
            Ok(id)
        })
        .await
    }

    /// Also finds revoked tokens and those of disabled users: the caller decides.
    pub fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, DbError> {
        self.0.known.tokens.get(*hash, |hash| {
            self.read(|conn| {
                let sql = concat!(token_sql!(), "WHERE t.hash = ?1");
                Ok(conn.prepare_cached(sql)?.query_row([&hash[..]], token).optional()?)
            })
        })
    }

    /// As [`Database::token_by_hash`], with the hash.
    pub fn token_by_id(&self, id: TokenId) -> Result<Option<(Token, [u8; 32])>, DbError> {
        self.0.known.tokens_by_id.get(id, |id| {
            self.read(|conn| {
                let sql = "SELECT hash FROM token WHERE id = ?1";
                let hash: Option<[u8; 32]> =
                    conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
                let sql = concat!(token_sql!(), "WHERE t.id = ?1");
                let token = conn.prepare_cached(sql)?.query_row([id], token).optional()?;
                Ok(token.zip(hash))
            })
        })
    }

    /// Oldest first, revoked ones too.
    pub fn tokens(&self, user: UserId) -> Result<Vec<Token>, DbError> {
        let sql = concat!(token_sql!(), "WHERE t.account_id = ?1 ORDER BY t.id");
        self.read(|conn| all(conn, sql, [user], token))
    }

    /// False if there is no such token. The next read sees it.
    pub async fn revoke_token(&self, token: TokenId) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            Ok(TOKEN.change(conn, "id = ?1", [token], |row| row.set("revoked", true))? == 1)
        })
        .await
    }

    /// A small named value of the node (capability probes, last GC …).
    pub fn setting(&self, name: &str) -> Result<Option<String>, DbError> {
        self.read(|conn| {
            let sql = "SELECT value FROM setting WHERE name = ?1";
            Ok(conn.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?)
        })
    }

    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), DbError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |conn, _| {
            if !SETTING.replace(conn, &[&name, &value])? {
                SETTING.insert(conn, &[&name, &value])?;
            }
            Ok(())
        })
        .await
    }
}

/// Finds a user within a transaction or a read.
pub(super) fn user_by_folded(conn: &Connection, folded: &str) -> Result<Option<User>, DbError> {
    let sql = "SELECT u.id, u.name, u.admin, u.disabled, u.created_ms FROM account u WHERE u.folded = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([folded], |row| user_at(row, 0)).optional()?)
}

/// The name of the user or organisation, as it is spelled.
pub(super) fn namespace_by_folded(conn: &Connection, folded: &str) -> Result<Option<Namespace>, DbError> {
    if let Some(user) = user_by_folded(conn, folded)? {
        return Ok(Some(user.name));
    }
    Ok(orgs::by_folded(conn, folded)?.map(|org| org.name))
}

macro_rules! token_sql {
    () => {
        "SELECT t.id, t.name, t.role, t.created_ms, t.revoked, u.id, u.name, u.admin, u.disabled, u.created_ms
         FROM token t JOIN account u ON u.id = t.account_id "
    };
}
use token_sql;

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        created_ms: row.get(3)?,
        revoked: row.get(4)?,
        user: user_at(row, 5)?,
    })
}

/// The columns of a user from column `first` on.
fn user_at(row: &Row<'_>, first: usize) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(first)?,
        name: Namespace::from_row(row.get(first + 1)?),
        admin: row.get(first + 2)?,
        disabled: row.get(first + 3)?,
        created_ms: row.get(first + 4)?,
    })
}
