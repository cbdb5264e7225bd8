//! Organisations, their members, what is known of repositories, and lists of them.

use database::{
    AsOf, Clock, CreateError, Facts, Found, FoundBy, Gating, Listing, NewRepo, Oid, Order, OrgRole, RepoId,
    RepoKind, RepoSettings, Seen, Set, Visibility,
};

use crate::support::*;

fn listing() -> Listing {
    Listing {
        kind: RepoKind::Model,
        seen: Seen::All,
        namespace: None,
        search: Vec::new(),
        tags: Vec::new(),
        terms: Vec::new(),
        gated: None,
        order: Order::Created,
        ascending: false,
        after: None,
        limit: 100,
    }
}

#[tokio::test]
async fn an_organisation_is_a_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    let ada = db.create_user("Ada".parse().unwrap(), false).await.unwrap();
    let bob = db.create_user("bob".parse().unwrap(), false).await.unwrap();
    let org = db.create_org("Acme".parse().unwrap(), Some(ada.id)).await.unwrap();
    assert!(matches!(db.create_org("ACME".parse().unwrap(), Some(ada.id)).await, Err(CreateError::Taken)));
    assert!(matches!(db.create_org("ada".parse().unwrap(), Some(ada.id)).await, Err(CreateError::Taken)));
    assert!(matches!(db.create_user("acme".parse().unwrap(), false).await, Err(CreateError::Taken)));
    let repo = db.create_repo_by(new_repo("acme/Model"), Some(bob.id)).await.unwrap();
    assert_eq!((repo.path.to_string().as_str(), repo.creator), ("Acme/Model", Some(bob.id)));

    assert!(db.set_member(org.id, bob.id, Some(OrgRole::Contributor)).await.unwrap());
    let again = db.repo(repo.id).unwrap().unwrap();
    assert_eq!((again.acl_version, again.creator), (repo.acl_version + 1, Some(bob.id)));
    assert_eq!(db.memberships(bob.id).unwrap()[0].role, OrgRole::Contributor);
    let names = |org| -> Vec<(String, OrgRole)> {
        db.members(org).unwrap().into_iter().map(|member| (member.name.to_string(), member.role)).collect()
    };
    assert_eq!(names(org.id), [("Ada".into(), OrgRole::Admin), ("bob".into(), OrgRole::Contributor)]);
    // Somebody must be able to change it.
    assert!(!db.set_member(org.id, ada.id, Some(OrgRole::Read)).await.unwrap());
    assert!(!db.set_member(org.id, ada.id, None).await.unwrap());
    assert!(db.set_member(org.id, bob.id, Some(OrgRole::Admin)).await.unwrap());
    assert!(db.set_member(org.id, ada.id, None).await.unwrap());
    assert_eq!(names(org.id), [("bob".into(), OrgRole::Admin)]);
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn settings_and_facts_are_kept_with_the_repo() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    db.create_user("acme".parse().unwrap(), false).await.unwrap();
    let repo = db.create_repo(new_repo("acme/a")).await.unwrap();
    assert_eq!((repo.gating, repo.creator), (Gating::Off, None));
    let gated = RepoSettings { gating: Some(Gating::Manual), ..RepoSettings::default() };
    let any = AsOf::default();
    assert_eq!(db.set_repo_settings(repo.id, gated, any).await.unwrap(), Set::Done);
    let disabled = RepoSettings { discussions_disabled: Some(true), ..RepoSettings::default() };
    let stale = AsOf { acl_version: Some(0), ..any };
    assert_eq!(db.set_repo_settings(repo.id, disabled, stale).await.unwrap(), Set::Moved);
    let pushed = AsOf { generation: Some(1), ..any };
    assert_eq!(db.set_repo_settings(repo.id, disabled, pushed).await.unwrap(), Set::Moved);
    let now = AsOf { acl_version: Some(1), generation: Some(0) };
    assert_eq!(db.set_repo_settings(repo.id, disabled, now).await.unwrap(), Set::Done);
    let path = "acme/a".parse().unwrap();
    let Some(Found::Repo(found)) = db.find_repo(&path).unwrap() else { panic!("it is there") };
    assert_eq!((found.gating, found.acl_version), (Gating::Manual, 2));
    assert!(db.discussions_disabled(repo.id).unwrap());

    assert_eq!(db.repos_with_old_facts(RepoId(0), 10).unwrap(), [repo.id]);
    let facts =
        Facts { commit: None, modified_ms: 7, tags: vec!["a".into(), "b:c".into()], document: "{}".into() };
    db.set_facts(repo.id, facts.clone(), FoundBy::default()).await.unwrap();
    db.set_facts(repo.id, facts.clone(), FoundBy::default()).await.unwrap();
    assert_eq!(db.facts(repo.id).unwrap(), Some(facts.clone()));
    assert_eq!(db.repos_with_old_facts(RepoId(0), 10).unwrap(), []);
    let other = Facts { commit: Some(Oid([1; 20])), ..facts };
    db.set_facts(repo.id, other, FoundBy::default()).await.unwrap();
    assert_eq!(db.repos_with_old_facts(RepoId(0), 10).unwrap(), [repo.id], "of a commit that is not there");
    assert_eq!(db.check().unwrap(), Vec::<String>::new());
    assert!(!db.delete_repo_as_of(repo.id, 0, Some(1)).await.unwrap(), "somebody put something into it");
    assert!(db.delete_repo_as_of(repo.id, 0, Some(0)).await.unwrap());
    assert_eq!(db.facts(repo.id).unwrap(), None);
    assert_eq!(db.set_repo_settings(repo.id, gated, any).await.unwrap(), Set::Gone);
}

