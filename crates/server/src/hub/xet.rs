//! What leads clients to the Xet CAS.

use auth::xet::Scope;
use auth::{Authorized, Read};
use database::{Bucket, Sha256, XetHash};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{Call, repos};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;
use crate::xet::{cas_url, give, reconstruction_address};

const XET_HASH: HeaderName = HeaderName::from_static("x-xet-hash");
/// What `huggingface_hub` writes where it knows no revision.
const NO_REVISION: &str = "None";
/// To a client that asks for it so, instead of the file (`@huggingface/hub`).
pub(super) const FILE_INFO: &str = "application/vnd.xet-fileinfo+json";

pub(super) async fn token(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
    write: bool,
) -> Result<Response<Body>, Error> {
    let origin = call.origin();
    if write {
        let access = super::commit::committer(&mut call, target, revision)?;
        return give(call.server, &access, Scope::Write, &origin)?.response();
    }
    let access = call.access::<Read>(target)?;
    if revision != NO_REVISION {
        call.hub().at(&access, revision).await?;
    }
    give(call.server, &access, Scope::Read, &origin)?.response()
}

/// Where a file can be had in pieces.
pub(super) struct Place {
    hash: ::xet::Hash,
    token: String,
    reconstruction: String,
}

impl Place {
    /// `None` if it is stored as a whole.
    pub(super) fn of(
        call: &Call<'_>,
        access: &Authorized<Read>,
        commit: database::Oid,
        sha256: Sha256,
        size: u64,
    ) -> Result<Option<Place>, Error> {
        let Some(hash) = call.server.node.objects.xet_hash(access, sha256, size)? else { return Ok(None) };
        let (origin, path) = (call.origin(), &access.repo().path);
        let (kind, id) = (repos::kind_segment(path.kind), ::hub::repos::id(path));
        Ok(Some(Place {
            hash,
            // The same for all files of a commit: clients keep a token by this address.
            token: format!("{origin}/api/{kind}/{id}/xet-read-token/{commit}"),
            reconstruction: reconstruction_address(&cas_url(call.server, &origin)?, &hash),
        }))
    }

    /// Of a file of a bucket, whose hash it is.
    pub(super) fn in_bucket(call: &Call<'_>, bucket: &Bucket, hash: XetHash) -> Result<Place, Error> {
        let (origin, hash) = (call.origin(), ::xet::Hash::from(hash));
        Ok(Place {
            hash,
            token: format!("{origin}/api/buckets/{}/xet-read-token", bucket.path),
            reconstruction: reconstruction_address(&cas_url(call.server, &origin)?, &hash),
        })
    }

    pub(super) fn hash(&self) -> String {
        self.hash.to_string()
    }

    pub(super) fn announce(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        let Place { hash, token, reconstruction } = self;
        let links =
            format!("<{token}>; rel=\"xet-auth\", <{reconstruction}>; rel=\"xet-reconstruction-info\"");
        headers.insert(XET_HASH, HeaderValue::try_from(hash.to_string()).map_err(Error::internal)?);
        headers.insert(header::LINK, HeaderValue::try_from(links).map_err(Error::internal)?);
        Ok(())
    }
}

pub(super) fn asks_for_place(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(FILE_INFO))
}
