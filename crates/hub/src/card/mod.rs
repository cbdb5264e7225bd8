//! What a README says about its repository: the metadata block (the *card*), whether it is well-formed, and the tags,
//! task and library that the API shows and filters by.
//!
//! Pure functions over bytes and JSON: no I/O, no clock, no knowledge of HTTP or of where files are. Everything from
//! outside is bounded, since anyone who may push can write a README. Start with [`validate()`] and [`facts()`].
//!
//! Two readers of the same field must not disagree, so both take strings through `fields::texts`: one string or a
//! list, where numbers and booleans count as their text and everything else is passed over.

mod arxiv;
mod dataset;
mod facts;
mod fields;
mod formats;
mod front_matter;
mod model;
mod model_index;
mod tables;
mod tags;
mod transformers;
mod validate;
mod yaml;

use database::RepoKind;

pub use arxiv::arxiv_ids;
pub use facts::{Facts, Sources, facts};
pub use front_matter::front_matter;
pub use tables::{LIBRARIES, LICENSES, PIPELINES, pipeline_label};
pub use validate::{Validation, validate};
pub use yaml::parse;

/// The largest metadata block that is read.
pub const METADATA_BYTES_MAX: usize = 1 << 20;
/// The most tags that are derived for one repository.
pub const TAGS_MAX: usize = 2_000;
/// The longest tag, in characters; a longer one is cut.
pub const TAG_CHARS_MAX: usize = 256;

/// A README taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Card<'a> {
    /// The metadata, always an object with string keys; empty if there is no block.
    pub data: serde_json::Value,
    /// The Markdown below the block: the whole README if there is none.
    pub body: &'a [u8],
}

/// Takes a README apart. A caller that only shows a repository treats an error as no metadata.
pub fn read(readme: &[u8]) -> Result<Card<'_>, CardError> {
    let Some(block) = front_matter::find(readme)? else {
        return Ok(Card { data: serde_json::json!({}), body: readme });
    };
    Ok(Card { data: yaml::parse_at(block.yaml, block.lines_above)?, body: block.body })
}

/// Why the metadata of a README cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    #[error("the metadata block is larger than {METADATA_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the metadata block is not UTF-8 text")]
    NotUtf8,
    #[error("the metadata block must be a mapping of keys to values, but is {found}")]
    NotAMapping { found: &'static str },
    /// Line and column count from 1 in the README, or in the block for [`parse`].
    #[error("line {line}, column {column}: {message}")]
    Yaml { line: u64, column: u64, message: String },
}

#[cfg(test)]
mod tests;
