//! `POST …/git-upload-pack`: listings of refs and fetches.
//!
//! A fetch is answered by a stored pack as it is, from the cache, or by a computation whose result goes into the
//! cache. The first two run where the request was read; only the third takes a thread, and no thread ever waits for the
//! client.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use auth::Read;
use bytes::Bytes;
use git_protocol::sideband::Framing;
use git_protocol::upload_pack::{
    self, Dialect, Fetch, FetchError, LsRefs, Request as Parsed, Verbatim, ls_refs,
};
use git_protocol::{Service, Version};
use http::{HeaderValue, Response, header};
use repository::Snapshot;

use super::listing::{self, Question};
use super::{prefixes, version};
use crate::door::Visitor;
use crate::error::{Error, chain, git_answer, git_refusal};
use crate::http::{Body, Chunk, Exchange, Frames, Request, accepts_gzip};
use crate::route::Target;
use crate::serve::Server;
use crate::spool::{Broken, Claim, Key, Reader, Writer};

const SERVICE: Service = Service::UploadPack;
/// Larger requests, with thousands of wants, are not looked at where other requests wait.
const ON_THE_SPOT_BYTES: usize = 256 * 1024;

/// What is to be done for a request.
enum Work {
    /// Git's own way to say no.
    Refuse(String),
    List(LsRefs),
    Send(Verbatim),
    Compute {
        key: Option<Key>,
        fetch: Fetch,
    },
}

pub(crate) async fn upload_pack(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    let access = Visitor::new(server, request.headers(), exchange, target)?.may::<Read>(server)?;
    request.require_type(SERVICE.request_type())?;
    let body = request.stage(&server.fetch_bodies).await?;
    let snapshot = super::snapshot(server, access.repo()).await?;
    match examine(server, &snapshot, version(request.headers()), body).await? {
        Work::Refuse(message) => Ok(git_refusal(SERVICE, &message)),
        Work::List(listed) => list(server, snapshot, listed, request).await,
        Work::Send(verbatim) => {
            server.metrics.verbatim.inc();
            Ok(git_answer(SERVICE, framed(verbatim)))
        }
        Work::Compute { key, fetch } => {
            let reader = answer(server, key, snapshot, fetch)?;
            reader.started().await?;
            Ok(git_answer(SERVICE, Body::spooled(reader)))
        }
    }
}

async fn examine(
    server: &Arc<Server>,
    snapshot: &Arc<Snapshot>,
    version: Version,
    body: Bytes,
) -> Result<Work, Error> {
    if body.len() <= ON_THE_SPOT_BYTES {
        return work(server, snapshot, version, &body);
    }
    let (server, snapshot) = (Arc::clone(server), Arc::clone(snapshot));
    let examined = tokio::task::spawn_blocking(move || work(&server, &snapshot, version, &body));
    examined.await.map_err(Error::internal)?
}

fn work(server: &Server, snapshot: &Snapshot, version: Version, body: &[u8]) -> Result<Work, Error> {
    let fetch = match upload_pack::parse(version, body, &server.protocol) {
        Err(refusal) => return Ok(Work::Refuse(refusal.to_string())),
        Ok(Parsed::LsRefs(mut listed)) => {
            prefixes::reduce(&mut listed, snapshot.refs());
            return Ok(Work::List(listed));
        }
        Ok(Parsed::Fetch(fetch)) => fetch,
    };
    // Before the cache is consulted: what was sent yesterday may be gone today.
    match fetch.check_wants(snapshot) {
        Ok(()) => {}
        Err(error) if error.is_refusal() => return Ok(Work::Refuse(error.message())),
        Err(error) => return Err(Error::internal(error)),
    }
    Ok(match upload_pack::verbatim(snapshot, &fetch) {
        Some(verbatim) => Work::Send(verbatim),
        None => {
            let epoch = server.node.answers_epoch();
            Work::Compute { key: fetch.cache_key(snapshot).map(|key| of_epoch(key, epoch)), fetch }
        }
    })
}

