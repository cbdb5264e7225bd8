//! Every address of the Hub's API: those that are served, and those of other hubs that are refused on purpose.
//!
//! What is refused is found in the rows here. What is served is parsed in `hub_route`, and the
//! tests below hold the two together: they send an example of each row, by every method.

use http::StatusCode;
use serde::Serialize;

use crate::hub_route::{GET, POST};

/// One address.
///
/// In braces: `{type}` is `models`, `datasets` or `spaces`, `{repo}` a namespace and a name (at the beginning of an
/// address behind `datasets/` or `spaces/` if it is one), `{…}` with three dots at its end whatever follows, and all
/// others one segment.
#[derive(Serialize)]
pub(crate) struct Row {
    pub label: &'static str,
    pub methods: &'static str,
    pub address: &'static str,
    /// The status of a refusal.
    pub status: Option<u16>,
    /// In the message of a refusal.
    pub what: &'static str,
}

/// In the order of the table: served, refused, nothing.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    SERVED.iter().chain(REFUSED).chain(ELSEWHERE)
}

pub(crate) const SERVED: &[Row] = &[
    served("hub.whoami", GET, "/api/whoami-v2"),
    served("hub.user", GET, "/api/users/{name}/overview"),
    served("hub.org", GET, "/api/organizations/{name}/overview"),
    served("hub.org.members", GET, "/api/organizations/{name}/members"),
    served("hub.create", POST, "/api/repos/create"),
    served("hub.delete", "DELETE", "/api/repos/delete"),
    served("hub.move", POST, "/api/repos/move"),
    served("hub.list", GET, "/api/{type}"),
    served("hub.info", GET, "/api/{type}/{repo}"),
    served("hub.info", GET, "/api/{type}/{repo}/revision/{revision}"),
    served("hub.settings", "PUT", "/api/{type}/{repo}/settings"),
    served("hub.auth-check", GET, "/api/{type}/{repo}/auth-check"),
    served("hub.auth-check", GET, "/api/{type}/{repo}/auth-check/write"),
    served("hub.tree", GET, "/api/{type}/{repo}/tree/{revision}/{path…}"),
    served("hub.paths-info", POST, "/api/{type}/{repo}/paths-info/{revision}"),
    served("hub.refs", GET, "/api/{type}/{repo}/refs"),
    served("hub.commits", GET, "/api/{type}/{repo}/commits/{revision}"),
    served("hub.branch.create", POST, "/api/{type}/{repo}/branch/{branch}"),
    served("hub.branch.delete", "DELETE", "/api/{type}/{repo}/branch/{branch}"),
    served("hub.tag.create", POST, "/api/{type}/{repo}/tag/{revision}"),
    served("hub.tag.delete", "DELETE", "/api/{type}/{repo}/tag/{tag}"),
    served("hub.preupload", POST, "/api/{type}/{repo}/preupload/{revision}"),
    served("hub.commit", POST, "/api/{type}/{repo}/commit/{revision}"),
    served("hub.discussions", GET, "/api/{type}/{repo}/discussions"),
    served("hub.discussion.open", POST, "/api/{type}/{repo}/discussions"),
    served("hub.discussion", GET, "/api/{type}/{repo}/discussions/{num}"),
    served("hub.discussion.comment", POST, "/api/{type}/{repo}/discussions/{num}/comment"),
    served("hub.discussion.comment.edit", POST, "/api/{type}/{repo}/discussions/{num}/comment/{id}/edit"),
    served("hub.discussion.comment.hide", POST, "/api/{type}/{repo}/discussions/{num}/comment/{id}/hide"),
    served("hub.discussion.title", "POST, PATCH", "/api/{type}/{repo}/discussions/{num}/title"),
    served("hub.discussion.status", "POST, PATCH", "/api/{type}/{repo}/discussions/{num}/status"),
    served("hub.discussion.merge", POST, "/api/{type}/{repo}/discussions/{num}/merge"),
    served("hub.xet-token", GET, "/api/{type}/{repo}/xet-read-token/{revision}"),
    served("hub.xet-token", GET, "/api/{type}/{repo}/xet-write-token/{revision}"),
    served("hub.resolve", GET, "/{repo}/resolve/{revision}/{path…}"),
    served("hub.raw", GET, "/{repo}/raw/{revision}/{path…}"),
    served("hub.compare", GET, "/api/{type}/{repo}/compare/{revisions…}"),
    served("hub.super-squash", POST, "/api/{type}/{repo}/super-squash/{revision}"),
    served("hub.duplicate", POST, "/api/{type}/{repo}/duplicate"),
    served("hub.lfs-files", GET, "/api/{type}/{repo}/lfs-files"),
    served("hub.lfs-files.delete", "DELETE", "/api/{type}/{repo}/lfs-files/{sha256}"),
    served("hub.lfs-files.batch", POST, "/api/{type}/{repo}/lfs-files/batch"),
    served("hub.lfs-files.duplicate", POST, "/api/{type}/{repo}/lfs-files/duplicate"),
    served("hub.treesize", GET, "/api/{type}/{repo}/treesize/{revision}/{path…}"),
    served("hub.storage", GET, "/api/settings/repositories"),
    served("hub.storage", GET, "/api/organizations/{name}/settings/repositories"),
    served("hub.tags", GET, "/api/models-tags-by-type"),
    served("hub.tags", GET, "/api/datasets-tags-by-type"),
    served("hub.quicksearch", GET, "/api/quicksearch"),
    served("hub.trending", GET, "/api/trending"),
    served("hub.like", "POST, DELETE", "/api/{type}/{repo}/like"),
    served("hub.likers", GET, "/api/{type}/{repo}/likers"),
    served("hub.likes", GET, "/api/users/{name}/likes"),
    served("hub.ask-access", POST, "/{repo}/ask-access"),
    served("hub.access.list", GET, "/api/{type}/{repo}/user-access-request/pending"),
    served("hub.access.list", GET, "/api/{type}/{repo}/user-access-request/accepted"),
    served("hub.access.list", GET, "/api/{type}/{repo}/user-access-request/rejected"),
    served("hub.access.handle", POST, "/api/{type}/{repo}/user-access-request/handle"),
    served("hub.access.batch", POST, "/api/{type}/{repo}/user-access-request/batch"),
    served("hub.access.grant", POST, "/api/{type}/{repo}/user-access-request/grant"),
    served("hub.access.cancel", POST, "/api/{type}/{repo}/user-access-request/cancel"),
    served("hub.access.report", GET, "/api/{type}/{repo}/user-access-report"),
    served("hub.collections", GET, "/api/collections"),
    served("hub.collection.create", POST, "/api/collections"),
    served("hub.collection", GET, "/api/collections/{namespace}/{slug}"),
    served("hub.collection.edit", "PATCH", "/api/collections/{namespace}/{slug}"),
    served("hub.collection.delete", "DELETE", "/api/collections/{namespace}/{slug}"),
    served("hub.collection.add", POST, "/api/collections/{namespace}/{slug}/items"),
    served("hub.collection.item", "PATCH", "/api/collections/{namespace}/{slug}/items/{item}"),
    served("hub.collection.drop", "DELETE", "/api/collections/{namespace}/{slug}/items/{item}"),
    served("hub.buckets", GET, "/api/buckets/{namespace}"),
    served("hub.bucket.create", POST, "/api/buckets/{namespace}/{bucket}"),
    served("hub.bucket", GET, "/api/buckets/{namespace}/{bucket}"),
    served("hub.bucket.delete", "DELETE", "/api/buckets/{namespace}/{bucket}"),
    served("hub.bucket.settings", "PUT", "/api/buckets/{namespace}/{bucket}/settings"),
    served("hub.bucket.tree", GET, "/api/buckets/{namespace}/{bucket}/tree/{prefix…}"),
    served("hub.bucket.paths-info", POST, "/api/buckets/{namespace}/{bucket}/paths-info"),
    served("hub.bucket.batch", POST, "/api/buckets/{namespace}/{bucket}/batch"),
    served("hub.bucket.xet-token", GET, "/api/buckets/{namespace}/{bucket}/xet-read-token"),
    served("hub.bucket.xet-token", GET, "/api/buckets/{namespace}/{bucket}/xet-write-token"),
    served("hub.bucket.resolve", GET, "/buckets/{namespace}/{bucket}/resolve/{path…}"),
    served("hub.webhooks", GET, "/api/settings/webhooks"),
    served("hub.webhook.create", POST, "/api/settings/webhooks"),
    served("hub.webhook", GET, "/api/settings/webhooks/{id}"),
    served("hub.webhook.edit", POST, "/api/settings/webhooks/{id}"),
    served("hub.webhook.delete", "DELETE", "/api/settings/webhooks/{id}"),
    served("hub.webhook.enable", POST, "/api/settings/webhooks/{id}/enable"),
    served("hub.webhook.disable", POST, "/api/settings/webhooks/{id}/disable"),
    served("hub.webhook.deliveries", GET, "/api/settings/webhooks/{id}/deliveries"),
    served("hub.webhook.replay", POST, "/api/settings/webhooks/{id}/replay/{delivery}"),
    served("hub.validate-yaml", POST, "/api/validate-yaml"),
    served("hub.agent-harnesses", GET, "/api/agent-harnesses"),
    served("hub.telemetry", "GET, HEAD, POST", "/api/telemetry/{topic…}"),
    served("hub.tasks", GET, "/api/tasks"),
    served("preflight", "OPTIONS", "/api/{path…}"),
    served("preflight", "OPTIONS", "/{repo}/resolve/{revision}/{path…}"),
];

