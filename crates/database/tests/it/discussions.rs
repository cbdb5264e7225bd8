//! Discussions and pull requests.

use database::{
    ApplyError, COMMENT_EDITS_MAX, Change, Comment, Conflict, DISCUSSION_BYTES_MAX, DISCUSSION_EVENTS_MAX,
    DiscussionEdit, DiscussionError, DiscussionFilter, DiscussionNum, DiscussionStatus, Merged,
    NewCommitEvent, NewDiscussion, NewPull, PullEdit, RefOutcome, Said, UserId,
};

use crate::support::*;

const ACME: UserId = UserId(1);
const MAIN: &str = "refs/heads/main";

fn new(title: &str) -> NewDiscussion {
    NewDiscussion { title: title.to_owned(), text: format!("about {title}"), author: ACME }
}

fn event(n: u8) -> NewCommitEvent {
    NewCommitEvent { oid: oid(n), subject: format!("commit {n}") }
}

fn said(text: &str) -> Said {
    Said::Comment(Comment { text: text.to_owned(), hidden: false, edited_ms: None, history: vec![] })
}

impl Hub {
    async fn talk(&self, title: &str) -> DiscussionNum {
        self.db.open_discussion(self.repo.id, 0, new(title)).await.unwrap().num
    }

    async fn pull(&self, title: &str, tip: u8) -> DiscussionNum {
        let (discussion, status, target) = (new(title), DiscussionStatus::Open, MAIN.to_owned());
        let commits = vec![event(tip)];
        let open = PullEdit::Open(NewPull { discussion, status, target, tip: oid(tip), commits });
        let (applied, opened) = self.pulls(change(self.repo.id, vec![]), open).await.unwrap();
        assert_eq!(applied.refs, [moved(database::Oid::NULL)]);
        opened[0]
    }

    async fn pulls(
        &self,
        change: Change,
        edit: PullEdit,
    ) -> Result<(database::Applied, Vec<DiscussionNum>), ApplyError> {
        self.db.apply_with_pulls(Change { actor: Some(ACME), ..change }, vec![edit]).await
    }

    async fn edit(&self, num: DiscussionNum, edit: DiscussionEdit) -> Result<Said, DiscussionError> {
        Ok(self.db.edit_discussion(self.repo.id, 0, num, ACME, edit).await?.what)
    }

    async fn set(&self, num: DiscussionNum, status: DiscussionStatus) -> Result<Said, DiscussionError> {
        self.edit(num, DiscussionEdit::Status { status, comment: None }).await
    }

    fn events(&self, num: DiscussionNum) -> Vec<Said> {
        let (_, events) = self.db.discussion_events(self.repo.id, num).unwrap().unwrap();
        events.into_iter().map(|event| event.what).collect()
    }

    fn status(&self, num: DiscussionNum) -> DiscussionStatus {
        self.db.discussion(self.repo.id, num).unwrap().unwrap().status
    }
}

#[tokio::test]
async fn what_is_said_is_there() {
    let hub = hub().await;
    let num = hub.talk("one").await;
    hub.edit(num, DiscussionEdit::Comment("first".into())).await.unwrap();
    let edited = DiscussionEdit::Edit { position: 1, text: "second".into() };
    let Said::Comment(comment) = hub.edit(num, edited).await.unwrap() else { panic!("no comment") };
    assert_eq!((comment.text.as_str(), comment.history.len()), ("second", 1));
    assert_eq!(comment.history[0].text, "first");
    hub.edit(num, DiscussionEdit::Title("two".into())).await.unwrap();
    let (status, comment) = (DiscussionStatus::Closed, Some("done".to_owned()));
    hub.edit(num, DiscussionEdit::Status { status, comment }).await.unwrap();
    let events = hub.events(num);
    assert_eq!(events[0], said("about one"));
    assert_eq!(events[2], Said::Title { from: "one".into(), to: "two".into() });
    assert_eq!(events[3..], [said("done"), Said::Status(DiscussionStatus::Closed)]);
    let found = hub.db.discussion(hub.repo.id, num).unwrap().unwrap();
    assert_eq!((found.title.as_str(), found.comments, found.author_name.as_str()), ("two", 3, "Acme"));
    // Nothing is left of what is hidden.
    let Said::Comment(hidden) = hub.edit(num, DiscussionEdit::Hide { position: 1 }).await.unwrap() else {
        panic!("no comment")
    };
    assert_eq!((hidden.text.as_str(), hidden.hidden, hidden.history), ("", true, vec![]));
    for edit in [
        DiscussionEdit::Hide { position: 1 },
        DiscussionEdit::Hide { position: 2 },
        DiscussionEdit::Edit { position: 1, text: "again".into() },
        DiscussionEdit::Edit { position: 99, text: "again".into() },
    ] {
        assert!(matches!(hub.edit(num, edit).await, Err(DiscussionError::NoComment)));
    }
    assert!(matches!(hub.set(9, DiscussionStatus::Closed).await, Err(DiscussionError::Gone)));
    hub.assert_sound();
}

