//! What becomes of a file that somebody brings: where it is stored, and what is refused whatever it holds.

use database::RepoKind;
use repository::ReadError;
use repository::attributes::Attributes;
use repository::edit::{EditError, check_path};

use crate::at::shown;
use crate::{HubError, card};

/// Sizes from which files go elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub blob_bytes_max: u64,
}

/// Whether a file is to be stored by LFS: by the rules of the repository, for its size, or since it is no text.
pub(crate) fn is_large(
    attributes: &mut Attributes<'_>,
    path: &str,
    size: u64,
    sample: &[u8],
    rules: Rules,
) -> Result<bool, ReadError> {
    // Git itself reads these, and empty files are no objects.
    let name = path.rsplit('/').next().unwrap_or(path);
    if size == 0 || matches!(name, ".gitattributes" | ".gitignore" | ".gitmodules") {
        return Ok(false);
    }
    Ok(size > rules.blob_bytes_max || is_binary(sample) || attributes.is_lfs(path)?)
}

/// Whether the beginning of a file shows that it is no text.
fn is_binary(sample: &[u8]) -> bool {
    match std::str::from_utf8(sample) {
        Ok(text) => text.contains('\0'),
        // Cut in the middle of a character.
        Err(error) => error.error_len().is_some() || sample[..error.valid_up_to()].contains(&0),
    }
}

pub(crate) fn checked(path: &str) -> Result<(), HubError> {
    check_path(path)
        .map_err(|source| HubError::Unprocessable(EditError::Path { path: shown(path), source }.to_string()))
}

/// What is wrong with a card, in words for whoever brings it.
pub fn check_card(readme: &[u8], kind: RepoKind) -> Result<(), String> {
    let errors = card::validate(readme, kind).errors;
    match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("Invalid metadata in README.md: {}", errors.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_what_is_none() {
        for text in [&b""[..], b"abc\n", "é".as_bytes(), &"é".as_bytes()[..1], b"\xef\xbb\xbfbom"] {
            assert!(!is_binary(text), "{text:?}");
        }
        for binary in [&b"\0"[..], b"a\0b", b"\xff\xfe", b"PK\x03\x04\x14\0\0\0", b"\x89PNG\r\n\x1a\n"] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }
}
