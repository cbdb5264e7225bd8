use database::Oid;

use crate::hub::{hub, refused};

const MAIN: &str = "refs/heads/main";

#[tokio::test]
async fn first_and_next_push() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("README.md", b"# Model\n");
    let report = hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    assert_eq!((report.unpack, report.refs.len()), (Ok(()), 1));
    assert_eq!(hub.tip(&repo, MAIN), Some(first));

    let second = git.commit("README.md", b"# Model\n\nBetter.\n");
    let report = hub.push(&repo, &[(MAIN, first, second)], Some(git.pack("main ^HEAD~1"))).await;
    assert!(refused(&report).is_empty(), "{report:?}");
    assert_eq!(hub.tip(&repo, MAIN), Some(second));
    hub.assert_sound().await;

    let log = hub.changes.database().ref_log(repo.id, 0).unwrap();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|row| row.message == "push"));
}

#[tokio::test]
async fn a_missing_object_moves_nothing() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("a", b"a");
    let second = git.commit("b", b"b");
    let report = hub.push(&repo, &[(MAIN, Oid::NULL, second)], Some(git.pack("main ^HEAD~1"))).await;
    assert!(report.unpack.unwrap_err().contains(&first.to_string()));
    assert_eq!(hub.tip(&repo, MAIN), None);
    // A tip that is nowhere, with a pack that is fine by itself.
    let report = hub.push(&repo, &[(MAIN, Oid::NULL, Oid([7; 20]))], Some(git.pack("main"))).await;
    assert_eq!(refused(&report), [(MAIN, "missing necessary objects")]);
    hub.assert_sound().await;
}

#[tokio::test]
async fn stale_and_clashing_refs() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let first = git.commit("a", b"a");
    let second = git.commit("b", b"b");
    hub.push(&repo, &[(MAIN, Oid::NULL, first)], Some(git.pack("main"))).await;
    let updates = [
        (MAIN, second, first),
        ("refs/heads/main/x", Oid::NULL, second),
        ("refs/tags/v1", Oid::NULL, second),
    ];
    let report = hub.push(&repo, &updates, Some(git.pack("main"))).await;
    let reasons = refused(&report);
    assert_eq!(reasons.len(), 2, "{report:?}");
    assert!(
        reasons[1].1.contains("'refs/heads/main' exists; cannot create 'refs/heads/main/x'"),
        "{reasons:?}"
    );
    assert_eq!(hub.tip(&repo, "refs/tags/v1"), Some(second));

    let report =
        hub.push_with(&repo, &[(MAIN, first, second), ("refs/heads/x", second, first)], None, true).await;
    assert_eq!(refused(&report).len(), 2, "all or none: {report:?}");
    assert_eq!(hub.tip(&repo, MAIN), Some(first));
    hub.assert_sound().await;
}

#[tokio::test]
async fn head_follows_the_first_branch_and_is_protected() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("a", b"a");
    let report = hub
        .push(
            &repo,
            &[("refs/heads/dev", Oid::NULL, tip), ("refs/heads/master", Oid::NULL, tip)],
            Some(git.pack("main")),
        )
        .await;
    assert!(refused(&report).is_empty());
    let head = || hub.changes.database().repo(repo.id).unwrap().unwrap().head_ref;
    assert_eq!(head(), "refs/heads/master");
    let report = hub.push(&repo, &[("refs/heads/master", tip, Oid::NULL)], None).await;
    assert_eq!(refused(&report)[0].1, "refusing to delete the default branch 'master'");
    let report = hub
        .push(&repo, &[("refs/heads/dev", tip, Oid::NULL), ("refs/heads/gone", tip, Oid::NULL)], None)
        .await;
    assert!(refused(&report).is_empty(), "deleting what is not there is no error: {report:?}");
    assert_eq!((head().as_str(), hub.tip(&repo, "refs/heads/dev")), ("refs/heads/master", None));
}

#[tokio::test]
async fn a_branch_holds_commits() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    git.commit("a", b"a");
    let tree: Oid = git.run(&["rev-parse", "HEAD^{tree}"]).parse().unwrap();
    let report = hub
        .push(&repo, &[(MAIN, Oid::NULL, tree), ("refs/x/tree", Oid::NULL, tree)], Some(git.pack("main")))
        .await;
    assert_eq!(refused(&report).len(), 1);
    assert!(refused(&report)[0].1.contains("non-commit"));
    assert_eq!(hub.tip(&repo, "refs/x/tree"), Some(tree));
}

#[tokio::test]
async fn server_owned_refs() {
    let hub = hub().await;
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let tip = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    let updates =
        [("refs/pr/1", Oid::NULL, tip), ("refs/convert/parquet", Oid::NULL, tip), ("main", Oid::NULL, tip)];
    let report = hub.push(&repo, &updates, Some(git.pack("main"))).await;
    assert_eq!(refused(&report).len(), 3, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_pushers_one_winner_a_round() {
    let hub = std::sync::Arc::new(hub().await);
    let (repo, git) = (hub.repo("model").await, hub.git("work"));
    let mut tip = git.commit("a", b"a");
    hub.push(&repo, &[(MAIN, Oid::NULL, tip)], Some(git.pack("main"))).await;
    for round in 0..3 {
        let mut pushes = Vec::new();
        for pusher in 0..16 {
            git.run(&["checkout", "-q", "--detach", &tip.to_string()]);
            let new = git.commit("a", format!("{round}/{pusher}").as_bytes());
            pushes.push((new, git.pack(&format!("{new} ^{tip}"))));
        }
        let (hub_, repo_) = (&hub, &repo);
        let tasks = pushes.into_iter().map(|(new, pack)| {
            let (hub, repo) = (std::sync::Arc::clone(hub_), repo_.clone());
            tokio::spawn(async move { (new, hub.push(&repo, &[(MAIN, tip, new)], Some(pack)).await) })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut winners = Vec::new();
        for task in tasks {
            let (new, report) = task.await.unwrap();
            if refused(&report).is_empty() {
                winners.push(new);
            }
        }
        assert_eq!(winners.len(), 1);
        tip = winners[0];
        assert_eq!(hub.tip(&repo, MAIN), Some(tip));
    }
    hub.assert_sound().await;
}
