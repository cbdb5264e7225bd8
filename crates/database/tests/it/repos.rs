use database::{CreateError, Found, RepoId, RepoKind, RepoState, Stats, Visibility};

use crate::support::{change, create, hub, new_repo, oid, path};

#[tokio::test]
async fn a_new_repo_is_empty_and_spelled_as_its_user_is() {
    let hub = hub().await;
    let new = database::NewRepo {
        visibility: Visibility::Public,
        mirror: true,
        blob_bytes_max: Some(5),
        ..new_repo("datasets/ACME/Data.v1")
    };
    hub.clock.advance_ms(-1_000_000);
    let repo = hub.db.create_repo(new).await.unwrap();
    assert_eq!(repo.path.to_string(), "datasets/Acme/Data.v1");
    assert_eq!((repo.visibility, repo.mirror, repo.blob_bytes_max), (Visibility::Public, true, Some(5)));
    assert_eq!((repo.generation, repo.gc_epoch, repo.acl_version), (0, 0, 0));
    assert_eq!((repo.state, repo.head_ref.as_str()), (RepoState::Live, "refs/heads/main"));
    assert!(repo.created_ms <= hub.clock.now_ms() && repo.created_ms < hub.repo.created_ms);
    assert_eq!(hub.db.repo(repo.id).unwrap().unwrap(), repo);
    let rows = hub.db.snapshot(repo.id).unwrap().unwrap();
    assert_eq!((rows.repo, rows.refs.len(), rows.packs.len()), (repo, 0, 0));
    assert!(hub.db.repo(RepoId(99)).unwrap().is_none());
    assert!(hub.db.snapshot(RepoId(99)).unwrap().is_none());
    hub.assert_sound();
}

#[tokio::test]
async fn names_are_unique_per_kind_in_any_case_and_need_a_user() {
    let hub = hub().await;
    let taken = hub.db.create_repo(new_repo("acme/MODEL")).await;
    assert!(matches!(taken, Err(CreateError::Taken)), "{taken:?}");
    let nobody = hub.db.create_repo(new_repo("nobody/model")).await;
    assert!(matches!(nobody, Err(CreateError::NoUser)), "{nobody:?}");
    let space = hub.db.create_repo(new_repo("spaces/acme/model")).await.unwrap();
    assert_eq!(space.path.kind, RepoKind::Space);
    let Some(Found::Repo(found)) = hub.db.find_repo(&path("ACME/Model")).unwrap() else { panic!() };
    assert_eq!(found, hub.repo);
    assert!(hub.db.find_repo(&path("datasets/acme/model")).unwrap().is_none());
}

