//! Collections: repositories that somebody puts together, under a title of theirs. What is in one is shown to whoever may
//! see it there anyway.

use auth::Identity;
use database::{
    Collected, Collection, CollectionEdit, CollectionId, CollectionItem, CollectionItemId, Collections,
    CreateError, Namespace, NewCollection, RepoId, RepoKind, RepoPath,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dates::iso;
use crate::listing::Page;
use crate::repos::{id as repo_id, kind_name};
use crate::{Hub, HubError};

/// In a list, that many items of each are shown.
const ITEMS_LISTED: u32 = 4;
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 100;
const OFFSET_MAX: u32 = 100_000;
const TITLE_CHARS_MAX: usize = 60;
const DESCRIPTION_CHARS_MAX: usize = 150;
const NOTE_CHARS_MAX: usize = 500;
const THEMES: &[&str] = &["orange", "blue", "green", "purple", "pink", "indigo"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    pub title: String,
    pub namespace: Option<String>,
    pub description: Option<String>,
    pub private: Option<bool>,
    pub resource_group_id: Option<String>,
    /// To begin with.
    pub item: Option<Item>,
}

#[derive(Debug, Deserialize)]
pub struct Item {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Deserialize)]
pub struct Edit {
    pub title: Option<String>,
    pub description: Option<String>,
    pub private: Option<bool>,
    pub theme: Option<String>,
    pub position: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Add {
    pub item: Item,
    pub note: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct EditItem {
    pub note: Option<String>,
    pub position: Option<i64>,
}

/// Which to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub owners: Vec<String>,
    /// `models/acme/x`
    pub items: Vec<String>,
    pub sort: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

impl Hub {
    pub fn list_collections(&self, identity: &Identity, query: &Query) -> Result<Page, HubError> {
        self.may_look(identity)?;
        match query.sort.as_deref() {
            // Nobody votes here, so that all have as many votes, and are in this order again.
            None | Some("lastModified" | "trending" | "upvotes") => {}
            Some(_) => {
                return Err(HubError::Invalid("sort is lastModified, trending or upvotes".to_owned()));
            }
        }
        let seen = auth::seen(self.0.settings.auth, identity);
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let offset = query.cursor.as_deref().map_or(Ok(0), str::parse);
        let offset = offset.ok().filter(|offset| *offset <= OFFSET_MAX);
        let offset = offset.ok_or_else(|| HubError::Invalid("this cursor is not one of ours".to_owned()))?;
        let mut with = Vec::new();
        for item in &query.items {
            with.extend(self.item_named(identity, item)?);
        }
        if with.is_empty() && !query.items.is_empty() {
            return Ok(Page { items: Vec::new(), cursor: None });
        }
        let owners = query.owners.iter().map(|owner| owner.to_ascii_lowercase()).collect();
        let asked = Collections { seen: seen.clone(), owners, with, limit, offset };
        let found = self.0.database.collections(&asked)?;
        let cursor = (found.len() == limit as usize).then(|| (offset + limit).to_string());
        let mut rows = Vec::with_capacity(found.len());
        for collection in &found {
            let items = self.0.database.collection_items(collection.id, &seen, ITEMS_LISTED)?;
            let mut row = document(collection, &items);
            // Clients number the rows of a list themselves, and fall over a number that is there.
            if let Value::Object(fields) = &mut row {
                fields.remove("position");
            }
            rows.push(row);
        }
        Ok(Page { items: rows, cursor })
    }

    pub fn collection(&self, identity: &Identity, slug: &str) -> Result<Value, HubError> {
        let collection = self.seen_collection(identity, slug)?;
        self.collection_document(identity, &collection)
    }

    /// One of this title that is there already is named in the error.
    pub async fn create_collection(&self, identity: &Identity, create: Create) -> Result<Value, HubError> {
        let principal = identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        if create.resource_group_id.is_some() {
            return Err(HubError::NotImplemented("this hub does not support resource groups".to_owned()));
        }
        let name = create.namespace.as_deref().unwrap_or(principal.user.name.as_str());
        let namespace: Namespace =
            name.parse().map_err(|error: database::NameError| HubError::Invalid(error.to_string()))?;
        may_edit(identity, &namespace)?;
        let title = title(&create.title)?;
        let first = create.item.as_ref().map(|item| self.repo_of(identity, item)).transpose()?;
        let new = NewCollection {
            namespace,
            slug: slug_of(&title),
            title,
            description: description(create.description)?.filter(|text| !text.is_empty()),
            private: create.private.unwrap_or(false),
            theme: "blue".to_owned(),
        };
        let made = self.0.database.create_collection(new).await;
        let collection = match made {
            Ok(Collected::Done(collection)) => collection,
            Ok(Collected::There(collection)) => return Err(there(&collection)),
            Ok(Collected::TooMany) => {
                return Err(HubError::Forbidden(
                    "this namespace has as many collections as one may".to_owned(),
                ));
            }
            Ok(Collected::Gone) => return Err(missing()),
            Err(CreateError::NoUser) => return Err(HubError::NotFound("Namespace not found".to_owned())),
            Err(other) => return Err(other.into()),
        };
        if let Some(repo) = first {
            self.add_to(&collection, repo, None).await?;
        }
        self.collection_document(identity, &collection)
    }

    pub async fn edit_collection(
        &self,
        identity: &Identity,
        slug: &str,
        edit: Edit,
    ) -> Result<Value, HubError> {
        let collection = self.own_collection(identity, slug)?;
        if edit.theme.as_ref().is_some_and(|theme| !THEMES.contains(&theme.as_str())) {
            return Err(HubError::Invalid(format!("theme is one of {}", THEMES.join(", "))));
        }
        let title = edit.title.as_deref().map(self::title).transpose()?;
        let changes = CollectionEdit {
            title: title.map(|title| (title.clone(), slug_of(&title))),
            description: description(edit.description)?,
            private: edit.private,
            theme: edit.theme,
            position: edit.position.map(|position| position.max(0)),
        };
        match self.0.database.edit_collection(collection.id, changes).await? {
            Collected::Done(collection) => self.collection_document(identity, &collection),
            Collected::There(other) => Err(there(&other)),
            Collected::Gone | Collected::TooMany => Err(missing()),
        }
    }

    pub async fn delete_collection(&self, identity: &Identity, slug: &str) -> Result<(), HubError> {
        let collection = self.own_collection(identity, slug)?;
        match self.0.database.delete_collection(collection.id).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    pub async fn add_item(&self, identity: &Identity, slug: &str, add: Add) -> Result<Value, HubError> {
        let collection = self.own_collection(identity, slug)?;
        let (repo, note) = (self.repo_of(identity, &add.item)?, note(add.note)?);
        self.add_to(&collection, repo, note.filter(|note| !note.is_empty())).await?;
        let collection = self.0.database.collection(collection.id)?.ok_or_else(missing)?;
        self.collection_document(identity, &collection)
    }

    /// Which repository an item names; one that may not be seen is as good as none.
    fn repo_of(&self, identity: &Identity, item: &Item) -> Result<RepoId, HubError> {
        let kind = match item.kind.as_str() {
            "model" => RepoKind::Model,
            "dataset" => RepoKind::Dataset,
            "space" => RepoKind::Space,
            "paper" | "collection" | "bucket" => {
                return Err(HubError::NotImplemented(
                    "collections of this hub hold models, datasets and Spaces only".to_owned(),
                ));
            }
            _ => return Err(HubError::Invalid("the type of an item is model, dataset or space".to_owned())),
        };
        let name = item.id.strip_prefix("datasets/").or(item.id.strip_prefix("spaces/")).unwrap_or(&item.id);
        let missing = || {
            let name = crate::at::shown(name);
            HubError::NotFound(format!("there is no {} {name}", kind_name(kind)))
        };
        self.repo_seen(identity, kind, name)?.ok_or_else(missing)
    }

    async fn add_to(
        &self,
        collection: &Collection,
        repo: RepoId,
        note: Option<String>,
    ) -> Result<(), HubError> {
        match self.0.database.collect(collection.id, repo, note).await? {
            Collected::Done(()) => Ok(()),
            Collected::There(()) => {
                Err(HubError::Conflict("this item is in the collection already".to_owned()))
            }
            Collected::Gone => Err(missing()),
            Collected::TooMany => Err(HubError::Forbidden(format!(
                "a collection has {} items at most",
                database::COLLECTION_ITEMS_MAX
            ))),
        }
    }

    pub async fn edit_item(
        &self,
        identity: &Identity,
        slug: &str,
        item: &str,
        edit: EditItem,
    ) -> Result<(), HubError> {
        let collection = self.own_collection(identity, slug)?;
        let (item, note) = (item_id(item)?, note(edit.note)?);
        match self.0.database.edit_item(collection.id, item, note, edit.position).await? {
            true => Ok(()),
            false => Err(no_item()),
        }
    }

    pub async fn drop_item(&self, identity: &Identity, slug: &str, item: &str) -> Result<(), HubError> {
        let collection = self.own_collection(identity, slug)?;
        match self.0.database.drop_item(collection.id, item_id(item)?).await? {
            true => Ok(()),
            false => Err(no_item()),
        }
    }

    /// A private one is missing to those it does not belong to.
    fn seen_collection(&self, identity: &Identity, slug: &str) -> Result<Collection, HubError> {
        self.may_look(identity)?;
        // The title in the address may be a former one; the id is what counts.
        let id = slug.rsplit('-').next().filter(|id| id.len() == 24);
        let id = id.and_then(|id| i64::from_str_radix(id, 16).ok()).ok_or_else(missing)?;
        let collection = self.0.database.collection(CollectionId(id))?.ok_or_else(missing)?;
        let named = slug.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let own = collection.namespace.folded();
        let hidden = collection.private && !belongs(identity, &own);
        match named == own && !hidden {
            true => Ok(collection),
            false => Err(missing()),
        }
    }

    fn own_collection(&self, identity: &Identity, slug: &str) -> Result<Collection, HubError> {
        identity.principal().ok_or(auth::Denied::Unauthenticated)?;
        let collection = self.seen_collection(identity, slug)?;
        may_edit(identity, &collection.namespace)?;
        Ok(collection)
    }

    fn collection_document(&self, identity: &Identity, collection: &Collection) -> Result<Value, HubError> {
        let seen = auth::seen(self.0.settings.auth, identity);
        let items = self.0.database.collection_items(collection.id, &seen, u32::MAX)?;
        Ok(document(collection, &items))
    }

    /// `models/acme/x`; nothing if there is no such, or none that may be seen.
    fn item_named(&self, identity: &Identity, item: &str) -> Result<Option<RepoId>, HubError> {
        let (kind, name) = match item.split_once('/') {
            Some(("models", name)) => (RepoKind::Model, name),
            Some(("datasets", name)) => (RepoKind::Dataset, name),
            Some(("spaces", name)) => (RepoKind::Space, name),
            _ => return Ok(None),
        };
        self.repo_seen(identity, kind, name)
    }

    fn repo_seen(&self, identity: &Identity, kind: RepoKind, name: &str) -> Result<Option<RepoId>, HubError> {
        let path =
            name.split_once('/').and_then(|(namespace, name)| RepoPath::new(kind, namespace, name).ok());
        let Some(path) = path else { return Ok(None) };
        let repo = match self.0.database.find_repo(&path)? {
            Some(database::Found::Repo(repo) | database::Found::Redirect(repo)) => repo,
            None => return Ok(None),
        };
        let seen = auth::authorize::<auth::Discover>(self.0.settings.auth, identity, repo);
        Ok(seen.ok().map(|access| access.repo_id()))
    }
}

fn missing() -> HubError {
    HubError::NotFound("Collection not found".to_owned())
}

fn no_item() -> HubError {
    HubError::NotFound("there is no such item in the collection".to_owned())
}

fn there(collection: &Collection) -> HubError {
    HubError::CollectionExists { slug: slug(collection) }
}

fn belongs(identity: &Identity, folded: &str) -> bool {
    identity.principal().is_some_and(|principal| {
        principal.user.admin || principal.user.name.folded() == folded || principal.role_in(folded).is_some()
    })
}

/// As repositories are made there.
fn may_edit(identity: &Identity, namespace: &Namespace) -> Result<(), HubError> {
    match auth::may_create(identity, &namespace.folded()) {
        Err(auth::Denied::Forbidden) => Err(HubError::Forbidden(format!(
            "You don't have the rights to change collections of \"{namespace}\""
        ))),
        other => Ok(other?),
    }
}

fn title(text: &str) -> Result<String, HubError> {
    let text = text.trim();
    match (1..=TITLE_CHARS_MAX).contains(&text.chars().count()) {
        true => Ok(text.to_owned()),
        false => Err(HubError::Invalid(format!("a title has 1 to {TITLE_CHARS_MAX} characters"))),
    }
}

fn description(text: Option<String>) -> Result<Option<String>, HubError> {
    bounded(text, DESCRIPTION_CHARS_MAX, "a description")
}

fn note(text: Option<String>) -> Result<Option<String>, HubError> {
    bounded(text, NOTE_CHARS_MAX, "a note")
}

fn bounded(text: Option<String>, max: usize, what: &str) -> Result<Option<String>, HubError> {
    match text.as_ref().is_some_and(|text| text.chars().count() > max) {
        true => Err(HubError::Invalid(format!("{what} has {max} characters at most"))),
        false => Ok(text),
    }
}

fn item_id(text: &str) -> Result<CollectionItemId, HubError> {
    i64::from_str_radix(text, 16).map(CollectionItemId).map_err(|_| no_item())
}

/// The title as it stands in an address.
fn slug_of(title: &str) -> String {
    let mut slug = String::new();
    for character in title.chars() {
        match character.is_ascii_alphanumeric() {
            true => slug.push(character.to_ascii_lowercase()),
            false if slug.ends_with('-') || slug.is_empty() => {}
            false => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "collection".to_owned() } else { slug.to_owned() }
}

fn slug(collection: &Collection) -> String {
    format!("{}/{}-{:024x}", collection.namespace, collection.slug, collection.id.0)
}

fn document(collection: &Collection, items: &[CollectionItem]) -> Value {
    let item = |item: &CollectionItem| {
        let mut row = json!({
            "_id": format!("{:024x}", item.id.0), "id": repo_id(&item.repo.path), "type": kind_name(item.repo.path.kind),
            "repoType": kind_name(item.repo.path.kind), "position": item.position, "author": item.repo.path.namespace.as_str(),
            "private": item.repo.visibility == database::Visibility::Private,
        });
        if let Some(note) = &item.note {
            row["note"] = json!({ "text": note, "html": null });
        }
        row
    };
    let owner = collection.namespace.as_str();
    json!({
        "_id": format!("{:024x}", collection.id.0), "slug": slug(collection), "title": collection.title,
        "description": collection.description, "owner": { "name": owner, "fullname": owner, "avatarUrl": "" },
        "items": items.iter().map(item).collect::<Vec<Value>>(), "lastUpdated": iso(collection.updated_ms),
        "position": collection.position, "private": collection.private, "gating": false, "theme": collection.theme,
        "upvotes": 0, "isUpvotedByUser": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_in_addresses() {
        for (title, expected) in
            [("ICCV 2023!", "iccv-2023"), ("  a -- b", "a-b"), ("日本", "collection"), ("A", "a")]
        {
            assert_eq!(slug_of(title), expected);
        }
        assert!(super::title("   ").is_err() && super::title(&"x".repeat(61)).is_err());
    }
}
