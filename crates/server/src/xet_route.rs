//! The routes of the Xet CAS, below `/cas/{epoch}`.
//!
//! Clients of ten versions are in use, with and without a version in the path, with singular and plural nouns
//! (`hf_xet` 1.1 to 1.8): every form leads to the same place. The epoch is part of the address that tokens name, so that
//! clients forget what they remember of xorbs when it changes.

use http::Method;
use xet::Hash;

use crate::route::{Dialect, NoRoute};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XetRoute {
    /// `GET /v2/reconstructions/{file}`, or v1: how to make a file of ranges of xorbs.
    Reconstruction { file: Hash, form: Form },
    /// `GET /v1/reconstructions?file_id=…`, or `POST` of a list: the same of many.
    Reconstructions,
    /// `GET /v1/chunks/{prefix}/{chunk}`: is this chunk here, and what is around it?
    Chunk { chunk: Hash },
    /// `POST /v1/xorbs/{prefix}/{xorb}`
    Xorb { xorb: Hash },
    /// `POST /v1/xorb-grants/{prefix}/{xorb}`: where to put a xorb, if not here.
    XorbGrant { xorb: Hash },
    /// `POST /v1/xorb-commits/{prefix}/{xorb}/grant/{grant}`: it is there.
    XorbCommit { xorb: Hash, grant: String },
    /// `HEAD /v1/xorbs/{prefix}/{xorb}`
    XorbSize { xorb: Hash },
    /// `HEAD /v1/files/{file}`
    FileSize { file: Hash },
    /// `POST /v1/shards`: what files are made of.
    Shard,
    /// `POST /v2/shards`: the same, told of while it goes on.
    ShardStream,
    /// `GET /data/{token}`: a range of a xorb, at an address that was handed out.
    Data { token: String },
    /// `POST /v1/telemetry`
    Telemetry,
    /// What clients ask for and can do without.
    Absent { what: &'static str },
}

/// In which words ranges are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `fetch_info`
    V1,
    /// `xorbs`
    V2,
}

const GET: &str = "GET";
const HEAD: &str = "HEAD";
const POST: &str = "POST";
const NOT_FOUND: NoRoute = NoRoute::NotFound(Dialect::Xet);

