//! Which ref names git takes.

use crate::Limits;

/// Why a ref cannot be updated under its name. The text goes behind `ng <ref>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefNameProblem {
    #[error("funny refname")]
    Funny,
    #[error("ref name is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("multiple updates for this ref not allowed")]
    Repeated,
}

pub(super) fn check(name: &str, deletes: bool, limits: &Limits) -> Option<RefNameProblem> {
    let bytes_max = limits.ref_name_bytes_max;
    if name.len() > bytes_max {
        return Some(RefNameProblem::TooLong { bytes_max });
    }
    let below = name.strip_prefix("refs/");
    // As git: `refs/stash` cannot be pushed, but whatever is there can be deleted.
    let accepted = below.is_some_and(|below| is_well_formed(below) && (deletes || below.contains('/')));
    (!accepted).then_some(RefNameProblem::Funny)
}

/// The rules of git-check-ref-format(1), except that one component suffices.
pub fn is_well_formed(name: &str) -> bool {
    let characters = name.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b"~^:?*[\\".contains(&byte));
    let sequences = !name.contains("..") && !name.contains("@{") && !name.ends_with('.') && name != "@";
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    characters && sequences && name.split('/').all(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_below_refs() {
        let limits = Limits::default();
        assert_eq!(check("refs/heads/a", false, &limits), None);
        for name in ["HEAD", "refs", "refs/", "refs/stash", "heads/a", "Refs/heads/a", "refs/heads/../a", ""]
        {
            assert_eq!(check(name, false, &limits), Some(RefNameProblem::Funny), "{name}");
        }
        assert_eq!(check("refs/stash", true, &limits), None);
    }
}
