//! The configured limits, as the crates below take them.

use std::time::Duration;

use super::{Config, Size};

impl Config {
    /// For `change`: what one change may cost, and how long things are kept.
    pub fn change_limits(&self) -> change::Limits {
        let (limits, maintenance) = (&self.limits, &self.maintenance);
        let default = change::Limits::default();
        change::Limits {
            ingest: self.ingest_limits(),
            refs_max: limits.refs,
            ref_name_bytes_max: limits.ref_name_bytes.get(),
            concurrent_changes: or_default(limits.concurrent_changes, default.concurrent_changes),
            superseded_ms: maintenance.superseded.ms(),
            gc_retention_ms: maintenance.gc_retention.ms(),
            staged_ms: maintenance.staged.ms(),
        }
    }

    /// For `hub`: what the API's clients are offered.
    pub fn hub_settings(&self) -> hub::Settings {
        hub::Settings {
            auth: auth::Settings { anonymous_read: self.auth.anonymous_read },
            default_visibility: match self.repos.default_visibility {
                super::DefaultVisibility::Private => database::Visibility::Private,
                super::DefaultVisibility::Public => database::Visibility::Public,
            },
            blob_bytes_max: self.limits.blob_bytes.bytes(),
            quota: self.lfs.quota.map(|quota| quota.bytes()),
        }
    }

    /// For `repository`: a received pack and its objects.
    pub fn ingest_limits(&self) -> repository::ingest::Limits {
        let limits = &self.limits;
        repository::ingest::Limits {
            pack_bytes: limits.pack_bytes.bytes(),
            objects: limits.objects.get(),
            object_bytes: limits.object_bytes.bytes(),
            blob_bytes: limits.blob_bytes.bytes(),
            memory_bytes: in_memory(limits.ingest_memory),
            inflated_bytes_total: limits.inflated_bytes.bytes(),
            ..repository::ingest::Limits::default()
        }
    }

    /// For `git-protocol`: what one request may say.
    pub fn protocol_limits(&self) -> git_protocol::Limits {
        let limits = &self.limits;
        git_protocol::Limits {
            wants_max: limits.wants.get(),
            haves_max: limits.haves.get(),
            prefixes_max: limits.prefixes.get(),
            shallow_max: limits.shallow,
            commands_max: limits.commands.get(),
            ref_name_bytes_max: limits.ref_name_bytes.get(),
            push_options_max: limits.push_options,
            walk: repository::walk::WalkLimits { commits_max: limits.walk_commits.get() },
            ..git_protocol::Limits::default()
        }
    }

    /// For `lfs`: what one batch and one object may cost.
    pub fn objects_config(&self) -> lfs::Config {
        let (config, default) = (&self.lfs, lfs::Config::default());
        let retention = self.maintenance.gc_retention.duration();
        lfs::Config {
            multipart_from: config.multipart_from.bytes(),
            part_size: self.part_bytes(),
            batch_objects_max: config.batch_objects.get(),
            object_bytes_max: config.object_bytes.bytes(),
            uploads_max: config.uploads.get(),
            touch_after: default.touch_after.min(retention / 2),
            whole_after: self.xet.whole_after,
            xet: self.xet_config(),
            ..default
        }
    }

    /// For `xet`: whose chunks are found by whom, and what is done at once.
    fn xet_config(&self) -> ::xet::Config {
        let (config, default) = (&self.xet, ::xet::Config::default());
        let lease = config.lease.duration();
        ::xet::Config {
            file_bytes_max: self.lfs.object_bytes.bytes(),
            xorbs_max: config.uploads.get(),
            shards_max: config.shards.get(),
            address_lifetime: config.address_lifetime.duration().max(ADDRESS_LIFETIME_MIN),
            dedup_scope: config.dedup_scope.into(),
            // What is told of chunks must not outlive them.
            dedup_lifetime: default.dedup_lifetime.min(lease / 2),
            lease,
            ..default
        }
    }

