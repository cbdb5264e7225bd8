//! Likes: a mark that a user leaves on a repository they may see.

use auth::{Authorized, Discover, Identity};
use database::RepoId;
use serde_json::{Value, json};

use crate::dates::iso;
use crate::listing::Page;
use crate::repos::{id, kind_name};
use crate::{Hub, HubError};

const PAGE: u32 = 500;
/// Further back nobody looks.
const OFFSET_MAX: u32 = 1_000_000;

impl Hub {
    /// Said again it changes nothing.
    pub async fn like(&self, identity: &Identity, repo: RepoId, likes: bool) -> Result<(), HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        if principal.role == database::TokenRole::Read {
            return Err(HubError::Forbidden("a token that may write is needed to like something".to_owned()));
        }
        match self.0.database.set_like(repo, principal.user.id, likes).await? {
            true => Ok(()),
            false => Err(HubError::RepoNotFound),
        }
    }

    /// The latest first.
    pub fn likers(&self, access: &Authorized<Discover>, cursor: Option<&str>) -> Result<Page, HubError> {
        let offset = offset(cursor)?;
        let likers = self.0.database.likers(access.repo_id(), offset, PAGE)?;
        let liker = |(name, liked_ms): &(database::Namespace, i64)| {
            let name = name.as_str();
            json!({
                "user": name, "fullname": name, "avatarUrl": "", "type": "user", "isPro": false, "likedAt": iso(*liked_ms),
            })
        };
        Ok(page(likers.iter().map(liker).collect(), offset))
    }

    /// Of these, what whoever asks may see.
    pub fn user_likes(
        &self,
        identity: &Identity,
        name: &str,
        cursor: Option<&str>,
    ) -> Result<Page, HubError> {
        self.may_look(identity)?;
        let user = self.0.database.user(name)?.filter(|user| !user.disabled);
        let user = user.ok_or_else(|| HubError::NotFound("User not found".to_owned()))?;
        let (offset, seen) = (offset(cursor)?, auth::seen(self.0.settings.auth, identity));
        let likes = self.0.database.likes(user.id, &seen, offset, PAGE)?;
        let like = |(repo, liked_ms): &(database::Repo, i64)| {
            json!({
                "createdAt": iso(*liked_ms),
                "repo": { "name": id(&repo.path), "type": kind_name(repo.path.kind) },
            })
        };
        Ok(page(likes.iter().map(like).collect(), offset))
    }
}

fn offset(cursor: Option<&str>) -> Result<u32, HubError> {
    let offset = cursor.map_or(Ok(0), str::parse);
    let offset = offset.ok().filter(|offset| *offset <= OFFSET_MAX);
    offset.ok_or_else(|| HubError::Invalid("this cursor is not one of ours".to_owned()))
}

fn page(items: Vec<Value>, offset: u32) -> Page {
    let cursor = (items.len() == PAGE as usize).then(|| (offset + PAGE).to_string());
    Page { items, cursor }
}
