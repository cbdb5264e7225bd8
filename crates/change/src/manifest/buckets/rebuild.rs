//! Making a bucket anew from its journal and the xorbs that are stored.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use auth::{Authorized, Write};
use database::{
    Bucket, BucketAct, BucketBatch, BucketEdit, BucketPath, BucketPut, BucketRefusal, BucketSource, Database,
    NewBucket, Quota, Visibility,
};

use xet::AdoptError;

use super::format::{FileLine, Lines, newest};
use super::sound;
use crate::manifest::rebuild::{RebuildReport, make_namespace};

/// Files that are put at their paths in one transaction.
const BATCH: usize = 1_000;
/// Paths of missing files that are named.
const NAMED_MAX: usize = 10;

/// A bucket under way.
struct Rebuilding<'r> {
    database: &'r Database,
    objects: &'r lfs::Objects,
    access: Authorized<Write, Bucket>,
    edits: Vec<BucketEdit>,
    files: u64,
    lacking: u64,
    /// The first of them.
    named: Vec<String>,
}

/// Makes the bucket whose journal is in `directory`, unless that says that it was deleted. Files whose xorbs are not all in
/// the store are left out, and told of in the error.
pub(in crate::manifest) async fn rebuild_bucket(
    database: &Database,
    objects: &lfs::Objects,
    directory: &Path,
    report: &mut RebuildReport,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let Some((version, path)) = newest(directory).map_err(|error| text(&error))? else { return Ok(()) };
    let open = || File::open(&path).map_err(|error| text(&error));
    // Nothing is made of a journal that is not whole.
    let head = sound(&open()?, version).map_err(|error| format!("journal {version}: {error}"))?;
    let (namespace, name) = head.path.split_once('/').ok_or("its head names no bucket")?;
    let wanted = BucketPath::new(namespace, name).map_err(|error| text(&error))?;
    make_namespace(database, wanted.namespace.clone(), head.org).await?;
    let visibility = if head.public { Visibility::Public } else { Visibility::Private };
    let new = NewBucket { path: free_name(database, wanted)?, visibility, creator: None };
    let bucket = database.create_bucket(new).await.map_err(|error| text(&error))?;
    report.buckets += 1;
    let name = bucket.path.clone();
    let access = Authorized::system("rebuild", bucket);
    let (edits, named) = (Vec::new(), Vec::new());
    let mut rebuilding = Rebuilding { database, objects, access, edits, files: 0, lacking: 0, named };
    let (_, mut lines) = Lines::begin(BufReader::new(open()?))?;
    let mut done = Ok(());
    while let (Ok(()), Some(line)) = (&done, lines.next()?) {
        done = rebuilding.add(line).await;
    }
    // What is gathered is put in any case.
    let put = rebuilding.put().await;
    let done = done.and(put);
    report.bucket_files += rebuilding.files;
    done.map_err(|error| format!("{name}: {error}"))?;
    rebuilding.missing().map_or(Ok(()), |missing| Err(format!("{name}: {missing}")))
}

impl Rebuilding<'_> {
    async fn add(&mut self, line: FileLine) -> Result<(), String> {
        let hash = line.hash().ok_or_else(|| format!("{}: it has no Xet hash", line.path))?;
        if let Some(recipe) = line.recipe() {
            // If not all of it is there, or it is not what it should be, it cannot be put at any path; others can.
            match self.objects.xet().adopt_into_bucket(&self.access, &recipe).await {
                Ok(_) => {}
                Err(AdoptError::Db(error)) => return Err(error.to_string()),
                Err(AdoptError::Store(error)) => return Err(error.to_string()),
                Err(error) => {
                    tracing::warn!(path = line.path, %error, "a file of a bucket cannot be made again");
                }
            }
        }
        let FileLine { path, mtime_ms, uploaded_ms, content_type, .. } = line;
        let from = BucketSource::Again { uploaded_ms };
        let put = BucketPut { hash: hash.into(), from, mtime_ms, content_type };
        self.edits.push(BucketEdit { path, act: BucketAct::Put(put) });
        if self.edits.len() < BATCH { Ok(()) } else { self.put().await }
    }

    async fn put(&mut self) -> Result<(), String> {
        let edits = std::mem::take(&mut self.edits);
        let paths: Vec<String> = edits.iter().map(|edit| edit.path.clone()).collect();
        let (bucket, acl_version) = (self.access.bucket().id, self.access.acl_version());
        let batch = BucketBatch { bucket, acl_version, quota: Quota::Exempt, edits };
        let refusals = self.database.edit_bucket(batch).await.map_err(|error| error.to_string())?;
        for (path, refusal) in paths.into_iter().zip(refusals) {
            match refusal {
                None => self.files += 1,
                Some(BucketRefusal::NotUploaded) => {
                    self.lacking += 1;
                    if self.named.len() < NAMED_MAX {
                        self.named.push(path);
                    }
                }
                Some(other) => return Err(format!("{path}: {other}")),
            }
        }
        Ok(())
    }

    fn missing(&self) -> Option<String> {
        let more = self.lacking.checked_sub(self.named.len() as u64).filter(|more| *more > 0);
        let more = more.map_or_else(String::new, |more| format!(" and {more} more"));
        let named = self.named.join(", ");
        (self.lacking > 0)
            .then(|| format!("files whose xorbs are not in the store, or not as they were: {named}{more}"))
    }
}

/// As with repositories, a rename or a deletion may not have been journalled any more: the later one gets a name beside.
fn free_name(database: &Database, wanted: BucketPath) -> Result<BucketPath, String> {
    let (mut path, mut n) = (wanted.clone(), 1);
    while database.find_bucket(&path).map_err(|error| error.to_string())?.is_some() {
        n += 1;
        let name = format!("{}-rebuilt-{n}", wanted.name());
        path = BucketPath::new(wanted.namespace.as_str(), &name).map_err(|error| error.to_string())?;
    }
    Ok(path)
}
