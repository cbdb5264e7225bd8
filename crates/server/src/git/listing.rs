//! Answers that list refs: small ones are made on the spot, large ones once per state of the repository.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use repository::Snapshot;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::http::{Body, compressor};
use crate::serve::Server;
use crate::spool::{Broken, Claim, Key, Writer};

/// Up to so many refs a listing is some 4 KiB, which takes less to make than to look up, and is not worth deflating.
const REFS_ON_THE_SPOT: usize = 64;

/// What is listed, as far as the answer depends on it.
pub(super) struct Question<'a> {
    pub kind: &'static str,
    pub details: &'a [u8],
    /// The client takes gzip.
    pub gzip: bool,
}

/// Answers with what `list` makes of the snapshot. The response lacks its content type.
pub(super) async fn answer(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    question: Question<'_>,
    list: impl FnOnce(&Snapshot) -> Bytes + Send + 'static,
) -> Result<Response<Body>, Error> {
    if snapshot.refs().len() <= REFS_ON_THE_SPOT {
        return Ok(Response::new(Body::from(list(&snapshot))));
    }
    let gzip = question.gzip;
    let reader = match server.spool.claim(Some(key(&snapshot, &question)))? {
        Claim::Found(reader) => reader,
        Claim::Write(writer, reader) => {
            // Its own task: others may read this listing though the one who asked first has left.
            tokio::spawn(produce(Arc::clone(server), snapshot, gzip, writer, list));
            reader
        }
    };
    reader.started().await?;
    let mut response = Response::new(Body::spooled(reader));
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Waits for a turn and lists: a listing is in memory whole until it is in the spool, so only a few are made at a time.
async fn produce(
    server: Arc<Server>,
    snapshot: Arc<Snapshot>,
    gzip: bool,
    writer: Writer,
    list: impl FnOnce(&Snapshot) -> Bytes + Send + 'static,
) {
    let Ok(turn) = server.listings.turn(&server.metrics.cold_builds_waiting).await else {
        writer.fail(Broken::Busy);
        return;
    };
    tokio::task::spawn_blocking(move || {
        match write(writer, gzip, || list(&snapshot)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => tracing::warn!(%error, "a listing of refs was not completed"),
            Ok(()) => {}
        }
        drop(turn);
    });
}

fn write(mut writer: Writer, gzip: bool, list: impl FnOnce() -> Bytes) -> io::Result<()> {
    // While it waited for its turn, everybody may have left.
    writer.flush()?;
    let listing = list();
    if gzip {
        let mut compressor = compressor(writer);
        compressor.write_all(&listing)?;
        writer = compressor.finish()?;
    } else {
        writer.write_all(&listing)?;
    }
    writer.finish()
}

/// Refs change with the generation only; what else a listing shows is in the key by value.
fn key(snapshot: &Snapshot, question: &Question<'_>) -> Key {
    let repo = snapshot.repo();
    let mut hash = Sha256::new_with_prefix(b"granary listing 1\0");
    hash.update(repo.id.0.to_le_bytes());
    hash.update(snapshot.generation().to_le_bytes());
    hash.update([u8::from(question.gzip), u8::from(repo.mirror)]);
    for field in [repo.head_ref.as_bytes(), question.kind.as_bytes(), question.details] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}
