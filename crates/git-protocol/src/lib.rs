//! The server side of git's wire protocol: pkt-lines, the ref advertisement, `upload-pack` (v0, v1 and v2) and
//! `receive-pack`.
//!
//! Parsers take complete byte slices, are bounded by [`Limits`], do no I/O and never panic. Answers are built from one
//! [`repository::Snapshot`]; whatever is in its packs may be asked for. Who may talk to which door is decided before
//! this crate is called, and no ref is moved here.
//!
//! Start at [`pktline`], then [`advertise`], [`upload_pack::parse`] and [`receive_pack::parse_commands`]. The texts of
//! errors are git's own wherever git has one, since people and scripts match on them.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod pktline;
pub mod receive_pack;
pub mod sideband;
pub mod upload_pack;

mod advertise;
mod capabilities;
mod limits;
mod service;
mod text;

pub use advertise::{AdvertiseOptions, advertise};
pub use limits::Limits;
pub use service::{Service, Version};
