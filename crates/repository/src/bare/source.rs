//! Opens a git directory of someone else: its refs, its `HEAD`, its objects with alternates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use database::{Oid, RefRow};
use gix::bstr::{BString, ByteSlice};
use gix::objs::Find as _;
use gix::odb::pack::cache::DecodeEntry;

use super::import::{ImportError, Referrer};
use crate::{Kind, object};

/// A git repository on this machine's disk. Only its own configuration is read, nothing of the user's or the
/// environment's. Not `Send`: open and use it on one thread.
pub struct Source {
    pub(super) objects: gix::odb::Handle,
    refs: Vec<RefRow>,
    head: Option<String>,
    large_objects: PathBuf,
    pub(super) object_bytes_max: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{path} is not a git repository that can be read: {source}")]
    NotARepository { path: PathBuf, source: Box<gix::Error> },
    #[error("{path} uses the object format {format}; only sha1 is supported")]
    ObjectFormat { path: PathBuf, format: String },
    #[error("{path} is a shallow clone and lacks history; run `git fetch --unshallow` in it first")]
    Shallow { path: PathBuf },
    #[error("cannot read the refs of {path}: {source}")]
    Refs { path: PathBuf, source: Box<gix::Error> },
    #[error("the ref name '{name}' is not UTF-8; rename it first")]
    RefName { name: BString },
    #[error("cannot read the objects of {path}: {source}")]
    Objects { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Object(#[from] ImportError),
}

/// Longest chain of symbolic refs that is followed, as in git.
const SYMREF_DEPTH_MAX: usize = 5;

impl Source {
    /// Opens a bare repository, or the repository of a worktree if `path` is one. `object_bytes_max` bounds what is
    /// read into memory at once: a larger object is an error.
    pub fn open(path: &Path, object_bytes_max: u64) -> Result<Source, SourceError> {
        let path = path.to_owned();
        let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
        let repo = gix::open_opts(&path, options).map_err(|source| match foreign_object_format(&path) {
            Some(format) => SourceError::ObjectFormat { path: path.clone(), format },
            None => SourceError::NotARepository { path: path.clone(), source: Box::new(source) },
        })?;
        let refs_error = |source| SourceError::Refs { path: path.clone(), source: Box::new(source) };
        if repo.is_shallow().map_err(refs_error)? {
            return Err(SourceError::Shallow { path });
        }
        let options = gix::odb::store::init::Options {
            // The single indices are always there, and a stale multi-pack index is one thing less to go wrong.
            use_multi_pack_index: false,
            alloc_limit_bytes: usize::try_from(object_bytes_max).ok(),
            ..Default::default()
        };
        let objects_dir = repo.common_dir().join("objects");
        // No replacements: git transfers what is stored, and `refs/replace/` with it.
        let mut objects = gix::odb::at_opts(objects_dir, gix::hash::Kind::Sha1, None, options)
            .map_err(|source| SourceError::Objects { path: path.clone(), source })?;
        objects.prevent_pack_unload();
        // A loose object is no reason to list the pack directory again.
        objects.refresh_never();
        objects.set_pack_cache(|| Box::new(BaseCache::default()));

        let targets = ref_targets(&repo).map_err(refs_error)?;
        let head = repo.head().map_err(refs_error)?;
        let head = head.referent_name().map(|name| utf8(name.as_bstr())).transpose()?;
        let large_objects = repo.common_dir().join("lfs/objects");
        let mut source = Source { objects, refs: Vec::new(), head, large_objects, object_bytes_max };
        for (name, oid) in resolve(&targets) {
            let name = utf8(name.as_bstr())?;
            let peeled = source.peel(oid, &name)?;
            source.refs.push(RefRow { name, oid, peeled });
        }
        source.refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(source)
    }

    /// Sorted by name, bytewise. A symbolic ref stands for what it points at; a dangling one is left out.
    pub fn refs(&self) -> &[RefRow] {
        &self.refs
    }

    /// The full name of the branch `HEAD` points at, which may be unborn; `None` if it is detached.
    pub fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// Where git-lfs keeps the large objects of this repository, as `aa/bb/<oid>`; there may be nothing.
    pub fn large_objects(&self) -> &Path {
        &self.large_objects
    }

    /// Reads an object into `buffer`.
    pub(super) fn read<'a>(
        &self,
        oid: Oid,
        referrer: impl FnOnce() -> Referrer,
        buffer: &'a mut Vec<u8>,
    ) -> Result<(Kind, &'a [u8]), ImportError> {
        let found = self.objects.try_find(&to_gix(oid), buffer);
        let found = found.map_err(|source| ImportError::Unreadable { oid, source: Box::new(source) })?;
        let Some(data) = found else {
            return Err(ImportError::Missing { oid, referrer: referrer() });
        };
        if data.data.len() as u64 > self.object_bytes_max {
            return Err(ImportError::TooLarge { oid, max: self.object_bytes_max });
        }
        Ok((from_gix_kind(data.kind), data.data))
    }

    /// What `oid` peels to, iff it is an annotated tag.
    fn peel(&self, oid: Oid, name: &str) -> Result<Option<Oid>, ImportError> {
        let mut buffer = Vec::new();
        let (mut at, mut referrer) = (oid, Referrer::Ref(name.to_owned()));
        loop {
            // A large blob is read only if a ref names it.
            let (kind, data) = self.read(at, || referrer, &mut buffer)?;
            if kind != Kind::Tag {
                return Ok((at != oid).then_some(at));
            }
            let tag = object::parse_tag(data).map_err(|reason| ImportError::Malformed { oid: at, reason })?;
            referrer = Referrer::Object(at);
            at = tag.target;
        }
    }
}

pub(super) fn to_gix(oid: Oid) -> gix::ObjectId {
    gix::ObjectId::from(oid.0)
}

pub(super) fn from_gix(id: &gix::oid) -> Oid {
    Oid::from_slice(id.as_bytes()).expect("because only SHA-1 repositories are opened")
}

fn from_gix_kind(kind: gix::objs::Kind) -> Kind {
    match kind {
        gix::objs::Kind::Commit => Kind::Commit,
        gix::objs::Kind::Tree => Kind::Tree,
        gix::objs::Kind::Blob => Kind::Blob,
        gix::objs::Kind::Tag => Kind::Tag,
    }
}

fn utf8(name: &gix::bstr::BStr) -> Result<String, SourceError> {
    name.to_str().map(str::to_owned).map_err(|_| SourceError::RefName { name: name.to_owned() })
}

/// Every ref below `refs/` and what it points at.
fn ref_targets(repo: &gix::Repository) -> Result<HashMap<BString, gix::refs::Target>, gix::Error> {
    let mut targets = HashMap::new();
    for reference in repo.references()?.all()? {
        let reference = reference?.detach();
        targets.insert(reference.name.as_bstr().to_owned(), reference.target);
    }
    Ok(targets)
}

/// The refs with their objects, symbolic ones followed.
fn resolve(targets: &HashMap<BString, gix::refs::Target>) -> impl Iterator<Item = (&BString, Oid)> {
    targets.iter().filter_map(|(name, target)| {
        let mut target = target;
        for _ in 0..=SYMREF_DEPTH_MAX {
            match target {
                gix::refs::Target::Object(id) => return Some((name, from_gix(id))),
                gix::refs::Target::Symbolic(next) => target = targets.get(next.as_bstr())?,
            }
        }
        None
    })
}

/// The object format of the repository at `path`, if that is why it cannot be opened.
fn foreign_object_format(path: &Path) -> Option<String> {
    ["config", ".git/config"].iter().find_map(|file| {
        let file =
            gix::config::File::from_path_no_includes(path.join(file), gix::config::Source::Local).ok()?;
        let format = file.string("extensions.objectFormat")?.to_string();
        (!format.eq_ignore_ascii_case("sha1")).then_some(format)
    })
}

/// Decoded bases of packed deltas: without it each tree of a chain costs the whole chain again. Direct-mapped.
struct BaseCache {
    slots: Vec<Option<Base>>,
    bytes: usize,
}

struct Base {
    pack: u32,
    offset: u64,
    kind: gix::objs::Kind,
    compressed_size: usize,
    data: Vec<u8>,
}

impl BaseCache {
    const SLOTS: usize = 1 << 12;
    const BYTES_MAX: usize = 96 << 20;
    const OBJECT_BYTES_MAX: usize = 4 << 20;

    fn slot(pack: u32, offset: u64) -> usize {
        let mixed = (offset ^ u64::from(pack) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % Self::SLOTS
    }
}

impl Default for BaseCache {
    fn default() -> Self {
        BaseCache { slots: (0..Self::SLOTS).map(|_| None).collect(), bytes: 0 }
    }
}

impl DecodeEntry for BaseCache {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: gix::objs::Kind, compressed_size: usize) {
        if data.len() > Self::OBJECT_BYTES_MAX {
            return;
        }
        if self.bytes + data.len() > Self::BYTES_MAX {
            *self = BaseCache::default();
        }
        let slot = &mut self.slots[Self::slot(pack, offset)];
        self.bytes -= slot.as_ref().map_or(0, |base| base.data.len());
        self.bytes += data.len();
        *slot = Some(Base { pack, offset, kind, compressed_size, data: data.to_vec() });
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(gix::objs::Kind, usize)> {
        let base = self.slots[Self::slot(pack, offset)].as_ref()?;
        (base.pack == pack && base.offset == offset).then(|| {
            out.clear();
            out.extend_from_slice(&base.data);
            (base.kind, base.compressed_size)
        })
    }
}
