//! Xorbs, as they arrive: here, or in the bucket.

use std::collections::BTreeMap;

use ::xet::{Grant, Granted, Hash};
use auth::Propose;
use database::UploadId;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::Call;
use crate::error::Error;
use crate::http::Body;
use crate::hub::json;

pub(super) async fn xorb(mut call: Call<'_>, xorb: Hash) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>()?;
    let len = call.request.body.len();
    // More than that is refused for its size, whatever there is room for.
    let max = u64::from(call.cas().config().xorb.serialized_bytes);
    call.server.node.objects_writable(len.unwrap_or(0).min(max))?;
    let mut receiving = call.cas().receive_xorb(access, xorb, len).await?;
    while let Some(bytes) = call.request.body.receive().await? {
        call.server.node.objects_taken(bytes.len() as u64)?;
        receiving.write(bytes).await?;
    }
    let received = call.server.pushes.spawn(receiving.finish()).await.map_err(Error::internal)??;
    Ok(json(&serde_json::json!({ "was_inserted": received.was_inserted })))
}

#[derive(Deserialize)]
struct Asked {
    /// In bytes, of the xorb as it is sent.
    length: u64,
    checksum: Checksum,
}

#[derive(Deserialize)]
struct Checksum {
    algo: String,
    /// In decimal.
    value: String,
}

#[derive(Serialize)]
struct Given {
    id: String,
    method: &'static str,
    url: String,
    headers: BTreeMap<&'static str, String>,
}

/// 404, and the client sends the xorb to us.
pub(super) async fn grant(mut call: Call<'_>, xorb: Hash) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>()?;
    let body = call.request.stage(&call.server.fetch_bodies).await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| Error::Malformed(format!("the request's JSON: {error}")))?;
    if asked.checksum.algo != "crc64nvme" {
        return Err(Error::Malformed(format!("the checksum '{}' is not known here", asked.checksum.algo)));
    }
    let crc64: u64 = asked.checksum.value.parse().map_err(|_| {
        Error::Malformed(format!("'{}' is no CRC-64 as a decimal number", asked.checksum.value))
    })?;
    call.server.node.objects_writable(0)?;
    match call.cas().grant_xorb(&access, xorb, asked.length, crc64).await? {
        None => Err(Error::Missing("this hub does not offer grants for xorbs; upload them to it".to_owned())),
        Some(Granted::Here) => Ok(json(&serde_json::json!({}))),
        Some(Granted::At(Grant { id, put })) => {
            let headers = put.header.into_iter().collect();
            let given = Given { id: id.to_string(), method: "PUT", url: put.href, headers };
            let mut response = json(&given);
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
    }
}

/// 404, and the client asks for another grant.
pub(super) async fn commit(mut call: Call<'_>, xorb: Hash, grant: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>()?;
    call.request.body.settle().await;
    call.server.node.objects_writable(0)?;
    let missing = || Error::Missing("nothing was uploaded by this grant; ask for another".to_owned());
    let id: UploadId = grant.parse().map_err(|_| missing())?;
    let cas = call.cas().clone();
    let committing = async move { cas.commit_grant(access, xorb, id).await };
    let committed = call.server.pushes.spawn(committing).await.map_err(Error::internal)??;
    let received = committed.ok_or_else(missing)?;
    Ok(json(&serde_json::json!({ "was_inserted": received.was_inserted })))
}
