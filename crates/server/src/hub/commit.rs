//! Files on their way in.

use auth::Write;
use http::{Response, header};
use hub::commit_lines::Form;
use hub::preupload::Request as Asked;
use hub::upload::Receiving;

use super::{Call, json};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn preupload(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    refuse_pull_request(&call)?;
    let access = call.access::<Write>(target)?;
    let asked: Asked = call.json().await?;
    Ok(json(&call.hub().preupload(&access, revision, asked).await?))
}

pub(super) async fn commit(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    refuse_pull_request(&call)?;
    let access = call.access::<Write>(target)?;
    call.server.node.writable()?;
    let form = form(&call)?;
    let mut codings = call.request.headers().get_all(header::CONTENT_ENCODING).iter();
    if let Some(coding) = codings.find(|coding| !matches!(coding.as_bytes(), b"" | b"identity")) {
        return Err(Error::EncodedCommit(coding.to_str().unwrap_or_default().to_owned()));
    }
    let max = call.request.body_max;
    let mut receiving = Receiving::new(form);
    let mut spool = call.server.staging.begin();
    let mut received = 0u64;
    while let Some(bytes) = call.request.body.receive().await? {
        received += bytes.len() as u64;
        if received > max {
            return Err(Error::TooLarge { max });
        }
        let content = receiving.push(&bytes).map_err(|error| Error::Malformed(error.to_string()))?;
        if !content.is_empty() {
            spool.write(&content).await?;
        }
    }
    let mut draft = receiving.finish().map_err(|error| Error::Malformed(error.to_string()))?;
    let mut spool = spool.finish().await?;
    if draft.is_to_be_restored() {
        let mut restored = call.server.staging.begin();
        let mut restoring = draft.restore(spool);
        while let Some(piece) = restoring.next_piece() {
            restored.write(&piece).await?;
        }
        (draft, spool) = (restoring.finish(), restored.finish().await?);
    }
    let (hub, branch) = (call.hub().clone(), revision.to_owned());
    let path = access.repo().path.clone();
    let told = call.to_its_end(async move { hub.commit(access, &branch, draft, spool).await }).await?;
    if told.moved {
        call.server.node.maintenance.notify_one();
    }
    let url = format!("{}/{path}/commit/{}", call.origin(), told.commit);
    Ok(json(&serde_json::json!({
        "success": true, "commitOid": told.commit.to_string(), "commitUrl": url, "hookOutput": "",
    })))
}

fn refuse_pull_request(call: &Call<'_>) -> Result<(), Error> {
    match call.query()?.is("create_pr") {
        false => Ok(()),
        true => Err(Error::NotImplemented(
            "this hub does not support pull requests; commit to a branch".to_owned(),
        )),
    }
}

fn form(call: &Call<'_>) -> Result<Form, Error> {
    let given = call.request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.split(';').next()).map(str::trim) {
        Some("application/x-ndjson" | "application/ndjson") => Ok(Form::Lines),
        Some("application/json") => Ok(Form::Object),
        _ => Err(Error::MediaType("application/x-ndjson")),
    }
}
