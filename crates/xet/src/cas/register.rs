//! A shard from a client: what it says of files is proven against the indexes of the xorbs that it names.
//!
//! The hashes by which a client proves to have had the chunks of a term are never given out, so it may name a xorb that
//! somebody else brought. Proven is which chunks a file has; that its SHA-256 is what the shard says is not.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use database::{NewXetFile, NewXetObject, Proof, Sha256, XetHash, XetTerm, Xorb, XorbId};

use super::errors::ReadError;
use super::{Cas, ShardRefused, blocking};
use crate::merkle::Tree;
use crate::shard::{Limits, Shard, Term};
use crate::{Hash, Index};

/// Terms whose indexes are held at once.
const TERMS_AT_ONCE: usize = 32;
/// So many chunks are hashed on the spot: it takes some tens of microseconds.
const CHUNKS_INLINE: u32 = 128;

/// How much of a shard is proven, in terms of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub verified: u64,
    pub total: u64,
}

/// Files whose chunks are proven, not linked to anybody yet.
#[derive(Clone, Debug)]
pub struct CheckedShard {
    pub files: Vec<CheckedFile>,
    /// Those that the shard describes, whether or not a file names them.
    pub xorbs: Vec<XorbId>,
}

#[derive(Clone, Debug)]
pub struct CheckedFile {
    pub file: NewXetFile,
    /// As the shard says, if it does.
    pub sha256: Option<Sha256>,
}

/// The same, as large objects: those are named by their SHA-256.
#[derive(Clone, Debug)]
pub struct CheckedObjects {
    /// Each is [`Proof::Possessed`]; whoever computes a SHA-256 says so here.
    pub objects: Vec<NewXetObject>,
    pub xorbs: Vec<XorbId>,
}

impl CheckedShard {
    /// Refused if the shard does not say the SHA-256 of each file.
    pub fn objects(self) -> Result<CheckedObjects, ShardRefused> {
        let object = |CheckedFile { file, sha256 }: CheckedFile| {
            let sha256 = sha256.ok_or(ShardRefused::NoSha256 { file: file.hash.into() })?;
            Ok(NewXetObject { file, sha256, proof: Proof::Possessed })
        };
        let objects = self.files.into_iter().map(object).collect::<Result<_, ShardRefused>>()?;
        Ok(CheckedObjects { objects, xorbs: self.xorbs })
    }
}

/// As the shard has it, without the shard.
struct Claim {
    hash: Hash,
    sha256: Option<Sha256>,
    terms: Vec<Term>,
    verification: Vec<Hash>,
}

struct Claims {
    files: Vec<Claim>,
    xorbs: Vec<XetHash>,
}