#[tokio::test]
async fn one_sequence_of_numbers_that_no_ref_has() {
    let hub = hub().await;
    hub.apply(vec![create(MAIN, oid(1)), create("refs/pr/2", oid(1))]).await;
    assert_eq!(hub.talk("first").await, 1);
    assert_eq!(hub.pull("second", 1).await, 3, "somebody may know that ref");
    assert_eq!(hub.talk("third").await, 4);
    let names: Vec<String> = hub.refs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [MAIN, "refs/pr/2", "refs/pr/3"]);
    let numbers = |filter: &DiscussionFilter, offset, limit| {
        let (count, page) = hub.db.discussions(hub.repo.id, filter, offset, limit).unwrap();
        (count, page.into_iter().map(|found| found.num).collect::<Vec<_>>())
    };
    let all = DiscussionFilter::default();
    assert_eq!(numbers(&all, 0, 10), (3, vec![4, 3, 1]));
    assert_eq!(numbers(&all, 1, 1), (3, vec![3]));
    assert_eq!(numbers(&all, u64::MAX, 1), (3, vec![]));
    let pulls = DiscussionFilter { pulls: Some(true), ..all.clone() };
    assert_eq!(numbers(&pulls, 0, 10), (1, vec![3]));
    hub.set(1, DiscussionStatus::Closed).await.unwrap();
    let open = Some([DiscussionStatus::Draft, DiscussionStatus::Open]);
    assert_eq!(numbers(&DiscussionFilter { statuses: open, ..all.clone() }, 0, 10), (2, vec![4, 3]));
    let by = |name: &str| DiscussionFilter { author: Some(name.to_owned()), ..all.clone() };
    assert_eq!(numbers(&by("acme"), 0, 10).0, 3);
    assert_eq!(numbers(&by("bob"), 0, 10).0, 0);
    hub.assert_sound();
}

#[tokio::test]
async fn a_change_tells_of_itself_or_is_not_made() {
    let hub = hub().await;
    hub.apply(vec![create(MAIN, oid(1))]).await;
    let num = hub.pull("change", 2).await;
    let name = database::pull_ref(num);
    let commits = |n| PullEdit::Commits { num, commits: vec![event(n)] };
    let to = |old, new| change(hub.repo.id, vec![update(&name, oid(old), oid(new))]);
    hub.pulls(to(2, 3), commits(3)).await.unwrap();
    // Where it is not: nothing moves, and nothing is told.
    let (applied, _) = hub.pulls(to(2, 4), commits(4)).await.unwrap();
    assert_eq!(applied.refs, [not_there(&name, oid(3))]);
    let told = |n| Said::Commit { oid: oid(n), subject: format!("commit {n}") };
    assert_eq!(hub.events(num)[1..], [told(2), told(3)]);
    hub.set(num, DiscussionStatus::Closed).await.unwrap();
    let refused = hub.pulls(to(3, 5), commits(5)).await;
    assert!(matches!(refused, Err(ApplyError::Conflict(Conflict::PullMoved))));
    assert!(!hub.db.has_open_pull(hub.repo.id, ACME).unwrap());
    hub.set(num, DiscussionStatus::Open).await.unwrap();
    assert!(hub.db.has_open_pull(hub.repo.id, ACME).unwrap());
    hub.assert_sound();
}

#[tokio::test]
async fn merged_once_or_not_at_all() {
    let hub = hub().await;
    hub.apply(vec![create(MAIN, oid(1))]).await;
    let num = hub.pull("change", 2).await;
    let merge = |old, new, head| {
        let merged = Merged { commit: oid(new), base: Some(oid(1)), head: oid(head) };
        let edit = PullEdit::Merge { num, merged, comment: Some("thanks".into()) };
        (change(hub.repo.id, vec![update(MAIN, oid(old), oid(new))]), edit)
    };
    // The branch moved, then the ref.
    let (change, edit) = merge(9, 3, 2);
    let (applied, _) = hub.pulls(change, edit).await.unwrap();
    assert_eq!(applied.refs, [not_there(MAIN, oid(1))]);
    let (change, edit) = merge(1, 3, 9);
    assert!(matches!(hub.pulls(change, edit).await, Err(ApplyError::Conflict(Conflict::PullMoved))));
    assert_eq!((hub.status(num), hub.events(num).len()), (DiscussionStatus::Open, 2));
    let (change, edit) = merge(1, 3, 2);
    let (applied, _) = hub.pulls(change, edit).await.unwrap();
    assert_eq!(applied.refs, [RefOutcome::Moved { old: oid(1) }]);
    assert_eq!(hub.events(num)[2..], [said("thanks"), Said::Status(DiscussionStatus::Merged)]);
    let found = hub.db.discussion(hub.repo.id, num).unwrap().unwrap();
    let merged = Merged { commit: oid(3), base: Some(oid(1)), head: oid(2) };
    assert_eq!(found.pull.unwrap().merged, Some(merged));
    let (change, edit) = merge(3, 4, 2);
    assert!(matches!(hub.pulls(change, edit).await, Err(ApplyError::Conflict(Conflict::PullMoved))));
    for status in [DiscussionStatus::Open, DiscussionStatus::Closed, DiscussionStatus::Draft] {
        let refused = hub.set(num, status).await;
        assert!(matches!(refused, Err(DiscussionError::Status(DiscussionStatus::Merged))));
    }
    hub.assert_sound();
}

