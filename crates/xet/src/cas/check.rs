//! Every stored xorb is what its index says, and every term of a file is in it.

use std::collections::BTreeSet;
use std::fmt;

use database::{DbError, RepoId, XetFile, XetFileId, XetTerm, Xorb, XorbId};
use serde::{Deserialize, Serialize};
use storage::StoreError;

use super::errors::ReadError;
use super::{Cas, blocking};
use crate::merkle::Tree;
use crate::xorb::{Reader, XorbError};
use crate::{Hash, Index};

const PAGE: u32 = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XetCheckReport {
    pub xorbs: u64,
    /// Of them, as they are stored.
    pub bytes: u64,
    pub files: u64,
    pub findings: u64,
}

/// Something is wrong with a xorb or a file.
#[derive(Debug)]
pub enum XetFinding {
    Xorb { key: String, problem: XetProblem },
    File { hash: Hash, problem: XetProblem },
}

#[derive(Debug, thiserror::Error)]
pub enum XetProblem {
    #[error("its bytes are gone")]
    Missing,
    #[error("its index does not fit: {0}")]
    Index(ReadError),
    #[error("{0}")]
    Bytes(XorbError),
    #[error("its bytes are others than its index says")]
    OtherBytes,
    #[error("it cannot be read: {0}")]
    Unreadable(StoreError),
    #[error("its term {0} names what its xorb has not")]
    Term(u32),
    #[error("its chunks make up another file")]
    OtherFile,
}

impl fmt::Display for XetFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XetFinding::Xorb { key, problem } => write!(f, "xorb {key}: {problem}"),
            XetFinding::File { hash, problem } => write!(f, "file {hash}: {problem}"),
        }
    }
}