impl Cas {
    /// `progress` is called now and then, from wherever the work goes on. Empty files need no storage and are left out.
    pub async fn check_shard(
        &self,
        shard: Bytes,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<CheckedShard, ShardRefused> {
        let turn = tokio::time::timeout(self.0.config.turn_wait, self.0.shards.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(ShardRefused::Busy) };
        let (limits, max) = (self.0.config.shard, self.0.config.file_bytes_max);
        let claims = blocking(move || Claims::read(&shard, &limits, max)).await?;
        let cas = self.clone();
        let (claims, stored) = blocking(move || {
            let stored = cas.stored(&claims)?;
            Ok::<_, ShardRefused>((claims, stored))
        })
        .await?;
        let Claims { files: claims, xorbs } = claims;
        let xorbs = xorbs.iter().filter_map(|hash| stored.get(hash)).map(|xorb| xorb.id).collect();
        let mut count =
            Progress { verified: 0, total: claims.iter().map(|claim| claim.terms.len() as u64).sum() };
        let mut files = Vec::with_capacity(claims.len());
        for claim in claims {
            let file = self.check_file(claim, &stored, |terms| {
                count.verified += terms;
                progress(count);
            });
            files.push(file.await?);
        }
        Ok(CheckedShard { files, xorbs })
    }

    /// All xorbs that are named. The first that is not here ends it.
    fn stored(&self, claims: &Claims) -> Result<HashMap<XetHash, Xorb>, ShardRefused> {
        const AT_ONCE: usize = 1024;
        let terms = claims.files.iter().flat_map(|claim| &claim.terms);
        let mut hashes: Vec<XetHash> = terms.map(|term| term.xorb_hash.into()).collect();
        hashes.extend(&claims.xorbs);
        hashes.sort_unstable();
        hashes.dedup();
        let mut stored = HashMap::with_capacity(hashes.len());
        for hashes in hashes.chunks(AT_ONCE) {
            for (hash, xorb) in hashes.iter().zip(self.0.database.xorbs_named(hashes)?) {
                let xorb = xorb.ok_or(ShardRefused::MissingXorb { xorb: (*hash).into() })?;
                stored.insert(*hash, xorb);
            }
        }
        Ok(stored)
    }

    async fn check_file(
        &self,
        claim: Claim,
        stored: &HashMap<XetHash, Xorb>,
        mut progress: impl FnMut(u64),
    ) -> Result<CheckedFile, ShardRefused> {
        let Claim { hash, sha256, terms, verification } = claim;
        let mut proof =
            FileProof { file: hash, tree: Tree::default(), terms: Vec::with_capacity(terms.len()) };
        let mut dedup_key = None;
        for (terms, verification) in terms.chunks(TERMS_AT_ONCE).zip(verification.chunks(TERMS_AT_ONCE)) {
            let xorbs = terms.iter().map(|term| stored.get(&term.xorb_hash.into()).copied());
            let xorbs: Vec<Xorb> = xorbs.collect::<Option<_>>().ok_or(ReadError::XorbGone)?;
            let indexes = self.indexes(&xorbs).await?.into_iter();
            let named = terms.iter().zip(verification).zip(xorbs.iter().zip(indexes));
            let batch: Vec<(Term, Hash, XorbId, Arc<Index>)> = named
                .map(|((term, verification), (xorb, index))| (*term, *verification, xorb.id, index))
                .collect();
            if dedup_key.is_none() {
                dedup_key = batch.first().and_then(|(term, _, _, index)| index.hash(term.chunk_start));
            }
            let chunks: u32 = terms.iter().map(|term| term.chunk_end - term.chunk_start).sum();
            proof = match chunks <= CHUNKS_INLINE {
                true => proof.add(&batch)?,
                false => blocking(move || proof.add(&batch)).await?,
            };
            progress(terms.len() as u64);
        }
        let (size, terms) = proof.finish()?;
        let dedup_key = dedup_key.map(|hash| hash.dedup_key());
        let file = NewXetFile { hash: hash.into(), size, terms, dedup_key };
        Ok(CheckedFile { file, sha256 })
    }
}

impl Claims {
    fn read(shard: &[u8], limits: &Limits, file_bytes_max: u64) -> Result<Claims, ShardRefused> {
        let shard = Shard::parse(shard, limits)?;
        let mut files = Vec::new();
        for file in shard.files() {
            let hash = file.hash;
            let sha256 = file.sha256().map(Sha256);
            if file.terms().len() == 0 {
                match hash == Hash::ZERO && sha256.is_none_or(|sha256| sha256 == Sha256::EMPTY) {
                    true => continue,
                    false => return Err(ShardRefused::NoTerms { file: hash }),
                }
            }
            let verification = file.verification().ok_or(ShardRefused::NoVerification { file: hash })?;
            let terms: Vec<Term> = file.terms().collect();
            let size: u64 = terms.iter().map(|term| u64::from(term.raw_bytes)).sum();
            if size > file_bytes_max {
                return Err(ShardRefused::TooLarge { file: hash, max: file_bytes_max });
            }
            files.push(Claim { hash, sha256, terms, verification: verification.collect() });
        }
        let xorbs = shard.xorbs().map(|xorb| xorb.hash.into()).collect();
        Ok(Claims { files, xorbs })
    }
}

/// A file, as far as it is proven.
struct FileProof {
    file: Hash,
    tree: Tree,
    terms: Vec<XetTerm>,
}

impl FileProof {
    fn add(mut self, batch: &[(Term, Hash, XorbId, Arc<Index>)]) -> Result<FileProof, ShardRefused> {
        for (term, verification, xorb, index) in batch {
            let (file, number) = (self.file, self.terms.len() as u32);
            let chunks = term.chunk_start..term.chunk_end;
            let beyond = |_| ShardRefused::Range {
                file,
                term: number,
                xorb: term.xorb_hash,
                start: term.chunk_start,
                end: term.chunk_end,
                chunks: index.chunks(),
            };
            let Range { start, end } = index.raw_range(chunks.clone()).map_err(beyond)?;
            if end - start != term.raw_bytes {
                let (claimed, actual) = (term.raw_bytes, end - start);
                return Err(ShardRefused::RawBytes { file, term: number, claimed, actual });
            }
            if index.range_hash(chunks.clone()).map_err(beyond)? != *verification {
                return Err(ShardRefused::Verification { file, term: number });
            }
            for chunk in index.iter(chunks.clone()).map_err(beyond)? {
                self.tree.push(chunk.hash, u64::from(chunk.raw_len));
            }
            let bytes = index.serialized_range(chunks).map_err(beyond)?;
            self.terms.push(XetTerm {
                xorb: *xorb,
                chunk_start: term.chunk_start,
                chunk_end: term.chunk_end,
                raw_bytes: term.raw_bytes,
                byte_start: bytes.start,
                byte_end: bytes.end,
            });
        }
        Ok(self)
    }

    fn finish(self) -> Result<(u64, Vec<XetTerm>), ShardRefused> {
        let FileProof { file, tree, terms } = self;
        match tree.file_hash() {
            actual if actual == file => Ok((terms.iter().map(|term| u64::from(term.raw_bytes)).sum(), terms)),
            actual => Err(ShardRefused::FileHash { file, actual }),
        }
    }
}
