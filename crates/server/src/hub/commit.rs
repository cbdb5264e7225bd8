//! Files on their way in.

use auth::{Authorized, Propose};
use http::{Response, header};
use hub::commit_lines::Form;
use hub::preupload::Request as Asked;
use hub::upload::Receiving;

use super::{Call, discussions, json};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn preupload(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    let access = committer(&mut call, target, revision)?;
    let asked: Asked = call.json().await?;
    Ok(json(&call.hub().preupload(&access, revision, asked).await?))
}

pub(super) async fn commit(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    let proposes = call.query()?.is("create_pr");
    let access = committer(&mut call, target, revision)?;
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
    let told =
        call.to_its_end(async move { hub.commit(access, &branch, proposes, draft, spool).await }).await?;
    if told.moved {
        call.server.node.maintenance.notify_one();
    }
    let url = format!("{}/{path}/commit/{}", call.origin(), told.commit);
    let mut answer = serde_json::json!({
        "success": true, "commitOid": told.commit.to_string(), "commitUrl": url, "hookOutput": "",
    });
    if let Some(num) = told.opened {
        answer["pullRequestUrl"] = discussions::address(&call, &path, &num).into();
    }
    Ok(json(&answer))
}

/// Who may not write may propose: by a commit that opens a pull request, or to one of their own.
pub(super) fn committer(
    call: &mut Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Authorized<Propose>, Error> {
    let proposes = call.query()?.is("create_pr") || database::pull_of_ref(revision).is_some();
    let visitor = call.visitor(target)?;
    match proposes {
        true => visitor.may_propose(call.server),
        false => visitor.may_write(call.server),
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