    /// For `lfs`: what one request may say.
    pub fn wire_limits(&self) -> lfs::wire::Limits {
        let (objects, default) = (self.lfs.batch_objects.get(), lfs::wire::Limits::default());
        let body_bytes = default.body_bytes.max(objects.saturating_mul(BATCH_OBJECT_BYTES));
        lfs::wire::Limits { objects, body_bytes, ..default }
    }

    /// S3 takes no smaller ones, but for the last.
    pub fn part_bytes(&self) -> u64 {
        self.lfs.part_size.bytes().max(PART_BYTES_MIN)
    }

    /// For `repository`: what is kept in memory.
    pub fn cache_limits(&self) -> repository::snapshot::CacheLimits {
        let default = repository::snapshot::CacheLimits::default();
        repository::snapshot::CacheLimits {
            snapshots_and_packs: self.storage.snapshot_cache.get(),
            objects_bytes: in_memory(self.storage.object_cache),
            // A limit that was lowered does not make unreadable what was accepted under the old one.
            object_bytes_max: self.limits.object_bytes.bytes().max(default.object_bytes_max),
            ..default
        }
    }
}

/// Of a batch request, with room to spare: an oid and a size take about 100.
const BATCH_OBJECT_BYTES: usize = 512;
const PART_BYTES_MIN: u64 = 5 << 20;
/// They are counted in seconds.
const ADDRESS_LIFETIME_MIN: Duration = Duration::from_secs(1);

fn in_memory(size: Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

/// 0 stands for what fits the machine.
fn or_default(configured: usize, default: usize) -> usize {
    if configured == 0 { default } else { configured }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a crate thinks right and what is documented here must not drift apart.
    #[test]
    fn the_defaults_are_those_of_the_crates() {
        let config = Config::default();
        let text = |value: &dyn std::fmt::Debug| format!("{value:#?}");
        assert_eq!(text(&config.change_limits()), text(&change::Limits::default()));
        assert_eq!(text(&config.objects_config()), text(&lfs::Config::default()));
        assert_eq!(text(&config.wire_limits()), text(&lfs::wire::Limits::default()));
        assert_eq!(text(&config.cache_limits()), text(&repository::snapshot::CacheLimits::default()));
        assert_eq!(text(&config.protocol_limits()), text(&git_protocol::Limits::default()));
    }

    #[test]
    fn what_is_set_for_xet_is_what_it_does() {
        let text = "[xet]\ndedup_scope = 'repo'\nlease = '2d'\nuploads = 3\nshards = 2\naddress_lifetime = '10m'\n\
                    [lfs]\nobject_bytes = '1GiB'";
        let config: Config = toml::from_str(text).unwrap();
        let xet = config.objects_config().xet;
        let hours = |count: u64| Duration::from_secs(count * 3600);
        assert_eq!(xet.dedup_scope, ::xet::DedupScope::Repo);
        assert_eq!((xet.lease, xet.dedup_lifetime), (hours(48), hours(24)));
        assert_eq!((xet.xorbs_max, xet.shards_max, xet.file_bytes_max), (3, 2, 1 << 30));
        assert_eq!(xet.address_lifetime, Duration::from_secs(600));
        for (wrong, expected) in [
            ("lifetime = '1h'", "unknown field `lifetime`"),
            ("dedup_scope = 'all'", "unknown variant `all`"),
            ("uploads = 0", "nonzero"),
            ("lease = 28", "a length of time such as"),
        ] {
            let error = toml::from_str::<Config>(&format!("[xet]\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn parts_are_as_large_as_s3_wants_them() {
        let mut config = Config::default();
        for (size, bytes) in [(1, 5 << 20), (5 << 20, 5 << 20), ((5 << 20) + 1, (5 << 20) + 1)] {
            config.lfs.part_size = Size(size);
            assert_eq!(config.part_bytes(), bytes);
        }
    }
}
