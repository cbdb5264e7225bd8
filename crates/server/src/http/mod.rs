//! HTTP/1.1 as every route sees it: connections with deadlines, request bodies with bounds, response bodies that are
//! not copied, and one log line per request.
//!
//! Start at `service`, which takes a request from its head to its log line.

mod body;
mod connection;
mod exchange;
mod gzip;
mod request;
mod service;

pub use body::{Body, BodyError, Chunk, Frames};
pub(crate) use connection::{Connection, Files, Phase, Timeouts};
pub(crate) use exchange::Exchange;
pub(crate) use gzip::{accepts_gzip, compressor};
pub(crate) use request::{Request, RequestBody};
pub(crate) use service::handle;
