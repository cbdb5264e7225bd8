//! What differs between two revisions, as text.

use std::sync::Arc;

use auth::{Authorized, Read};
use bytes::Bytes;
use database::Oid;
use repository::diff::{Limits, Patch};
use repository::walk::{self, WalkLimits};

use crate::at::{At, shown};
use crate::{Hub, HubError, blocking};

/// Text on its way out. Between its pieces it holds no thread.
pub struct Difference {
    /// The newer of the two.
    pub commit: Oid,
    patch: Option<Patch>,
}

/// The first piece is short, so that it comes soon.
const FIRST_BYTES: usize = 16 << 10;
const PIECE_BYTES: usize = 256 << 10;

const COMMITS_MAX: usize = 1_000_000;

impl Hub {
    /// `a..b`: from `a` to `b`. `a...b`: what happened on `b` since it parted from `a`. A side that is empty is `HEAD`.
    pub async fn compare(&self, access: &Authorized<Read>, revisions: &str) -> Result<Difference, HubError> {
        let (a, b, since_parted) = match (revisions.split_once("..."), revisions.split_once("..")) {
            (Some((a, b)), _) => (a, b, true),
            (None, Some((a, b))) => (a, b, false),
            (None, None) => {
                return Err(HubError::Invalid(format!(
                    "\"{}\" does not name two revisions: write BASE..HEAD, or BASE...HEAD for what is new in HEAD \
                     since it parted from BASE",
                    shown(revisions)
                )));
            }
        };
        let snapshot = self.snapshot(access.repo()).await?;
        let side =
            |text: &str| At::resolve(Arc::clone(&snapshot), if text.is_empty() { "HEAD" } else { text });
        let (a, b) = (side(a)?, side(b)?);
        let names = shown(revisions);
        blocking(move || {
            let limits = WalkLimits { commits_max: COMMITS_MAX };
            let old = match since_parted {
                false => a.tree,
                true => match walk::merge_base(&b.snapshot, &a.commit, &b.commit, &limits)? {
                    Some(base) => b.snapshot.commit(&base)?.tree,
                    None => {
                        let text =
                            format!("{names}: the two have no common history; compare them by two dots");
                        return Err(HubError::Unprocessable(text));
                    }
                },
            };
            let patch = Patch::new(b.snapshot, Some(old), Some(b.tree), Limits::default())?;
            Ok(Difference { commit: b.commit, patch: Some(patch) })
        })
        .await
    }
}

impl Difference {
    /// What comes next, with the size it should have at least; `None` at the end.
    async fn piece(&mut self, bytes: usize) -> Result<Option<Bytes>, HubError> {
        let Some(mut patch) = self.patch.take() else { return Ok(None) };
        let made = blocking(move || {
            let mut text = Vec::new();
            let more = patch.write(bytes, &mut text)?;
            Ok::<_, HubError>((more.then_some(patch), text))
        });
        let (patch, text) = made.await?;
        self.patch = patch;
        Ok((!text.is_empty()).then(|| text.into()))
    }

    /// To be asked for once, before the others.
    pub async fn first(&mut self) -> Result<Bytes, HubError> {
        Ok(self.piece(FIRST_BYTES).await?.unwrap_or_default())
    }

    /// After an error nothing follows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HubError> {
        self.piece(PIECE_BYTES).await
    }

    pub fn is_done(&self) -> bool {
        self.patch.is_none()
    }
}
