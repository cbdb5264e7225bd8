//! `/api/{type}/{repo}/discussions…`: discussions and pull requests.

use http::Method;

use super::{GET, POST};
use crate::route::Target;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscussionRoute {
    /// `GET …/discussions`
    List { repo: Target },
    /// `POST …/discussions`
    Open { repo: Target },
    /// `GET …/discussions/{num}`
    Details { repo: Target, num: String },
    /// `POST …/discussions/{num}/comment`
    Comment { repo: Target, num: String },
    /// `POST …/discussions/{num}/comment/{id}/edit`
    Edit { repo: Target, num: String, id: String },
    /// `POST …/discussions/{num}/comment/{id}/hide`
    Hide { repo: Target, num: String, id: String },
    /// `POST …/discussions/{num}/title`, or `PATCH`.
    Title { repo: Target, num: String },
    /// `POST …/discussions/{num}/status`, or `PATCH`.
    Status { repo: Target, num: String },
    /// `POST …/discussions/{num}/merge`
    Merge { repo: Target, num: String },
}

const GET_OR_POST: &str = "GET, HEAD, POST";
const POST_OR_PATCH: &str = "POST, PATCH";

impl DiscussionRoute {
    /// `rest` is what is behind `discussions`; with the methods that there are.
    pub(super) fn parse(
        method: &Method,
        repo: Target,
        rest: &[&str],
    ) -> Option<(&'static str, DiscussionRoute)> {
        let owned = |text: &str| text.to_owned();
        Some(match *rest {
            [] if *method == Method::POST => (GET_OR_POST, DiscussionRoute::Open { repo }),
            [] => (GET_OR_POST, DiscussionRoute::List { repo }),
            [num] => (GET, DiscussionRoute::Details { repo, num: owned(num) }),
            [num, "comment"] => (POST, DiscussionRoute::Comment { repo, num: owned(num) }),
            [num, "comment", id, "edit"] => {
                (POST, DiscussionRoute::Edit { repo, num: owned(num), id: owned(id) })
            }
            [num, "comment", id, "hide"] => {
                (POST, DiscussionRoute::Hide { repo, num: owned(num), id: owned(id) })
            }
            [num, "title"] => (POST_OR_PATCH, DiscussionRoute::Title { repo, num: owned(num) }),
            [num, "status"] => (POST_OR_PATCH, DiscussionRoute::Status { repo, num: owned(num) }),
            [num, "merge"] => (POST, DiscussionRoute::Merge { repo, num: owned(num) }),
            _ => return None,
        })
    }

    pub(super) fn takes_a_body(&self) -> bool {
        !matches!(self, DiscussionRoute::List { .. } | DiscussionRoute::Details { .. })
    }
}

super::labels! {
    DiscussionRoute:
    List => "hub.discussions",
    Open => "hub.discussion.open",
    Details => "hub.discussion",
    Comment => "hub.discussion.comment",
    Edit => "hub.discussion.comment.edit",
    Hide => "hub.discussion.comment.hide",
    Title => "hub.discussion.title",
    Status => "hub.discussion.status",
    Merge => "hub.discussion.merge",
}