impl Cas {
    /// Looks at every live xorb and every file; with `rehash`, reads all bytes of xorbs.
    pub async fn check(
        &self,
        rehash: bool,
        mut report: impl FnMut(XetFinding),
    ) -> Result<XetCheckReport, DbError> {
        let mut counts = XetCheckReport::default();
        let mut after = XorbId(0);
        loop {
            let page = self.0.database.xorbs_after(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for xorb in page {
                self.note_xorb(xorb, rehash, &mut counts, &mut report).await;
            }
        }
        let mut after = XetFileId(0);
        loop {
            let page = self.0.database.xet_files_after(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(counts) };
            after = last.id;
            for file in page {
                self.note_file(&file, &mut counts, &mut report).await?;
            }
        }
    }

    /// As [`Cas::check`], of the files that `repo` links and the xorbs they are made of, each once.
    pub async fn check_of(
        &self,
        repo: RepoId,
        rehash: bool,
        mut report: impl FnMut(XetFinding),
    ) -> Result<XetCheckReport, DbError> {
        let mut counts = XetCheckReport::default();
        let (mut files, mut xorbs) = (BTreeSet::new(), BTreeSet::new());
        let mut after = None;
        loop {
            let page = self.0.database.links_after(repo, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.sha256);
            files.extend(page.iter().filter_map(|link| link.xet()));
        }
        for id in files {
            let Some(file) = self.0.database.xet_file(id)? else { continue };
            self.note_file(&file, &mut counts, &mut report).await?;
            xorbs.extend(file.terms.iter().map(|term| term.xorb));
        }
        for id in xorbs {
            // That it has no row was said of the file.
            if let Some(xorb) = self.0.database.xorbs(&[id])?.into_iter().next().flatten() {
                self.note_xorb(xorb, rehash, &mut counts, &mut report).await;
            }
        }
        Ok(counts)
    }

    async fn note_xorb(
        &self,
        xorb: Xorb,
        rehash: bool,
        counts: &mut XetCheckReport,
        report: &mut impl FnMut(XetFinding),
    ) {
        counts.xorbs += 1;
        counts.bytes += xorb.stored_bytes;
        let problem = self.problem_of_xorb(&xorb, rehash).await;
        // It may have been collected since it was listed.
        let is_live = || self.0.database.xorb(&xorb.hash).is_ok_and(|live| live == Some(xorb));
        if let Some(problem) = problem.filter(|_| is_live()) {
            counts.findings += 1;
            report(XetFinding::Xorb { key: xorb.storage_key(), problem });
        }
    }

    async fn note_file(
        &self,
        file: &XetFile,
        counts: &mut XetCheckReport,
        report: &mut impl FnMut(XetFinding),
    ) -> Result<(), DbError> {
        counts.files += 1;
        let problem = self.problem_of_file(file).await?;
        if let Some(problem) = problem.filter(|_| self.is_there(file.id)) {
            counts.findings += 1;
            report(XetFinding::File { hash: file.hash.into(), problem });
        }
        Ok(())
    }

    fn is_there(&self, id: XetFileId) -> bool {
        // If that cannot be told, it is better told of.
        self.0.database.xet_hash(id).map_or(true, |hash| hash.is_some())
    }

    async fn problem_of_xorb(&self, xorb: &Xorb, rehash: bool) -> Option<XetProblem> {
        let index = match self.read_index(xorb).await {
            Ok(index) => index,
            Err(ReadError::Store(StoreError::NotFound)) => return Some(XetProblem::Missing),
            Err(error @ ReadError::Store(StoreError::Truncated { .. })) => {
                return Some(XetProblem::Index(error));
            }
            Err(ReadError::Store(error)) => return Some(XetProblem::Unreadable(error)),
            Err(error) => return Some(XetProblem::Index(error)),
        };
        if !rehash {
            return match self.0.store.size_bytes(&xorb.storage_key()).await {
                Ok(Some(size)) if size == xorb.stored_bytes => None,
                Ok(Some(_)) => Some(XetProblem::OtherBytes),
                Ok(None) => Some(XetProblem::Missing),
                Err(error) => Some(XetProblem::Unreadable(error)),
            };
        }
        match self.read_xorb(xorb).await {
            Ok(Ok(found)) if found == index => None,
            Ok(Ok(_)) => Some(XetProblem::OtherBytes),
            Ok(Err(error)) => Some(XetProblem::Bytes(error)),
            Err(StoreError::NotFound) => Some(XetProblem::Missing),
            Err(error) => Some(XetProblem::Unreadable(error)),
        }
    }

    /// The index that its bytes make.
    pub(super) async fn read_xorb(&self, xorb: &Xorb) -> Result<Result<Index, XorbError>, StoreError> {
        self.read_stored(&xorb.storage_key(), xorb.stored_bytes, &xorb.hash.into()).await
    }

    /// As [`Cas::read_xorb`], of the `len` bytes under a key.
    pub(super) async fn read_stored(
        &self,
        key: &str,
        len: u64,
        hash: &Hash,
    ) -> Result<Result<Index, XorbError>, StoreError> {
        let mut bytes = self.0.store.reader(key, 0..len).await?;
        let mut proof = Reader::new(self.0.config.xorb);
        while let Some(piece) = bytes.next().await? {
            let (after, proven) = blocking(move || {
                let proven = proof.push(&piece);
                (proof, proven)
            })
            .await;
            if let Err(error) = proven {
                return Ok(Err(error));
            }
            proof = after;
        }
        Ok(proof.finish(hash))
    }

    async fn problem_of_file(&self, file: &XetFile) -> Result<Option<XetProblem>, DbError> {
        let mut tree = Tree::default();
        let mut size = 0;
        for (number, term) in file.terms.iter().enumerate() {
            let xorb = self.0.database.xorbs(&[term.xorb])?.into_iter().next().flatten();
            let Some(xorb) = xorb else { return Ok(Some(XetProblem::Term(number as u32))) };
            let index = match self.index(&xorb).await {
                Ok(index) => index,
                Err(error) => return Ok(Some(XetProblem::Index(error))),
            };
            if !fits(term, &index, &mut tree) {
                return Ok(Some(XetProblem::Term(number as u32)));
            }
            size += u64::from(term.raw_bytes);
        }
        let is_it = tree.file_hash() == Hash::from(file.hash) && size == file.size;
        Ok((!is_it).then_some(XetProblem::OtherFile))
    }
}

fn fits(term: &XetTerm, index: &Index, tree: &mut Tree) -> bool {
    let chunks = term.chunk_start..term.chunk_end;
    let (Ok(bytes), Ok(raw), Ok(all)) =
        (index.serialized_range(chunks.clone()), index.raw_range(chunks.clone()), index.iter(chunks))
    else {
        return false;
    };
    all.for_each(|chunk| tree.push(chunk.hash, u64::from(chunk.raw_len)));
    bytes == (term.byte_start..term.byte_end) && raw.end - raw.start == term.raw_bytes
}
