//! `…/resolve/…` and `…/raw/…`: the files themselves.
//!
//! What users put into repositories never runs in our name: nothing is sent as a page, and what a browser might take for
//! one is saved instead of shown.

use std::ops::Range;

use auth::Read;
use database::{Oid, Sha256};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hub::at::At;
use hub::resolve::{Content, File};
use lfs::Resolved;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Call, REPO_COMMIT};
use crate::error::Error;
use crate::http::Body;
use crate::lfs::{Asked, content};
use crate::route::Target;

pub(super) const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
pub(super) const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const SANDBOX: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; sandbox";
/// In a path, slashes stay.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) async fn file(
    call: Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
) -> Result<Response<Body>, Error> {
    send(call, target, revision, path, "resolve").await
}

pub(super) async fn raw(
    call: Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
) -> Result<Response<Body>, Error> {
    send(call, target, revision, path, "raw").await
}

async fn send(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
    verb: &'static str,
) -> Result<Response<Body>, Error> {
    let visitor = call.visitor(target)?;
    let access = visitor.may::<Read>(call.server)?;
    if visitor.renamed {
        let query = call.request.head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let revision = utf8_percent_encode(revision, NON_ALPHANUMERIC);
        let path = utf8_percent_encode(path, IN_PATH);
        // Relative: some clients keep their token for nothing else.
        return Err(Error::Moved(format!("/{}/{verb}/{revision}/{path}{query}", access.repo().path)));
    }
    let at = call.hub().at(&access, revision).await?;
    let file = if verb == "raw" { at.raw(path)? } else { at.file(path)? };
    let counts = verb == "resolve";
    let xet = match file.content {
        Content::Large(sha256) => super::xet::Place::of(&call, &access, at.commit, sha256, file.size)?,
        Content::Blob(_) => None,
    };
    if let Some(place) = &xet
        && super::xet::asks_for_place(call.request.headers())
    {
        let mut response = super::json(&serde_json::json!({ "hash": place.hash(), "size": file.size }));
        name(&mut response, &file, &at, path, true);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(super::xet::FILE_INFO));
        place.announce(response.headers_mut())?;
        call.hub().downloaded(access.repo(), path, call.client())?;
        return Ok(response);
    }
    let etag = format!("\"{}\"", file.etag);
    let is_head = call.request.head.method == Method::HEAD;
    let asked = Asked::of(call.request.headers(), &etag, file.size);
    let (status, range) = match asked {
        Asked::Unmodified => (StatusCode::NOT_MODIFIED, None),
        // A range is of a GET's content.
        _ if is_head => (StatusCode::OK, Some(0..file.size)),
        Asked::Whole => (StatusCode::OK, Some(0..file.size)),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Asked::Nothing => return Err(Error::NoSuchRange { size: file.size }),
    };
    let sent = match &range {
        Some(range) if !is_head => body(&call, &access, &at, &file, path, range.clone()).await?,
        _ => {
            // What a GET would refuse is not promised.
            if let Content::Large(sha256) = &file.content {
                call.hub().large_is_there(&access, *sha256, file.size)?;
            }
            Sent::Bytes(Body::empty())
        }
    };
    let mut response = match sent {
        Sent::Bytes(body) => {
            let mut response = Response::new(body);
            *response.status_mut() = status;
            if let Some(range) = range {
                describe(&mut response, &range, file.size, status);
            }
            response
        }
        // With the range that was asked for, which the client repeats there.
        Sent::Elsewhere(url) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::FOUND;
            let url = HeaderValue::try_from(url).map_err(Error::internal)?;
            response.headers_mut().insert(header::LOCATION, url);
            response
        }
    };
    let download = call.query()?.is("download");
    name(&mut response, &file, &at, path, download);
    if let Some(place) = xet {
        place.announce(response.headers_mut())?;
    }
    if counts {
        call.hub().downloaded(access.repo(), path, call.client())?;
    }
    Ok(response)
}

enum Sent {
    Bytes(Body),
    Elsewhere(String),
}

async fn body(
    call: &Call<'_>,
    access: &auth::Authorized<Read>,
    at: &At,
    file: &File,
    path: &str,
    range: Range<u64>,
) -> Result<Sent, Error> {
    match &file.content {
        Content::Blob(oid) => Ok(Sent::Bytes(blob(at, *oid, file.size, range).await?)),
        Content::Large(sha256) => {
            match call.hub().large(access, *sha256, file.size, &saved_as(path)).await? {
                Resolved::Elsewhere(url) => Ok(Sent::Elsewhere(url)),
                Resolved::Here(object) => {
                    let body = content(&object, range).await.map_err(crate::lfs::unreadable)?;
                    Ok(Sent::Bytes(body))
                }
            }
        }
    }
}

