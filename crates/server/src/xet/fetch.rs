//! What files are made of, and the bytes of xorbs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ::xet::{Addresses, FetchError, Hash, Reconstruction};
use auth::Read;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{Call, binary};
use crate::error::Error;
use crate::http::Body;
use crate::hub::{Query, json};
use crate::lfs::Asked;
use crate::xet_route::Form;

/// Files of one answer.
const FILES_MAX: usize = 1000;

#[derive(Serialize)]
struct Span<T> {
    start: T,
    end: T,
}

#[derive(Serialize)]
struct Term {
    hash: String,
    unpacked_length: u32,
    /// Of chunks; the end is not among them.
    range: Span<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Range {
    V1 {
        range: Span<u32>,
        url: String,
        /// Both ends are meant.
        url_range: Span<u64>,
    },
    V2 {
        url: String,
        ranges: [Ranges; 1],
    },
}

#[derive(Serialize)]
struct Ranges {
    chunks: Span<u32>,
    bytes: Span<u64>,
}

/// By xorb.
type Fetches = BTreeMap<String, Vec<Range>>;

#[derive(Serialize)]
struct One {
    offset_into_first_range: u64,
    terms: Vec<Term>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch_info: Option<Fetches>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xorbs: Option<Fetches>,
}

#[derive(Serialize)]
struct Many {
    files: BTreeMap<String, Vec<Term>>,
    fetch_info: Fetches,
}

/// Where a file's reconstruction is asked for.
pub(crate) fn reconstruction_address(cas_url: &str, file: &Hash) -> String {
    format!("{cas_url}/v1/reconstructions/{file}")
}

pub(super) async fn one(mut call: Call<'_>, file: Hash, form: Form) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>()?;
    let asked = asked(&call)?;
    let found = call.cas().reconstruct(&access, &file, asked).await?;
    let addresses = call.cas().addresses(&format!("{}/data", call.cas_url()?)).await?;
    let fetches = Some(fetches(&found, &addresses, form));
    let (fetch_info, xorbs) = if form == Form::V1 { (fetches, None) } else { (None, fetches) };
    let offset_into_first_range = found.offset_into_first_range;
    Ok(json(&One { offset_into_first_range, terms: terms(&found), fetch_info, xorbs }))
}

#[derive(Deserialize)]
struct Named {
    hash: String,
}

pub(super) async fn many(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>()?;
    let names: Vec<String> = match call.request.head.method {
        Method::POST => {
            let body = call.request.stage(&call.server.fetch_bodies).await?;
            let named: Vec<Named> = serde_json::from_slice(&body)
                .map_err(|error| Error::Malformed(format!("the request's JSON: {error}")))?;
            named.into_iter().map(|named| named.hash).collect()
        }
        _ => {
            let query = Query::parse(call.request.head.uri.query().unwrap_or_default())?;
            query.all("file_id").map(str::to_owned).collect()
        }
    };
    if names.len() > FILES_MAX {
        return Err(Error::Malformed(format!("at most {FILES_MAX} files can be asked for at once")));
    }
    let addresses = call.cas().addresses(&format!("{}/data", call.cas_url()?)).await?;
    let mut answer = Many { files: BTreeMap::new(), fetch_info: Fetches::new() };
    for name in names {
        let hash: Hash = name.parse().map_err(|_| Error::Malformed(format!("'{name}' is no hash")))?;
        let found = call.cas().reconstruct(&access, &hash, None).await?;
        for (xorb, mut ranges) in fetches(&found, &addresses, Form::V1) {
            answer.fetch_info.entry(xorb).or_default().append(&mut ranges);
        }
        answer.files.insert(name, terms(&found));
    }
    Ok(json(&answer))
}

/// `Range: bytes=a-b`, in bytes of the file. What is beyond its end is for the CAS to say.
fn asked(call: &Call<'_>) -> Result<Option<std::ops::Range<u64>>, Error> {
    let Some(value) = call.request.headers().get(header::RANGE) else { return Ok(None) };
    let range = value.to_str().ok().and_then(|text| {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        let first: u64 = first.trim().parse().ok()?;
        let end = match last.trim() {
            "" => u64::MAX,
            last => last.parse::<u64>().ok()?.checked_add(1)?,
        };
        (first < end).then_some(first..end)
    });
    range.map(Some).ok_or(Error::BadRequest("the Range of this request is not of the form bytes=FIRST-LAST"))
}

fn terms(found: &Reconstruction) -> Vec<Term> {
    let term = |term: &::xet::Term| Term {
        hash: term.xorb_hash.to_string(),
        unpacked_length: term.unpacked_length,
        range: Span { start: term.chunks.start, end: term.chunks.end },
    };
    found.terms.iter().map(term).collect()
}

/// One address for each range: it is signed for those bytes alone.
fn fetches(found: &Reconstruction, addresses: &Addresses, form: Form) -> Fetches {
    let mut fetches = Fetches::new();
    for fetch in &found.fetches {
        let ranges = fetch.ranges.iter().map(|range| {
            let url = addresses.of(&fetch.xorb, &range.bytes);
            let chunks = Span { start: range.chunks.start, end: range.chunks.end };
            let bytes = Span { start: *range.bytes.start(), end: *range.bytes.end() };
            match form {
                Form::V1 => Range::V1 { range: chunks, url, url_range: bytes },
                Form::V2 => Range::V2 { url, ranges: [Ranges { chunks, bytes }] },
            }
        });
        fetches.entry(fetch.xorb.hash.to_string()).or_default().extend(ranges);
    }
    fetches
}

/// Any refusal but ours is a 403: clients ask for a new address then.
pub(super) async fn data(call: Call<'_>, token: &str) -> Result<Response<Body>, Error> {
    let fetch = call.cas().open_address(token).await.map_err(|error| match error {
        FetchError::Keys(error) => error.into(),
        FetchError::Db(error) => error.into(),
        refused => Error::LinkRefused(refused.to_string()),
    })?;
    let size = fetch.xorb_bytes();
    let asked: RangeInclusive<u64> = match Asked::of(call.request.headers(), "", size) {
        Asked::Part(range) => range.start..=range.end.saturating_sub(1),
        Asked::Nothing => return Err(Error::NoSuchRange { size }),
        Asked::Whole | Asked::Unmodified => fetch.bytes.clone(),
    };
    let reader = fetch.reader(asked.clone()).await.map_err(crate::lfs::unreadable)?;
    let refused = || Error::LinkRefused("this address is for other bytes".to_owned());
    let body = Body::object(::lfs::Body::Whole(reader.ok_or_else(refused)?));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    let (first, last) = (*asked.start(), *asked.end());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(last - first + 1));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let content_range = HeaderValue::try_from(format!("bytes {first}-{last}/{size}"));
    headers.insert(header::CONTENT_RANGE, content_range.expect("because it is ASCII"));
    Ok(response)
}

/// Before the client uploads what it has, for a chunk here and there.
pub(super) async fn chunk(mut call: Call<'_>, chunk: Hash) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>()?;
    match call.cas().dedup(&access, &chunk).await? {
        Some(shard) => Ok(binary(shard)),
        None => Err(Error::Missing("this chunk is not known here".to_owned())),
    }
}

pub(super) fn xorb_size(mut call: Call<'_>, xorb: Hash) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>()?;
    let size = call.cas().xorb_size(&access, &xorb)?;
    Ok(sized(size.ok_or_else(|| Error::Missing("this xorb is not known here".to_owned()))?))
}

pub(super) fn file_size(mut call: Call<'_>, file: Hash) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>()?;
    Ok(sized(call.cas().file_size(&access, &file)?))
}

/// The answer to a HEAD.
fn sized(size: u64) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    response
}
