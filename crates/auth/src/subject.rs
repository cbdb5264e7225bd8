//! What a right can be to: a repository, a bucket, or either of them.

use database::{Bucket, Database, DbError, Gating, HolderId, Repo, RepoState, UserId, Visibility};

/// Implemented by [`Repo`], [`Bucket`] and [`Holder`].
pub trait Subject: sealed::Sealed + Clone + Send + Sync + 'static {
    fn facts(&self) -> Facts<'_>;
    /// Its row as it is now.
    fn reread(&self, database: &Database) -> Result<Option<Self>, DbError>;
}

/// All that is decided by.
#[derive(Clone, Copy)]
pub struct Facts<'s> {
    pub(crate) is_live: bool,
    pub(crate) visibility: Visibility,
    pub(crate) gating: Gating,
    pub(crate) namespace: &'s database::Namespace,
    pub(crate) creator: Option<UserId>,
    pub(crate) id: HolderId,
    pub(crate) acl_version: i64,
    pub(crate) name: &'s str,
}

/// Whoever has files in xorbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Repo(Repo),
    Bucket(Bucket),
}

impl Holder {
    /// In any state.
    pub(crate) fn read(database: &Database, id: HolderId) -> Result<Option<Holder>, DbError> {
        Ok(match id {
            HolderId::Repo(id) => database.repo(id)?.map(Holder::Repo),
            HolderId::Bucket(id) => database.bucket(id)?.map(Holder::Bucket),
        })
    }
}

impl Subject for Repo {
    fn facts(&self) -> Facts<'_> {
        Facts {
            is_live: self.state == RepoState::Live,
            visibility: self.visibility,
            gating: self.gating,
            namespace: &self.path.namespace,
            creator: self.creator,
            id: HolderId::Repo(self.id),
            acl_version: self.acl_version,
            name: self.path.name(),
        }
    }

    fn reread(&self, database: &Database) -> Result<Option<Repo>, DbError> {
        database.repo(self.id)
    }
}

impl Subject for Bucket {
    fn facts(&self) -> Facts<'_> {
        Facts {
            is_live: self.state == RepoState::Live,
            visibility: self.visibility,
            gating: Gating::Off,
            namespace: &self.path.namespace,
            creator: self.creator,
            id: HolderId::Bucket(self.id),
            acl_version: self.acl_version,
            name: self.path.name(),
        }
    }

    fn reread(&self, database: &Database) -> Result<Option<Bucket>, DbError> {
        database.bucket(self.id)
    }
}

impl Subject for Holder {
    fn facts(&self) -> Facts<'_> {
        match self {
            Holder::Repo(repo) => repo.facts(),
            Holder::Bucket(bucket) => bucket.facts(),
        }
    }

    fn reread(&self, database: &Database) -> Result<Option<Holder>, DbError> {
        Holder::read(database, self.facts().id)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for database::Repo {}
    impl Sealed for database::Bucket {}
    impl Sealed for super::Holder {}
}
