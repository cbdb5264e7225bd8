//! The two services and the three protocol versions.

/// What a client asks a repository for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Clone and fetch.
    UploadPack,
    /// Push.
    ReceivePack,
}

impl Service {
    pub const ALL: [Service; 2] = [Service::UploadPack, Service::ReceivePack];

    /// `git-upload-pack` or `git-receive-pack`: the value of `?service=` and the last segment of the POST's path.
    pub fn name(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }

    pub fn from_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Content type of the answer to `GET info/refs`.
    pub fn advertisement_type(self) -> &'static str {
        match self {
            Service::UploadPack => "application/x-git-upload-pack-advertisement",
            Service::ReceivePack => "application/x-git-receive-pack-advertisement",
        }
    }

    /// Content type that a POST must have.
    pub fn request_type(self) -> &'static str {
        match self {
            Service::UploadPack => "application/x-git-upload-pack-request",
            Service::ReceivePack => "application/x-git-receive-pack-request",
        }
    }

    /// Content type of the answer to a POST.
    pub fn result_type(self) -> &'static str {
        match self {
            Service::UploadPack => "application/x-git-upload-pack-result",
            Service::ReceivePack => "application/x-git-receive-pack-result",
        }
    }
}

/// The version of the protocol a request is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    #[default]
    V0,
    /// v0 whose advertisement begins with `version 1`.
    V1,
    V2,
}

impl Version {
    /// From the `Git-Protocol` header: a colon-separated list in which the highest known `version=` counts. Whatever
    /// else is in it is ignored, as git does.
    pub fn from_header(value: Option<&[u8]>) -> Version {
        let keys = value.unwrap_or_default().split(|&byte| byte == b':');
        keys.filter_map(|key| match key {
            b"version=1" => Some(Version::V1),
            b"version=2" => Some(Version::V2),
            _ => None,
        })
        .max()
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_known_version_counts() {
        let cases: [(Option<&[u8]>, Version); 9] = [
            (None, Version::V0),
            (Some(b""), Version::V0),
            (Some(b"version=0"), Version::V0),
            (Some(b"version=1"), Version::V1),
            (Some(b"version=2"), Version::V2),
            (Some(b"version=2:version=1"), Version::V2),
            (Some(b"x=y:version=2"), Version::V2),
            (Some(b"version=3"), Version::V0),
            (Some(b"version=2 :\xff"), Version::V0),
        ];
        for (header, version) in cases {
            assert_eq!(Version::from_header(header), version, "{header:?}");
        }
    }

    #[test]
    fn services_by_name() {
        for service in Service::ALL {
            assert_eq!(Service::from_name(service.name()), Some(service));
            assert!(service.request_type().contains(service.name()));
        }
        assert_eq!(Service::from_name("git-upload-archive"), None);
    }
}