const ANY: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const GET_OR_POST: &str = "GET, HEAD, POST";

const SPACES: &str = "running Spaces";
const FOLLOWERS: &str = "followers";
const ORGANIZATIONS: &str = "the administration of organizations over its API: use `granary org`";
const PAPERS: &str = "papers";
const JOBS: &str = "jobs";
const KERNELS: &str = "kernels";
const SIGN_IN: &str = "signing in through a browser: use a token, as `hf auth login --token` does";

pub(crate) const REFUSED: &[Row] = &[
    refused(POST, "/uploads", "attachments of discussions"),
    refused(GET, "/api/{type}/{repo}/safetensors-metadata/{file…}", "headers of safetensors: read the files"),
    refused(GET, "/api/{type}/{repo}/notebook/{revision}/{path…}", "rendered notebooks"),
    refused(GET, "/api/{type}/{repo}/scan", "scans for malware"),
    refused(GET, "/api/{type}/{repo}/jwt", "tokens of one repository"),
    refused(GET_OR_POST, "/api/{type}/{repo}/resource-group", "resource groups"),
    refused(GET, "/api/datasets/{repo}/leaderboard", "leaderboards"),
    refused(GET, "/api/datasets/{repo}/parquet/{path…}", "conversion to Parquet"),
    refused(GET, "/api/datasets/{repo}/croissant", "Croissant metadata"),
    refused(GET, "/api/spaces/{repo}/runtime", SPACES),
    refused(POST, "/api/spaces/{repo}/hardware", SPACES),
    refused("GET, HEAD, POST, DELETE", "/api/spaces/{repo}/secrets", SPACES),
    refused("GET, HEAD, POST, DELETE", "/api/spaces/{repo}/variables", SPACES),
    refused("PUT, DELETE", "/api/spaces/{repo}/volumes", SPACES),
    refused(POST, "/api/spaces/{repo}/sleeptime", SPACES),
    refused(POST, "/api/spaces/{repo}/pause", SPACES),
    refused(POST, "/api/spaces/{repo}/restart", SPACES),
    refused(POST, "/api/spaces/{repo}/dev-mode", SPACES),
    refused(GET, "/api/spaces/{repo}/logs/{log}", SPACES),
    refused(GET, "/api/spaces/hardware", SPACES),
    refused(GET, "/api/spaces/templates", SPACES),
    refused(GET, "/api/spaces/semantic-search", "search by meaning"),
    refused(GET, "/api/users/{name}/followers", FOLLOWERS),
    refused(GET, "/api/users/{name}/following", FOLLOWERS),
    refused(GET, "/api/organizations/{name}/followers", FOLLOWERS),
    refused(GET, "/api/organizations/{name}/avatar", "avatars"),
    refused(ANY, "/api/organizations/{name}/settings/{path…}", ORGANIZATIONS),
    refused(ANY, "/api/organizations/{name}/resource-groups/{path…}", "resource groups"),
    refused(GET, "/api/organizations/{name}/audit-log/{path…}", "audit logs over its API"),
    refused(ANY, "/api/organizations/{name}/scim/{path…}", "SCIM"),
    refused(ANY, "/api/notifications/{path…}", "notifications"),
    refused(POST, "/api/collections/{namespace}/{slug}/resource-group", "resource groups"),
    refused(GET_OR_POST, "/api/posts/{path…}", "posts"),
    refused(GET, "/api/papers/{path…}", PAPERS),
    refused(GET, "/api/daily_papers", PAPERS),
    refused(GET, "/papers/{path…}", PAPERS),
    refused(ANY, "/api/jobs/{path…}", JOBS),
    refused(ANY, "/api/scheduled-jobs/{path…}", JOBS),
    refused(POST, "/api/sql/{path…}", "the SQL console"),
    refused(GET, "/api/buckets/{namespace}/{bucket}/events", "a feed of what changes in a bucket"),
    refused(ANY, "/api/kernels/{path…}", KERNELS),
    refused(GET, "/kernels/{repo}/resolve/{revision}/{path…}", KERNELS),
    refused(POST, "/api/credentials/revoke", "reports of leaked tokens: use `granary token revoke`"),
    refused(GET_OR_POST, "/oauth/{path…}", SIGN_IN),
    refused(GET, "/.well-known/openid-configuration", SIGN_IN),
    refused(GET, "/.well-known/openapi.json", "a description of its API as OpenAPI"),
    refused(ANY, "/v2/{path…}", "the protocol of OCI registries and Ollama"),
];

