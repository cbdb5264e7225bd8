//! The routes of buckets: `/api/buckets/…`, and the files below `/buckets/{bucket}`.

use http::Method;

use super::{GET, HubRoute, NOT_FOUND, POST, decoded, only};
use crate::route::NoRoute;

/// As an address names one; the namespace may be `me`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketName {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketRoute {
    /// `GET /api/buckets/{namespace}`
    List { namespace: String },
    /// `POST /api/buckets/{bucket}`
    Create { bucket: BucketName },
    /// `GET /api/buckets/{bucket}`
    Info { bucket: BucketName },
    /// `DELETE /api/buckets/{bucket}`
    Delete { bucket: BucketName },
    /// `PUT /api/buckets/{bucket}/settings`
    Settings { bucket: BucketName },
    /// `GET /api/buckets/{bucket}/tree[/{prefix}]`
    Tree { bucket: BucketName, prefix: String },
    /// `POST /api/buckets/{bucket}/paths-info`
    PathsInfo { bucket: BucketName },
    /// `POST /api/buckets/{bucket}/batch`
    Batch { bucket: BucketName },
    /// `GET /api/buckets/{bucket}/xet-read-token`, or for writing.
    XetToken { bucket: BucketName, write: bool },
    /// `GET /buckets/{bucket}/resolve/{path}`: a file as it is.
    Resolve { bucket: BucketName, path: String },
}

const ONE: &str = "GET, HEAD, POST, DELETE";

/// `None` if it is none of these; `rest` is behind `/api`.
pub(super) fn api(method: &Method, rest: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
    let (allow, route) = match rest {
        ["buckets", namespace] => (GET, BucketRoute::List { namespace: (*namespace).to_owned() }),
        ["buckets", namespace, name, rest @ ..] => {
            let bucket = BucketName { namespace: (*namespace).to_owned(), name: (*name).to_owned() };
            match rest {
                [] => match *method {
                    Method::POST => (ONE, BucketRoute::Create { bucket }),
                    Method::DELETE => (ONE, BucketRoute::Delete { bucket }),
                    _ => (ONE, BucketRoute::Info { bucket }),
                },
                ["settings"] => ("PUT", BucketRoute::Settings { bucket }),
                ["tree", prefix @ ..] => (GET, BucketRoute::Tree { bucket, prefix: prefix.join("/") }),
                ["paths-info"] => (POST, BucketRoute::PathsInfo { bucket }),
                ["batch"] => (POST, BucketRoute::Batch { bucket }),
                ["xet-read-token"] => (GET, BucketRoute::XetToken { bucket, write: false }),
                ["xet-write-token"] => (GET, BucketRoute::XetToken { bucket, write: true }),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(only(method, allow, HubRoute::Buckets(route)))
}

impl HubRoute {
    /// `rest` are the raw segments behind `resolve`.
    pub(crate) fn bucket_file(
        method: &Method,
        namespace: &str,
        name: &str,
        rest: &[&str],
    ) -> Result<HubRoute, NoRoute> {
        let (bucket, path) = (decoded(&[namespace, name]).ok_or(NOT_FOUND)?, decoded(rest).ok_or(NOT_FOUND)?);
        let [namespace, name] = bucket.as_slice() else { return Err(NOT_FOUND) };
        let bucket = BucketName { namespace: namespace.to_string(), name: name.to_string() };
        only(method, GET, HubRoute::Buckets(BucketRoute::Resolve { bucket, path: path.join("/") }))
    }
}

impl BucketRoute {
    pub(super) fn takes_a_body(&self) -> bool {
        matches!(
            self,
            BucketRoute::Create { .. }
                | BucketRoute::Settings { .. }
                | BucketRoute::PathsInfo { .. }
                | BucketRoute::Batch { .. }
        )
    }
}

super::labels! {
    BucketRoute:
    List => "hub.buckets",
    Create => "hub.bucket.create",
    Info => "hub.bucket",
    Delete => "hub.bucket.delete",
    Settings => "hub.bucket.settings",
    Tree => "hub.bucket.tree",
    PathsInfo => "hub.bucket.paths-info",
    Batch => "hub.bucket.batch",
    XetToken => "hub.bucket.xet-token",
    Resolve => "hub.bucket.resolve",
}
