//! The server as its users meet it: by its command line and over its sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
mod edges;
mod git;
mod granary;
mod http;
mod hub;
mod lfs;
mod serving;
mod xet;