/// What is not decided by the path, and what is left over.
const ELSEWHERE: &[Row] = &[
    Row {
        label: "hub.datasets-server",
        methods: ANY,
        address: "datasets-server.{host}/{path…}",
        status: Some(StatusCode::NOT_FOUND.as_u16()),
        what: "dataset viewer",
    },
    Row {
        label: "none",
        methods: ANY,
        address: "/api/{path…}",
        status: Some(StatusCode::NOT_FOUND.as_u16()),
        what: "there is nothing at this address",
    },
];

const fn served(label: &'static str, methods: &'static str, address: &'static str) -> Row {
    Row { label, methods, address, status: None, what: "" }
}

const fn refused(methods: &'static str, address: &'static str, what: &'static str) -> Row {
    Row { label: "hub.refused", methods, address, status: Some(StatusCode::NOT_IMPLEMENTED.as_u16()), what }
}

impl Row {
    /// Whether these segments of a path are such an address.
    pub(crate) fn is_at(&self, segments: &[&str]) -> bool {
        let mut left = segments;
        for part in self.address.split('/').skip(1) {
            let taken = match (part, left) {
                (part, _) if part.ends_with("…}") => return true,
                ("{type}", ["models" | "datasets" | "spaces", ..]) => 1,
                ("{repo}", ["datasets" | "spaces", _, _, ..]) if left.len() == segments.len() => 3,
                ("{repo}", [_, _, ..]) => 2,
                ("{type}" | "{repo}", _) => return false,
                (part, [segment, ..]) if part.starts_with('{') || part == *segment => 1,
                _ => return false,
            };
            left = &left[taken..];
        }
        left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::hub_route::{BucketRoute, DiscussionRoute, HubRoute, PeopleRoute, ToolRoute, WebhookRoute};
    use crate::route::{Dialect, NoRoute, Origin, Route};

    const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    fn parse(method: &str, path: &str) -> Result<Route, NoRoute> {
        Route::parse(&method.parse().unwrap(), Origin::Whole, path, None)
    }

    fn methods_of(row: &Row) -> BTreeSet<&'static str> {
        row.methods.split(", ").collect()
    }

