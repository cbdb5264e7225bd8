use database::Oid;

use crate::hub::hub;

#[tokio::test]
async fn import_and_export_are_inverse() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    git.commit("a/b/c.txt", b"one");
    git.run(&["tag", "-a", "v1", "-m", "first"]);
    git.commit("a/b/c.txt", b"two");
    git.run(&["update-ref", "refs/pr/3", "HEAD"]);
    let report = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap();
    assert_eq!(report.refs, 3);
    hub.assert_sound().await;

    let repo = hub.changes.database().repo(repo.id).unwrap().unwrap();
    let out = hub.path("out.git");
    hub.changes.export(&repo, out.clone()).await.unwrap();
    let exported = crate::hub::Git { directory: out };
    exported.run(&["fsck", "--full", "--strict"]);
    assert_eq!(exported.run(&["for-each-ref"]), git.run(&["for-each-ref"]));
    assert_eq!(exported.run(&["symbolic-ref", "HEAD"]), "refs/heads/main");

    // Again, with one more commit: only that moves.
    git.commit("d", b"three");
    assert_eq!(hub.changes.import(&repo, git.directory.clone(), None).await.unwrap().refs, 1);
    assert_eq!(hub.tip(&repo, "refs/heads/main"), Some(git.tip()));
    hub.assert_sound().await;
}

#[tokio::test]
async fn an_incomplete_source_is_refused_whole() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    git.commit("a", b"one");
    let blob: Oid = git.run(&["rev-parse", "HEAD:a"]).parse().unwrap();
    let hex = blob.to_string();
    std::fs::remove_file(git.directory.join(".git/objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    let error = hub.changes.import(&repo, git.directory.clone(), None).await.unwrap_err();
    assert!(error.to_string().contains(&hex), "{error}");
    assert_eq!(hub.tip(&repo, "refs/heads/main"), None);
}
