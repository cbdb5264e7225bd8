//! What LFS clients send and what they are told: JSON in, JSON out, no I/O.
//!
//! Lenient in: clients leave fields out, add their own, send `null` for absent ones and sets in any order. Strict out:
//! git-lfs decodes into typed structures and fails on the whole answer if one header value is not a string. An object
//! that makes no sense is told so itself; the others of its batch go on. Every parser is bounded by [`Limits`].
//!
//! Start at [`batch`]; the protocol is <https://github.com/git-lfs/git-lfs/tree/main/docs/api>.

pub mod batch;
mod json;
pub mod locks;
mod response;
pub mod time;
pub mod transfer;

use serde::Serialize;

/// Of every answer, whatever the request accepts.
pub const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// What is read of a request; more is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub body_bytes: usize,
    /// In one batch. GitHub takes 100, Hugging Face's client sends 256.
    pub objects: usize,
    /// In one multipart upload; S3's own limit.
    pub parts: usize,
    /// Of the path of a lock: Linux's own limit.
    pub path_bytes: usize,
    /// Of the name of a ref.
    pub ref_bytes: usize,
    /// Locks in one answer, also if the client names no limit.
    pub locks: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 4 * 1024 * 1024,
            objects: 5000,
            parts: 10_000,
            path_bytes: 4096,
            ref_bytes: 1024,
            locks: 1000,
        }
    }
}

/// Which client is asking, as far as uploads differ: what it sends along with a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Forwards the headers of an action.
    GitLfs,
    /// Sends no header of an action; takes `multipart` per object.
    HuggingFace,
    /// Is believed to send no header of an action.
    Other,
}

impl Family {
    /// By the `User-Agent` header.
    pub fn of(user_agent: Option<&str>) -> Family {
        match user_agent {
            Some(agent) if agent.starts_with("git-lfs/") => Family::GitLfs,
            Some(agent) if agent.contains("hf_hub/") => Family::HuggingFace,
            Some(_) | None => Family::Other,
        }
    }
}

/// The answer to a request that failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failure<'a> {
    /// Shown to the user as it is.
    pub message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<&'a str>,
    pub request_id: &'a str,
}

impl Failure<'_> {
    pub fn to_json(&self) -> Vec<u8> {
        json::encode(self, 256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_by_their_user_agents() {
        let git_lfs = "git-lfs/3.6.1 (GitHub; linux amd64; go 1.23.3; git ea47a34b)";
        let hub = "unknown/None; hf_hub/2.4.0; python/3.11.2; torch/2.9";
        for (agent, family) in [
            (Some(git_lfs), Family::GitLfs),
            (Some("git-lfs/"), Family::GitLfs),
            (Some("Git-LFS/3.6.1"), Family::Other),
            (Some("proxy git-lfs/3.6.1"), Family::Other),
            (Some(hub), Family::HuggingFace),
            (Some("hf_hub/0.1"), Family::HuggingFace),
            (Some("hf_hubby"), Family::Other),
            (Some("curl/8.5"), Family::Other),
            (Some(""), Family::Other),
            (None, Family::Other),
        ] {
            assert_eq!(Family::of(agent), family, "{agent:?}");
        }
    }

    #[test]
    fn failures_are_flat() {
        let failure = Failure { message: "say \"please\"\n", documentation_url: None, request_id: "01J" };
        assert_eq!(failure.to_json(), br#"{"message":"say \"please\"\n","request_id":"01J"}"#);
        let failure = Failure { documentation_url: Some("https://x/y"), message: "no", ..failure };
        let expected = r#"{"message":"no","documentation_url":"https://x/y","request_id":"01J"}"#;
        assert_eq!(failure.to_json(), expected.as_bytes());
    }
}
