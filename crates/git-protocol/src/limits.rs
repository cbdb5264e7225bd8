//! What a client may make this crate hold or walk.

/// Bounds of one request. Bytes of whole bodies are bounded by who reads them from the network.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Different objects or refs one fetch may want; a mirror of a repository with a million refs wants them all.
    pub wants_max: usize,
    /// `have` lines per round. Git sends at most a few ten thousand.
    pub haves_max: usize,
    /// From this many `ref-prefix` lines on all of them are ignored and every ref is listed, as git does: no client
    /// sends so many to see few refs, and an incomplete list would hide some.
    pub prefixes_max: usize,
    /// `shallow` lines of a fetch or a push.
    pub shallow_max: usize,
    /// `deepen-not` lines.
    pub deepen_not_max: usize,
    /// Bytes of a filter-spec.
    pub filter_bytes_max: usize,
    /// Largest `tree:<depth>`: a directory is walked again when it is met nearer to the root.
    pub filter_tree_depth_max: u64,
    /// Members of a `combine:` filter, nested ones included.
    pub filter_combine_max: usize,
    /// `server-option`, `agent` and other capability lines before the arguments of a v2 command.
    pub capabilities_max: usize,
    /// Refs of one push.
    pub commands_max: usize,
    /// Bytes of a full ref name. Longer ones are reported for the ref alone.
    pub ref_name_bytes_max: usize,
    pub push_options_max: usize,
    /// Bytes of all push options together.
    pub push_options_bytes_max: usize,
    /// What the walks behind an answer may cost.
    pub walk: repository::walk::WalkLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            wants_max: 1_000_000,
            haves_max: 262_144,
            prefixes_max: 65_536,
            shallow_max: 100_000,
            deepen_not_max: 1000,
            filter_bytes_max: 16 * 1024,
            filter_tree_depth_max: 1024,
            filter_combine_max: 64,
            capabilities_max: 1000,
            commands_max: 100_000,
            ref_name_bytes_max: 1024,
            push_options_max: 1000,
            push_options_bytes_max: 64 * 1024,
            walk: repository::walk::WalkLimits::default(),
        }
    }
}