    /// Such an address, of each type of repository.
    fn examples(row: &Row) -> BTreeSet<String> {
        let of = |(kind, prefix): (&str, &str)| {
            let address = match row.address.strip_prefix("/{repo}") {
                Some(rest) => format!("/{prefix}acme/x{rest}"),
                None => row.address.replace("{type}", kind).replace("{repo}", "acme/x"),
            };
            let example = |part: &str| match (part.starts_with('{'), part.ends_with("…}")) {
                (_, true) => "a/b".to_owned(),
                (true, false) => "v1".to_owned(),
                (false, false) => part.to_owned(),
            };
            address.split('/').map(example).collect::<Vec<_>>().join("/")
        };
        [("models", ""), ("datasets", "datasets/"), ("spaces", "spaces/")].into_iter().map(of).collect()
    }

    #[test]
    fn every_route_has_a_row() {
        let nested = [
            DiscussionRoute::LABELS,
            ToolRoute::LABELS,
            PeopleRoute::LABELS,
            BucketRoute::LABELS,
            WebhookRoute::LABELS,
        ]
        .concat();
        let routes: BTreeSet<&str> =
            HubRoute::LABELS.iter().copied().chain(nested).chain(["preflight"]).collect();
        let rows: BTreeSet<&str> = SERVED.iter().chain(REFUSED).map(|row| row.label).collect();
        assert_eq!(routes, rows);
    }