#[tokio::test]
async fn one_that_brings_nothing_is_merged_where_the_branch_is() {
    let hub = hub().await;
    hub.apply(vec![create(MAIN, oid(1))]).await;
    let num = hub.pull("nothing", 1).await;
    let merged = Merged { commit: oid(1), base: Some(oid(1)), head: oid(1) };
    let edit = PullEdit::Merge { num, merged, comment: None };
    let change = change(hub.repo.id, vec![update(MAIN, oid(1), oid(1))]);
    hub.pulls(change, edit).await.unwrap();
    assert_eq!(hub.status(num), DiscussionStatus::Merged);
    hub.assert_sound();
}

#[tokio::test]
async fn statuses_that_fit() {
    let hub = hub().await;
    let num = hub.talk("talk").await;
    for bad in [DiscussionStatus::Open, DiscussionStatus::Draft, DiscussionStatus::Merged] {
        let refused = hub.set(num, bad).await;
        assert!(matches!(refused, Err(DiscussionError::Status(DiscussionStatus::Open))), "{bad:?}");
    }
    hub.set(num, DiscussionStatus::Closed).await.unwrap();
    hub.set(num, DiscussionStatus::Open).await.unwrap();
    hub.assert_sound();
}

#[tokio::test]
async fn a_discussion_has_a_bound() {
    let hub = hub().await;
    let num = hub.talk("long").await;
    let half = "x".repeat(DISCUSSION_BYTES_MAX as usize / 2);
    hub.edit(num, DiscussionEdit::Comment(half.clone())).await.unwrap();
    let refused = hub.edit(num, DiscussionEdit::Comment(half.clone())).await;
    assert!(matches!(refused, Err(DiscussionError::Full)));
    let edit = DiscussionEdit::Edit { position: 1, text: half };
    assert!(matches!(hub.edit(num, edit).await, Err(DiscussionError::Full)));
    for _ in 0..COMMENT_EDITS_MAX {
        hub.edit(num, DiscussionEdit::Edit { position: 0, text: "e".into() }).await.unwrap();
    }
    let edit = DiscussionEdit::Edit { position: 0, text: "e".into() };
    assert!(matches!(hub.edit(num, edit).await, Err(DiscussionError::Full)));
    // It can be closed all the same.
    hub.set(num, DiscussionStatus::Closed).await.unwrap();
    let many = hub.talk("many").await;
    hub.apply(vec![create(MAIN, oid(1))]).await;
    let pull = hub.pull("pull", 2).await;
    let commits = (0..DISCUSSION_EVENTS_MAX).map(|_| event(3)).collect();
    let edit = PullEdit::Commits { num: pull, commits };
    hub.pulls(change(hub.repo.id, vec![update(&database::pull_ref(pull), oid(2), oid(3))]), edit)
        .await
        .unwrap();
    assert_eq!(hub.events(pull).len() as i64, DISCUSSION_EVENTS_MAX);
    let refused = hub.edit(pull, DiscussionEdit::Comment("more".into())).await;
    assert!(matches!(refused, Err(DiscussionError::Full)));
    hub.set(pull, DiscussionStatus::Closed).await.unwrap();
    hub.edit(many, DiscussionEdit::Comment("others go on".into())).await.unwrap();
    hub.assert_sound();
}

#[tokio::test]
async fn by_the_rights_that_were_looked_at() {
    let hub = hub().await;
    let num = hub.talk("talk").await;
    hub.db.set_mirror(hub.repo.id, true).await.unwrap();
    let stale = hub.db.open_discussion(hub.repo.id, 0, new("late")).await;
    assert!(matches!(stale, Err(DiscussionError::Moved)));
    let comment = DiscussionEdit::Comment("late".into());
    let stale = hub.db.edit_discussion(hub.repo.id, 0, num, ACME, comment).await;
    assert!(matches!(stale, Err(DiscussionError::Moved)));
    hub.db.delete_repo(hub.repo.id, 0).await.unwrap();
    let gone = hub.db.open_discussion(hub.repo.id, 2, new("late")).await;
    assert!(matches!(gone, Err(DiscussionError::RepoGone)));
    assert_eq!(hub.db.discussion(hub.repo.id, num).unwrap(), None);
    hub.assert_sound();
}