/// Inflated at once where the request was read, unless that takes a while.
const ON_THE_SPOT_BYTES: u64 = 256 * 1024;

async fn blob(at: &At, oid: Oid, size: u64, range: Range<u64>) -> Result<Body, Error> {
    let bytes = match size <= ON_THE_SPOT_BYTES {
        true => at.blob_bytes(&oid)?,
        false => {
            let at = at.clone();
            let read = tokio::task::spawn_blocking(move || at.blob_bytes(&oid));
            read.await.map_err(Error::internal)??
        }
    };
    let end = (range.end as usize).min(bytes.len());
    Ok(Body::from(bytes.slice((range.start as usize).min(end)..end)))
}

pub(super) fn describe(response: &mut Response<Body>, range: &Range<u64>, size: u64, status: StatusCode) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(text).expect("because it is ASCII"));
    }
}

/// What clients are told of the file, wherever its bytes come from.
fn name(response: &mut Response<Body>, file: &File, at: &At, path: &str, download: bool) {
    let quoted = HeaderValue::try_from(format!("\"{}\"", file.etag)).expect("because it is hexadecimal");
    let content_type = content_type(file_name(path), &file.content);
    say(response, file_name(path), HeaderValue::from_static(content_type), download);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, quoted.clone());
    headers.insert(REPO_COMMIT, super::files::commit_header(at.commit));
    if let Content::Large(_) = file.content {
        headers.insert(LINKED_ETAG, quoted);
        headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
    }
}

/// The same of a file of a bucket, whose uploader said what it is: that is believed of what no browser runs.
pub(super) fn name_as(response: &mut Response<Body>, path: &str, said: Option<&str>, download: bool) {
    let by_name = content_type(file_name(path), &Content::Large(Sha256::EMPTY));
    let said = said.filter(|_| by_name == OPAQUE).and_then(|said| SHOWN.iter().find(|shown| **shown == said));
    say(response, file_name(path), HeaderValue::from_static(said.unwrap_or(&by_name)), download);
}

fn say(response: &mut Response<Body>, file_name: &str, content_type: HeaderValue, download: bool) {
    let shown = !download && is_harmless(content_type.to_str().unwrap_or(OPAQUE), file_name);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_DISPOSITION, disposition(file_name, shown));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What uploaders may say: pictures and sound that no browser takes for anything else.
const SHOWN: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "image/tiff",
    "audio/wav",
    "audio/x-wav",
    "audio/mpeg",
    "audio/flac",
    "audio/ogg",
    "audio/mp4",
    "audio/aac",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
];

const OPAQUE: &str = "application/octet-stream";

fn content_type(file_name: &str, content: &Content) -> &'static str {
    let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "json" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        _ => match content {
            Content::Blob(_) => "text/plain; charset=utf-8",
            Content::Large(_) => OPAQUE,
        },
    }
}

/// Whether a browser may show it. HTML, SVG and XML are sent as text, and saved.
fn is_harmless(content_type: &str, file_name: &str) -> bool {
    let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    let is_page =
        matches!(extension.as_str(), "html" | "htm" | "xhtml" | "svg" | "xml" | "xsl" | "mht" | "mhtml");
    !is_page && content_type != OPAQUE && content_type != "application/pdf"
}

/// With the name in both forms, since not every client reads the newer one.
fn disposition(file_name: &str, shown: bool) -> HeaderValue {
    let kind = if shown { "inline" } else { "attachment" };
    HeaderValue::try_from(named(kind, file_name)).expect("because it is ASCII")
}

/// What a bucket says of the file that stands at `path`.
fn saved_as(path: &str) -> String {
    named("attachment", file_name(path))
}

fn named(kind: &str, file_name: &str) -> String {
    let encoded = utf8_percent_encode(file_name, NON_ALPHANUMERIC);
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ';
    let plain: String = file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{kind}; filename*=UTF-8''{encoded}; filename=\"{plain}\";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_saved() {
        let blob = Content::Blob(Oid::NULL);
        for name in ["index.html", "x.SVG", "a.xml", "x.xhtml"] {
            let content_type = content_type(name, &blob);
            assert_eq!(
                (content_type, is_harmless(content_type, name)),
                ("text/plain; charset=utf-8", false),
                "{name}"
            );
        }
        for name in ["README.md", "config.json", "a.png", "x"] {
            assert!(is_harmless(content_type(name, &blob), name), "{name}");
        }
    }

    #[test]
    fn names_in_headers() {
        let text = |name| disposition(name, true).to_str().unwrap().to_owned();
        assert_eq!(text("a b.txt"), "inline; filename*=UTF-8''a%20b%2Etxt; filename=\"a b.txt\";");
        assert_eq!(text("é\".txt"), "inline; filename*=UTF-8''%C3%A9%22%2Etxt; filename=\"__.txt\";");
    }
}