    #[test]
    fn every_row_is_parsed_as_it_says() {
        for row in SERVED.iter().chain(REFUSED) {
            for path in examples(row) {
                for method in row.methods.split(", ") {
                    let route = parse(method, &path);
                    let label = route.as_ref().map(|route| route.policy().name);
                    assert_eq!(label, Ok(row.label), "{method} {path}");
                    if let Ok(Route::Hub(HubRoute::Refused { what })) = route {
                        assert_eq!(what, row.what, "{method} {path}");
                    }
                }
            }
        }
    }

    /// A branch is made and deleted at one address, of which two rows tell.
    #[test]
    fn other_methods_are_told_which_there_are() {
        for row in SERVED.iter().chain(REFUSED).filter(|row| row.label != "preflight") {
            for path in examples(row) {
                let segments: Vec<&str> = path.split('/').skip(1).collect();
                let rows = SERVED.iter().chain(REFUSED).filter(|row| row.is_at(&segments));
                let known: BTreeSet<&str> = rows.flat_map(methods_of).collect();
                for method in
                    METHODS.iter().filter(|method| **method != "OPTIONS" && !known.contains(**method))
                {
                    let Err(NoRoute::Method { dialect: Dialect::Hub, allow }) = parse(method, &path) else {
                        panic!("{method} {path}: {:?}", parse(method, &path));
                    };
                    let told: BTreeSet<&str> = allow.split(", ").collect();
                    assert!(
                        told.is_superset(&methods_of(row)) && told.is_subset(&known),
                        "{method} {path}: {allow}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_are_no_words_of_other_hubs() {
        for path in ["/api/spaces/hardware/x", "/api/models/hardware/x", "/api/models/jobs/discussions"] {
            assert!(matches!(parse("GET", path), Ok(Route::Hub(HubRoute::Info { .. }))), "{path}");
        }
        for path in [
            "/api/gadgets",
            "/api/models/acme/x/runtime",
            "/api/jobsx",
            "/uploads/x",
            "/datasets/x/ask-access",
        ] {
            assert_eq!(parse("POST", path), Err(NoRoute::NotFound(Dialect::Hub)), "{path}");
        }
    }
}
