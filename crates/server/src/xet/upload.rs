//! Xorbs, as they arrive.

use ::xet::Hash;
use auth::Propose;
use http::Response;

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
