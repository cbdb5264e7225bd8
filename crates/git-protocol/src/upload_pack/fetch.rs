//! A fetch against one snapshot: what it wants, and under which key its answer may be kept.

use std::collections::HashSet;

use database::{Oid, RefRow};
use repository::{Kind, Snapshot};
use sha2::{Digest, Sha256};

use super::answer::FetchError;
use super::{Deepen, Dialect, Fetch};

/// More haves than this and an answer will hardly be asked for twice.
const CACHED_HAVES_MAX: usize = 16;

impl Fetch {
    /// Whether everything wanted is there to be sent. Any object in the repository's packs may be wanted.
    pub fn check_wants(&self, snapshot: &Snapshot) -> Result<(), FetchError> {
        if let Some(missing) = self.wants.iter().find(|oid| !snapshot.contains(oid)) {
            return Err(FetchError::NotOurRef(*missing));
        }
        self.wanted_refs(snapshot).map(drop)
    }

    /// The key under which a complete answer may be kept and given to whoever asks the same of the same repository.
    ///
    /// It covers all that an answer depends on and that can change: objects never change, so ids stand for what they
    /// reach; refs and tags that matter are in it by value; so is which of the haves are known. Consult the cache only
    /// after [`Fetch::check_wants`]: an object may be gone since. `None` if the answer is not worth keeping.
    pub fn cache_key(&self, snapshot: &Snapshot) -> Option<[u8; 32]> {
        let haves = self.haves_that_matter(snapshot);
        if haves.len() > CACHED_HAVES_MAX {
            return None;
        }
        let mut wants = self.wants.clone();
        wants.sort_unstable();
        let mut key = Key::new();
        key.field(&snapshot.repo().id.0.to_le_bytes());
        key.field(&self.dialect_code());
        key.field(&self.flags());
        key.oids(&wants);
        for (name, oid) in self.wanted_refs(snapshot).ok()? {
            key.field(name.as_bytes());
            key.oids(&[oid]);
        }
        key.oids(&haves);
        key.oids(&self.shallow_known(snapshot).ok()?);
        match &self.deepen {
            None => key.field(b"whole"),
            Some(Deepen::Commits { depth, relative }) => {
                key.field(&depth.to_le_bytes());
                key.field(&[u8::from(*relative)]);
            }
            Some(Deepen::Revisions { since_seconds, not }) => {
                key.field(&since_seconds.map_or_else(Vec::new, |seconds| seconds.to_le_bytes().to_vec()));
                key.oids(&resolve_names(snapshot, not).ok()?);
            }
        }
        key.field(self.filter.as_ref().map_or(b"", |filter| filter.spec.as_bytes()));
        if self.include_tag {
            key.field(&snapshot.tags_digest());
        }
        Some(key.finish())
    }

    /// The wanted objects, each once: those wanted by id, then those behind wanted refs.
    pub(super) fn resolve_wants(&self, snapshot: &Snapshot) -> Result<Vec<Oid>, FetchError> {
        self.check_wants(snapshot)?;
        let mut wants = self.wants.clone();
        let mut seen: HashSet<Oid> = wants.iter().copied().collect();
        wants.extend(
            self.wanted_refs(snapshot)?.into_iter().map(|(_, oid)| oid).filter(|oid| seen.insert(*oid)),
        );
        Ok(wants)
    }

    /// The refs wanted by name and what they are now.
    pub(super) fn wanted_refs(&self, snapshot: &Snapshot) -> Result<Vec<(&str, Oid)>, FetchError> {
        let find = |name: &'_ String| find_ref(snapshot, name).map(|row| row.oid);
        let resolve = |name| find(name).ok_or_else(|| FetchError::UnknownRef(name.clone()));
        self.want_refs.iter().map(|name| Ok((name.as_str(), resolve(name)?))).collect()
    }

    /// Where the client's history ends, as far as it is ours.
    pub(super) fn shallow_known(&self, snapshot: &Snapshot) -> Result<Vec<Oid>, FetchError> {
        let known = self.shallow.iter().filter_map(|oid| Some((*oid, snapshot.kind(oid)?)));
        known
            .map(
                |(oid, kind)| {
                    if kind == Kind::Commit { Ok(oid) } else { Err(FetchError::InvalidShallow(oid)) }
                },
            )
            .collect()
    }

    /// In v2 haves that we do not know leave no trace in the answer; in v0 they may be acknowledged.
    fn haves_that_matter(&self, snapshot: &Snapshot) -> Vec<Oid> {
        let all = matches!(self.dialect, Dialect::V0 { .. });
        let matter = self.haves.iter().copied().filter(|oid| all || snapshot.contains(oid));
        matter.take(CACHED_HAVES_MAX + 1).collect()
    }

    fn dialect_code(&self) -> [u8; 5] {
        match self.dialect {
            Dialect::V2 { wait_for_done } => [2, u8::from(wait_for_done), 0, 0, 0],
            Dialect::V0 { acks, no_done, framing, negotiates } => {
                [0, acks as u8, u8::from(no_done), framing as u8, u8::from(negotiates)]
            }
        }
    }

    fn flags(&self) -> [u8; 5] {
        [self.thin, self.ofs_delta, self.include_tag, self.no_progress, self.done].map(u8::from)
    }
}

/// The commits behind the names given to `deepen-not`, each of which must mean exactly one ref.
pub(super) fn resolve_names(snapshot: &Snapshot, names: &[String]) -> Result<Vec<Oid>, FetchError> {
    names.iter().map(|name| resolve_name(snapshot, name)).collect()
}

fn resolve_name(snapshot: &Snapshot, name: &str) -> Result<Oid, FetchError> {
    let candidates = [
        name.to_owned(),
        format!("refs/{name}"),
        format!("refs/tags/{name}"),
        format!("refs/heads/{name}"),
        format!("refs/remotes/{name}"),
        format!("refs/remotes/{name}/HEAD"),
    ];
    let mut found = candidates.iter().filter_map(|candidate| find_ref(snapshot, candidate));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row.peeled.unwrap_or(row.oid)),
        _ => Err(FetchError::AmbiguousDeepenNot(name.to_owned())),
    }
}

fn find_ref<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s RefRow> {
    if name == "HEAD" { snapshot.head_target() } else { snapshot.find_ref(name) }
}

/// A hash over fields that cannot run into each other.
struct Key(Sha256);

impl Key {
    fn new() -> Key {
        Key(Sha256::new_with_prefix(b"granary fetch answer 1\0"))
    }

    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn oids(&mut self, oids: &[Oid]) {
        self.0.update((oids.len() as u64).to_le_bytes());
        oids.iter().for_each(|oid| self.0.update(oid.0));
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
