//! Advertisements as bytes, where git has no equal: what is hidden, and repositories without refs.

use database::{Oid, RefRow};
use git_protocol::{AdvertiseOptions, Service, Version, advertise};
use repository::Snapshot;

use crate::support::repo_row;

const OPTIONS: AdvertiseOptions<'_> = AdvertiseOptions { agent: "granary/1", session_id: Some("abc") };

fn snapshot(names: &[&str], mirror: bool) -> Snapshot {
    let row = |name: &&str| RefRow { name: (*name).to_owned(), oid: Oid([0x11; 20]), peeled: None };
    let repo = database::Repo { mirror, ..repo_row("refs/heads/main") };
    Snapshot::from_packs(repo, names.iter().map(row).collect(), Vec::new())
}

fn shown(service: Service, names: &[&str], mirror: bool) -> Vec<String> {
    let bytes = advertise(service, Version::V0, &snapshot(names, mirror), &OPTIONS);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let names = text.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(_, name)| name);
    names.map(|name| name.split('\0').next().unwrap().to_owned()).collect()
}

#[test]
fn who_is_shown_which_refs() {
    let all = ["refs/convert/parquet", "refs/heads/main", "refs/pr/1", "refs/tags/a"];
    let fetched = ["HEAD", "refs/convert/parquet", "refs/heads/main", "refs/tags/a"];
    assert_eq!(shown(Service::UploadPack, &all, false), fetched);
    assert_eq!(shown(Service::UploadPack, &all, true), fetched);
    assert_eq!(shown(Service::ReceivePack, &all, false), ["refs/heads/main", "refs/pr/1", "refs/tags/a"]);
    assert_eq!(shown(Service::ReceivePack, &all, true), all);
}

#[test]
fn repositories_without_refs() {
    let empty = snapshot(&[], false);
    let text = |service, version| {
        String::from_utf8_lossy(&advertise(service, version, &empty, &OPTIONS)).into_owned()
    };
    let zero = "0000000000000000000000000000000000000000 capabilities^{}\0";
    let upload = text(Service::UploadPack, Version::V0);
    assert!(upload.starts_with("001e# service=git-upload-pack\n0000"), "{upload}");
    assert!(upload.contains(zero) && !upload.contains("symref=") && upload.ends_with("\n0000"), "{upload}");
    assert!(upload.contains(" session-id=abc object-format=sha1 agent=granary/1\n"));
    assert!(text(Service::ReceivePack, Version::V0).contains(zero));
    assert!(!shown(Service::UploadPack, &["refs/heads/other"], false).contains(&"HEAD".to_owned()));
}

#[test]
fn versions() {
    let empty = snapshot(&[], false);
    let text = |service, version| {
        String::from_utf8_lossy(&advertise(service, version, &empty, &OPTIONS)).into_owned()
    };
    assert!(
        text(Service::UploadPack, Version::V1)
            .starts_with("001e# service=git-upload-pack\n0000000eversion 1\n")
    );
    let v2 = "000eversion 2\n0014agent=granary/1\n0013ls-refs=unborn\n\
              0033fetch=shallow wait-for-done filter ref-in-want\n0012server-option\n0017object-format=sha1\n\
              0013session-id=abc\n0000";
    assert_eq!(text(Service::UploadPack, Version::V2), v2);
    let push = text(Service::ReceivePack, Version::V2);
    assert!(push.contains("capabilities^{}\0report-status") && !push.contains("# service="), "{push}");
    assert!(!push.contains("version"));
    assert!(text(Service::ReceivePack, Version::V1).contains("0000000eversion 1\n"));
}