/// Answers from before the last purge are not found any more, and age out.
fn of_epoch(mut key: Key, epoch: u64) -> Key {
    key.iter_mut().zip(epoch.to_le_bytes()).for_each(|(byte, of_epoch)| *byte ^= of_epoch);
    key
}

async fn list(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    listed: LsRefs,
    request: &Request,
) -> Result<Response<Body>, Error> {
    let details = details(&listed);
    let question = Question { kind: "ls-refs", details: &details, gzip: accepts_gzip(request.headers()) };
    let list = move |snapshot: &Snapshot| ls_refs(snapshot, &listed);
    let mut response = listing::answer(server, snapshot, question, list).await?;
    let content_type = HeaderValue::from_static(SERVICE.result_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// What the listing depends on; who asks is not part of it.
fn details(listed: &LsRefs) -> Vec<u8> {
    let mut details: Vec<u8> = [listed.symrefs, listed.peel, listed.unborn].map(u8::from).to_vec();
    for prefix in &listed.prefixes {
        details.extend_from_slice(&(prefix.len() as u64).to_le_bytes());
        details.extend_from_slice(prefix);
    }
    details
}

fn framed(verbatim: Verbatim) -> Body {
    let pack = verbatim.pack.pack_bytes();
    let pack = match Frames::new(pack.clone(), verbatim.framing) {
        Some(frames) => Chunk::Frames(frames),
        None => Chunk::Bytes(pack),
    };
    let trailer = Bytes::from_static(verbatim.trailer);
    Body::chunks(vec![Chunk::Bytes(verbatim.preamble), pack, Chunk::Bytes(trailer)])
}

/// The cached answer, or the one being made for somebody else, or a new one.
fn answer(
    server: &Arc<Server>,
    key: Option<Key>,
    snapshot: Arc<Snapshot>,
    fetch: Fetch,
) -> Result<Reader, Broken> {
    match server.spool.claim(key)? {
        Claim::Found(reader) => Ok(reader),
        Claim::Write(writer, reader) => {
            // Its own task: others may read this answer though the one who asked first has left.
            tokio::spawn(produce(Arc::clone(server), snapshot, fetch, writer));
            Ok(reader)
        }
    }
}

/// Waits for a turn and computes. The turn ends with the computation, however slow the readers are.
async fn produce(server: Arc<Server>, snapshot: Arc<Snapshot>, fetch: Fetch, writer: Writer) {
    let Ok(turn) = server.builds.turn(&server.metrics.cold_builds_waiting).await else {
        writer.fail(Broken::Busy);
        return;
    };
    tokio::task::spawn_blocking(move || {
        server.metrics.cold_builds.inc();
        compute(&server, &snapshot, &fetch, writer);
        drop(turn);
    });
}

fn compute(server: &Server, snapshot: &Snapshot, fetch: &Fetch, mut writer: Writer) {
    // While it waited for its turn, everybody may have left.
    let answered = match writer.flush() {
        Ok(()) => upload_pack::answer(snapshot, fetch, &server.protocol, &mut writer, &Instant::now),
        Err(error) => Err(error.into()),
    };
    let finished = match answered {
        Ok(()) => writer.finish(),
        // The writer knows why, and so do its readers.
        Err(FetchError::Io(error)) => Err(error),
        Err(error) => {
            if !error.is_refusal() {
                let error = chain(&error);
                tracing::error!(repo = %snapshot.repo().path, %error, "a fetch cannot be answered");
            }
            // The client was told in the stream, unless nothing but the pack is in it.
            match fetch.dialect {
                Dialect::V0 { framing: Framing::Raw, .. } => return writer.fail(Broken::Failed),
                _ => writer.finish_unkept(),
            }
        }
    };
    match finished {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            tracing::debug!(repo = %snapshot.repo().path, "a fetch was given up by all who asked for it");
        }
        Err(error) => tracing::warn!(repo = %snapshot.repo().path, %error, "a fetch was cut short"),
        Ok(()) => {}
    }
}