#[tokio::test]
async fn lists_show_what_may_be_seen_and_fits() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(&directory, &Clock::default());
    for name in ["acme", "bob"] {
        db.create_user(name.parse().unwrap(), false).await.unwrap();
    }
    let mut repos = Vec::new();
    for (path, visibility) in [
        ("acme/one", Visibility::Public),
        ("acme/two", Visibility::Private),
        ("bob/Three", Visibility::Public),
        ("datasets/acme/one", Visibility::Public),
    ] {
        repos.push(db.create_repo(NewRepo { visibility, ..new_repo(path) }).await.unwrap());
    }
    let tags = |tags: &[&str], modified_ms| Facts {
        commit: None,
        modified_ms,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        document: "{}".into(),
    };
    db.set_facts(repos[0].id, tags(&["license:mit", "bert"], 30), FoundBy::default()).await.unwrap();
    db.set_facts(repos[1].id, tags(&["license:mit"], 10), FoundBy::default()).await.unwrap();
    db.set_facts(repos[2].id, tags(&["License:MIT", "robert"], 20), FoundBy::default()).await.unwrap();
    let names = |listing: &Listing| -> Vec<String> {
        db.list_repos(listing).unwrap().into_iter().map(|listed| listed.repo.path.to_string()).collect()
    };
    let public =
        |and: &[&str]| Seen::Public { and_namespaces: and.iter().map(|name| (*name).to_owned()).collect() };
    assert_eq!(names(&listing()).len(), 3);
    assert_eq!(names(&Listing { seen: Seen::None, ..listing() }).len(), 0);
    assert_eq!(
        names(&Listing { seen: public(&[]), order: Order::Modified, ..listing() }),
        ["acme/one", "bob/Three"]
    );
    let own = Listing { seen: public(&["acme"]), order: Order::Modified, ..listing() };
    assert_eq!(names(&own), ["acme/one", "bob/Three", "acme/two"]);
    assert_eq!(names(&Listing { namespace: Some("bob".into()), ..listing() }), ["bob/Three"]);
    assert_eq!(names(&Listing { search: vec!["three".into()], ..listing() }), ["bob/Three"]);
    let tagged = |list: &[&str]| Listing {
        tags: list.iter().map(|tag| (*tag).to_owned()).collect(),
        order: Order::Modified,
        ..listing()
    };
    assert_eq!(names(&tagged(&["license:mit"])), ["acme/one", "bob/Three", "acme/two"]);
    assert_eq!(names(&tagged(&["license:mit", "bert"])), ["acme/one"], "not what a tag is part of");
    assert_eq!(names(&tagged(&["ber"])), [] as [String; 0]);
    assert_eq!(names(&Listing { kind: RepoKind::Dataset, ..listing() }), ["datasets/acme/one"]);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = db.list_repos(&Listing { after, limit: 1, order: Order::Modified, ..listing() }).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        paged.extend(page.into_iter().map(|listed| listed.repo.path.to_string()));
    }
    assert_eq!(paged, ["acme/one", "bob/Three", "acme/two"]);
}