#[tokio::test]
async fn listing_is_in_order_and_in_pages() {
    let hub = hub().await;
    for name in ["spaces/acme/a", "datasets/acme/b", "datasets/acme/A", "acme/z", "acme/B"] {
        hub.db.create_repo(new_repo(name)).await.unwrap();
    }
    let gone = hub.db.create_repo(new_repo("acme/gone")).await.unwrap();
    hub.db.delete_repo(gone.id, 0).await.unwrap();
    let mut names = vec![];
    let mut after = None;
    loop {
        let page = hub.db.repos(after.as_ref(), 4).unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        names.extend(page.iter().map(|repo| repo.path.to_string()));
    }
    let expected = ["Acme/B", "Acme/model", "Acme/z", "datasets/Acme/A", "datasets/Acme/b", "spaces/Acme/a"];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_renamed_repo_is_found_by_its_old_names() {
    let hub = hub().await;
    hub.db.create_user("Beta".parse().unwrap(), false).await.unwrap();
    hub.apply_one().await;
    let renamed = hub.db.rename_repo(hub.repo.id, path("acme/Second")).await.unwrap();
    assert_eq!(renamed, hub.repo());
    assert_eq!((renamed.path.to_string().as_str(), renamed.acl_version), ("Acme/Second", 1));
    assert_eq!(renamed.generation, 1, "a rename is no change of git data");
    hub.db.rename_repo(hub.repo.id, path("beta/third")).await.unwrap();
    for old in ["acme/model", "ACME/second"] {
        let Some(Found::Redirect(found)) = hub.db.find_repo(&path(old)).unwrap() else { panic!("{old}") };
        assert_eq!(found.path.to_string(), "Beta/third");
    }
    let redirects: Vec<String> =
        hub.db.redirects(hub.repo.id).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(redirects, ["acme/model", "acme/second"]);

    // Back to a name it had: that redirect goes, the one it leaves comes.
    hub.db.rename_repo(hub.repo.id, path("acme/model")).await.unwrap();
    assert!(matches!(hub.db.find_repo(&path("acme/model")).unwrap(), Some(Found::Repo(_))));
    assert!(matches!(hub.db.find_repo(&path("beta/third")).unwrap(), Some(Found::Redirect(_))));

    // Another case is another spelling of the same name.
    hub.db.rename_repo(hub.repo.id, path("acme/MODEL")).await.unwrap();
    assert_eq!(hub.repo().path.to_string(), "Acme/MODEL");
    hub.assert_sound();
}

#[tokio::test]
async fn a_rename_that_cannot_be_changes_nothing() {
    let hub = hub().await;
    hub.db.create_repo(new_repo("acme/other")).await.unwrap();
    let try_name = async |to| hub.db.rename_repo(hub.repo.id, path(to)).await.unwrap_err();
    assert!(matches!(try_name("acme/OTHER").await, CreateError::Taken));
    assert!(matches!(try_name("nobody/model").await, CreateError::NoUser));
    assert!(matches!(try_name("spaces/acme/model").await, CreateError::OtherKind));
    let missing = hub.db.rename_repo(RepoId(99), path("acme/x")).await;
    assert!(matches!(missing, Err(CreateError::NoRepo)), "{missing:?}");
    assert_eq!(hub.repo(), hub.repo);
    hub.assert_sound();
}

#[tokio::test]
async fn a_new_repo_or_a_rename_wins_over_a_redirect() {
    let hub = hub().await;
    hub.db.rename_repo(hub.repo.id, path("acme/second")).await.unwrap();
    hub.db.rename_repo(hub.repo.id, path("acme/third")).await.unwrap();
    let new = hub.db.create_repo(new_repo("acme/model")).await.unwrap();
    let Some(Found::Repo(found)) = hub.db.find_repo(&path("acme/model")).unwrap() else { panic!() };
    assert_eq!(found.id, new.id);
    hub.db.rename_repo(new.id, path("acme/second")).await.unwrap();
    let Some(Found::Repo(found)) = hub.db.find_repo(&path("acme/second")).unwrap() else { panic!() };
    assert_eq!(found.id, new.id);
    assert!(hub.db.redirects(hub.repo.id).unwrap().is_empty());
    hub.assert_sound();
}

#[tokio::test]
async fn who_may_see_or_push_moves_the_acl_version() {
    let hub = hub().await;
    assert!(hub.db.set_visibility(hub.repo.id, Visibility::Public).await.unwrap());
    assert!(hub.db.set_mirror(hub.repo.id, true).await.unwrap());
    let repo = hub.repo();
    assert_eq!((repo.visibility, repo.mirror, repo.acl_version), (Visibility::Public, true, 2));
    assert!(!hub.db.set_visibility(RepoId(99), Visibility::Public).await.unwrap());
    assert!(!hub.db.set_mirror(RepoId(99), true).await.unwrap());
}

#[tokio::test]
async fn a_deleted_repo_frees_its_name_and_is_forgotten_with_its_last_pack() {
    let hub = hub().await;
    hub.db.rename_repo(hub.repo.id, path("acme/second")).await.unwrap();
    hub.apply_one().await;
    let pack = hub.stored(100).await;
    let now = hub.clock.now_ms();
    assert!(hub.db.delete_repo(hub.repo.id, now + 10_000).await.unwrap());
    assert!(!hub.db.delete_repo(hub.repo.id, now).await.unwrap());
    assert!(hub.db.snapshot(hub.repo.id).unwrap().is_none());
    for name in ["acme/model", "acme/second"] {
        assert!(hub.db.find_repo(&path(name)).unwrap().is_none());
    }
    assert!(!hub.db.set_visibility(hub.repo.id, Visibility::Public).await.unwrap());
    assert_eq!(hub.repo().state, RepoState::Deleted);
    assert_eq!(hub.repo().acl_version, 2);
    assert_eq!(hub.conflict(change(hub.repo.id, vec![])).await, database::Conflict::RepoGone);
    hub.assert_sound();

    let second = hub.db.create_repo(new_repo("acme/second")).await.unwrap();
    assert_ne!(second.id, hub.repo.id);
    assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), []);
    hub.clock.advance_ms(10_001);
    assert_eq!(hub.db.packs_due(0, 10).await.unwrap(), [pack]);
    assert_eq!(hub.repo().state, RepoState::Deleted);
    hub.db.packs_deleted(vec![pack]).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_none());
    assert!(hub.db.ref_log(hub.repo.id, 0).unwrap().is_empty());
    hub.assert_sound();
}

/// So that other writes need not wait for it.
#[tokio::test]
async fn a_large_deleted_repo_is_forgotten_in_portions() {
    let hub = hub().await;
    hub.apply((0..25_000).map(|n| create(&format!("refs/heads/{n}"), oid(1))).collect()).await;
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    hub.db.packs_due(0, 1).await.unwrap();
    assert_eq!(hub.db.ref_log(hub.repo.id, 0).unwrap().len(), 5_000);
    assert!(hub.db.repo(hub.repo.id).unwrap().is_some());
    hub.assert_sound();
    hub.db.packs_due(0, 1).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_none());
    hub.assert_sound();
}

#[tokio::test]
async fn an_id_is_never_given_twice() {
    let hub = hub().await;
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    hub.db.packs_due(0, 1).await.unwrap();
    assert!(hub.db.repo(hub.repo.id).unwrap().is_none());
    let next = hub.db.create_repo(new_repo("acme/model")).await.unwrap();
    assert!(next.id > hub.repo.id);
}

#[tokio::test]
async fn totals() {
    let hub = hub().await;
    hub.apply_one().await;
    hub.stored(100).await;
    let gone = hub.db.create_repo(new_repo("acme/gone")).await.unwrap();
    let mut with_ref = change(gone.id, vec![create("refs/heads/main", oid(1))]);
    with_ref.packs_added = vec![crate::support::pack(database::PackId::new(), 50)];
    hub.db.apply(with_ref).await.unwrap();
    assert_eq!(
        hub.db.stats().unwrap(),
        Stats { users: 1, repos: 2, refs: 2, packs: 2, bytes: 150, ..Stats::default() }
    );
    hub.db.delete_repo(gone.id, 0).await.unwrap();
    assert_eq!(
        hub.db.stats().unwrap(),
        Stats { users: 1, repos: 1, refs: 1, packs: 1, bytes: 100, ..Stats::default() }
    );
}

impl crate::support::Hub {
    async fn apply_one(&self) {
        self.apply(vec![create("refs/heads/main", oid(1))]).await;
    }
}
