//! The body of `POST /api/{type}/{repo}/commit/{rev}`, read as it arrives: bytes go in by [`Parser::push`], a
//! [`Header`], [`Operation`]s and the text of files come out at a [`Sink`]. No I/O, no opinion on paths, ids or rights.
//!
//! A line may be gigabytes, for it carries a whole file, and every client sends `content` before it tells `path` and
//! `encoding`. So the text of a file is handed out piece by piece and never held; everything else is bounded by
//! [`Limits`]. [`ContentDecoder`] makes bytes of the text without knowing the encoding yet.
//!
//! Start reading at `parser.rs`, which knows the JSON; `draft.rs` knows the commit. What clients send: `huggingface_hub/_commit_api.py` `_prepare_commit_payload`,
//! `@huggingface/hub` `src/lib/commit.ts`, `hf-hub` `src/repository/upload.rs`.

mod base64;
mod content;
mod draft;
mod error;
mod fuzz;
mod member;
mod operation;
mod parser;
mod text;

#[cfg(test)]
mod tests;

pub use base64::{Base64Decoder, NotBase64};
pub use content::{ContentDecoder, Restore};
pub use error::{LineError, Problem};
pub use fuzz::fuzz;
pub use operation::{Encoding, Form, Header, Limits, Operation, Sink};
pub use parser::Parser;