impl XetRoute {
    /// `rest` are the decoded segments behind the epoch.
    pub(crate) fn parse(method: &Method, rest: &[&str]) -> Result<XetRoute, NoRoute> {
        let (form, rest) = match rest {
            ["v1", rest @ ..] => (Form::V1, rest),
            ["v2", rest @ ..] => (Form::V2, rest),
            rest => (Form::V1, rest),
        };
        let hash = |text: &str| text.parse::<Hash>().map_err(|_| NOT_FOUND);
        let (allow, route) = match rest {
            ["reconstruction" | "reconstructions", file] => {
                (GET, XetRoute::Reconstruction { file: hash(file)?, form })
            }
            ["reconstructions"] => ("GET, POST", XetRoute::Reconstructions),
            ["chunk" | "chunks", _, chunk] => (GET, XetRoute::Chunk { chunk: hash(chunk)? }),
            ["xorb" | "xorbs", _, xorb] if method == Method::HEAD => {
                ("HEAD, POST", XetRoute::XorbSize { xorb: hash(xorb)? })
            }
            ["xorb" | "xorbs", _, xorb] => ("HEAD, POST", XetRoute::Xorb { xorb: hash(xorb)? }),
            ["files", file] => (HEAD, XetRoute::FileSize { file: hash(file)? }),
            ["shards"] if form == Form::V2 => (POST, XetRoute::ShardStream),
            ["shard" | "shards"] | ["shard" | "shards", _, _] => (POST, XetRoute::Shard),
            ["telemetry"] => (POST, XetRoute::Telemetry),
            ["data", token] => (GET, XetRoute::Data { token: (*token).to_owned() }),
            ["xorb-grants", _, xorb] => (POST, XetRoute::XorbGrant { xorb: hash(xorb)? }),
            ["xorb-commits", _, xorb, "grant", grant] => {
                (POST, XetRoute::XorbCommit { xorb: hash(xorb)?, grant: (*grant).to_owned() })
            }
            ["file-chunk-hashes", ..] => (GET, XetRoute::Absent { what: "edits of files by their chunks" }),
            _ => return Err(NOT_FOUND),
        };
        match allow.split(", ").any(|allowed| allowed == method.as_str()) {
            true => Ok(route),
            false => Err(NoRoute::Method { dialect: Dialect::Xet, allow }),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            XetRoute::Reconstruction { .. } => "xet.reconstruction",
            XetRoute::Reconstructions => "xet.reconstructions",
            XetRoute::Chunk { .. } => "xet.chunk",
            XetRoute::Xorb { .. } => "xet.xorb",
            XetRoute::XorbGrant { .. } => "xet.xorb.grant",
            XetRoute::XorbCommit { .. } => "xet.xorb.commit",
            XetRoute::XorbSize { .. } => "xet.xorb.size",
            XetRoute::FileSize { .. } => "xet.file.size",
            XetRoute::Shard => "xet.shard",
            XetRoute::ShardStream => "xet.shard.stream",
            XetRoute::Data { .. } => "xet.data",
            XetRoute::Telemetry => "xet.telemetry",
            XetRoute::Absent { .. } => "xet.absent",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Origin, Route};

    const HASH: &str = "d8d408e6000000000000000000000000000000000000000000000000000028cb";

    fn parse(method: &str, path: &str) -> Result<Route, NoRoute> {
        Route::parse(&method.parse().unwrap(), Origin::Whole, path, None)
    }

    #[test]
    fn every_form_that_clients_use() {
        let hash: Hash = HASH.parse().unwrap();
        let file = |form| XetRoute::Reconstruction { file: hash, form };
        for (method, path, expected) in [
            ("GET", format!("v2/reconstructions/{HASH}"), file(Form::V2)),
            ("GET", format!("v1/reconstructions/{HASH}"), file(Form::V1)),
            ("GET", format!("reconstructions/{HASH}"), file(Form::V1)),
            ("GET", format!("reconstruction/{HASH}"), file(Form::V1)),
            ("GET", "v1/reconstructions".to_owned(), XetRoute::Reconstructions),
            ("POST", "v1/reconstructions".to_owned(), XetRoute::Reconstructions),
            ("GET", format!("v1/chunks/default/{HASH}"), XetRoute::Chunk { chunk: hash }),
            ("GET", format!("v1/chunks/default-merkledb/{HASH}"), XetRoute::Chunk { chunk: hash }),
            ("GET", format!("chunk/default/{HASH}"), XetRoute::Chunk { chunk: hash }),
            ("POST", format!("v1/xorbs/default/{HASH}"), XetRoute::Xorb { xorb: hash }),
            ("POST", format!("xorbs/default/{HASH}"), XetRoute::Xorb { xorb: hash }),
            ("POST", format!("xorb/default/{HASH}"), XetRoute::Xorb { xorb: hash }),
            ("HEAD", format!("v1/xorbs/default/{HASH}"), XetRoute::XorbSize { xorb: hash }),
            ("HEAD", format!("v1/files/{HASH}"), XetRoute::FileSize { file: hash }),
            ("POST", format!("v1/xorb-grants/default/{HASH}"), XetRoute::XorbGrant { xorb: hash }),
            (
                "POST",
                format!("v1/xorb-commits/default/{HASH}/grant/a%3Fb"),
                XetRoute::XorbCommit { xorb: hash, grant: "a?b".to_owned() },
            ),
            ("POST", "v1/shards".to_owned(), XetRoute::Shard),
            ("POST", "shards".to_owned(), XetRoute::Shard),
            ("POST", format!("shard/default/{HASH}"), XetRoute::Shard),
            ("POST", "v2/shards".to_owned(), XetRoute::ShardStream),
            ("POST", "v1/telemetry".to_owned(), XetRoute::Telemetry),
            ("GET", "data/1-2-3-4-ab".to_owned(), XetRoute::Data { token: "1-2-3-4-ab".to_owned() }),
        ] {
            assert_eq!(
                parse(method, &format!("/cas/e1/{path}")),
                Ok(Route::Xet(expected)),
                "{method} {path}"
            );
        }
        for path in
            ["", "v1", "v1/xorbs/default/xyz", "v3/shards", &format!("v1/reconstructions/{}", &HASH[1..])]
        {
            assert_eq!(parse("GET", &format!("/cas/e1/{path}")), Err(missing(path)), "{path}");
        }
        let method = |allow| Err(NoRoute::Method { dialect: Dialect::Xet, allow });
        assert_eq!(parse("PUT", "/cas/e1/v1/shards"), method(POST));
        assert_eq!(parse("GET", &format!("/cas/e1/v1/xorbs/default/{HASH}")), method("HEAD, POST"));
        assert_eq!(parse("OPTIONS", "/cas/e1/v1/shards"), Ok(Route::Preflight));
    }

    /// An address that ends in a slash is nothing of the CAS in particular.
    fn missing(path: &str) -> NoRoute {
        NoRoute::NotFound(if path.is_empty() { Dialect::Hub } else { Dialect::Xet })
    }
}
