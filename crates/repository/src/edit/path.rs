//! Which paths a file may have.

use crate::fsck;

/// Longer ones cannot be checked out on many systems.
const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;
/// Everything that follows a path calls itself for each folder of it, and keeps something for each.
const PARTS_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("it is empty, or a part of it is")]
    Empty,
    #[error("'.' and '..' are no names of files")]
    Dots,
    #[error("no file can be in a repository's own '.git'")]
    DotGit,
    #[error("control characters cannot be in a name")]
    Control,
    #[error("it is longer than {PATH_BYTES_MAX} bytes, or a part of it than {NAME_BYTES_MAX}")]
    Long,
    #[error("it leads through more than {} folders", PARTS_MAX - 1)]
    Deep,
}

/// Whether a file over HTTP may get this path. Stricter than git, which is used to names that nobody can type.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::Long);
    }
    if path.split('/').count() > PARTS_MAX {
        return Err(PathError::Deep);
    }
    path.split('/').try_for_each(check_name)
}

fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" => Err(PathError::Empty),
        "." | ".." => Err(PathError::Dots),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::Long),
        _ if name.chars().any(char::is_control) => Err(PathError::Control),
        _ if fsck::is_dotgit(name.as_bytes()) => Err(PathError::DotGit),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = "a".repeat(255);
        let long = vec!["a".repeat(100); 40].join("/");
        let deep = "a/".repeat(PARTS_MAX - 1) + "b";
        let good =
            ["a", "a/b.c", ".gitattributes", ".github/x", "é/ü", "a b", "...", "-", &name, &long, &deep];
        for good in good {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        let (name, long, deep) = ("a".repeat(256), "a/".repeat(2048) + "b", "a/".repeat(PARTS_MAX) + "b");
        for (bad, error) in [
            ("", PathError::Empty),
            ("/a", PathError::Empty),
            ("a/", PathError::Empty),
            ("a//b", PathError::Empty),
            ("../a", PathError::Dots),
            ("a/./b", PathError::Dots),
            (".git", PathError::DotGit),
            (".git/config", PathError::DotGit),
            ("a/.GIT/config", PathError::DotGit),
            ("git~1", PathError::DotGit),
            (".git\u{200c}/x", PathError::DotGit),
            ("a\0b", PathError::Control),
            ("a\nb", PathError::Control),
            (&name, PathError::Long),
            (&long, PathError::Long),
            (&deep, PathError::Deep),
        ] {
            assert_eq!(check_path(bad), Err(error), "{bad:?}");
        }
    }
}
