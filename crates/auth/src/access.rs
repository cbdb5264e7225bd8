//! The decision: may this identity do that to this repository?

use std::fmt;
use std::marker::PhantomData;

use database::{
    Bucket, Database, DbError, Gating, HolderId, OrgRole, Repo, RepoId, Seen, TokenId, TokenRole, UserId,
    Visibility,
};

use crate::identity::{self, AuthError, Identity, Principal};
use crate::subject::{Facts, Holder, Subject};

/// What one may do to a repository; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// See that it exists and what it says of itself.
    Discover,
    /// Fetch.
    Read,
    /// Open pull requests, push to one's own and upload what they need.
    Propose,
    /// Push.
    Write,
    /// Rename, delete, change who may do what.
    Admin,
}

/// What an administrator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Public repositories are readable without a token. If false, by every user.
    pub anonymous_read: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { anonymous_read: true }
    }
}

/// Which refs the bearer may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefScope {
    None,
    /// Those of one's own pull requests.
    PullRequests,
    /// All but the server-owned ones (`refs/pr/*` may be updated, not created; `refs/convert/*` belongs to jobs).
    Branches,
    /// Every ref: jobs, and administrators on a mirror.
    Everything,
}

/// A right at the type level: the marker types [`Discover`], [`Read`], [`Propose`], [`Write`], [`Admin`].
pub trait Right: sealed::Sealed + Send + Sync + 'static {
    const ACCESS: Access;
}

/// Proof that `actor` may do `A` to a repository, or to another subject. Made by [`authorize`] and its like and, for jobs, by
/// [`Authorized::system`]; by nothing else.
pub struct Authorized<A: Right, S: Subject = Repo> {
    subject: S,
    bearer: Bearer,
    granted: Access,
    settings: Settings,
    right: PhantomData<fn() -> A>,
}

/// A right to either, by what it is to.
pub enum Split<A: Right> {
    Repo(Authorized<A>),
    Bucket(Authorized<A, Bucket>),
}

/// Why not. What one may not see is told apart from what is missing in no way: see [`Denied::missing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Anonymous: may not see it, or sees it but may not do this. A token may change that (401).
    #[error("authentication required")]
    Unauthenticated,
    /// A user who may not see it (404).
    #[error("repository not found")]
    NotFound,
    /// A user who sees it but may not do this (403).
    #[error("you are not allowed to do this")]
    Forbidden,
    /// Sees it, but may not read it before its owner agrees: 401 for anonymous clients, 403 for users.
    #[error("access to this repository is restricted and you are not in the authorized list")]
    Gated { anonymous: bool },
}

/// The right that was there is there no more, or could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReauthorizeError {
    #[error("the repository is gone")]
    RepoGone,
    #[error(transparent)]
    Credential(#[from] AuthError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Decides once, at the door. Reads nothing: `repo` and `identity` were just read, and the transaction that changes
/// something compares `acl_version`.
pub fn authorize<A: Right>(
    settings: Settings,
    identity: &Identity,
    repo: Repo,
) -> Result<Authorized<A>, Denied> {
    authorize_for(settings, identity, repo)
}

/// As [`authorize`], of a bucket.
pub fn authorize_bucket<A: Right>(
    settings: Settings,
    identity: &Identity,
    bucket: Bucket,
) -> Result<Authorized<A, Bucket>, Denied> {
    authorize_for(settings, identity, bucket)
}

pub(crate) fn authorize_for<A: Right, S: Subject>(
    settings: Settings,
    identity: &Identity,
    subject: S,
) -> Result<Authorized<A, S>, Denied> {
    let bearer = match identity {
        Identity::Anonymous => Bearer::Anonymous,
        Identity::User(principal) => Bearer::User(principal.clone()),
    };
    decide(settings, bearer, subject)
}

impl Denied {
    /// What is said of a repository that does not exist: exactly what is said of one that may not be seen.
    pub fn missing(identity: &Identity) -> Denied {
        hidden(identity.principal().is_none())
    }
}

impl<A: Right> Authorized<A> {
    /// The repository's row as it was when the right was granted.
    pub fn repo(&self) -> &Repo {
        &self.subject
    }

    pub fn repo_id(&self) -> RepoId {
        self.subject.id
    }

    pub fn ref_scope(&self) -> RefScope {
        match self.granted {
            _ if matches!(self.bearer, Bearer::System(_)) => RefScope::Everything,
            Access::Discover | Access::Read => RefScope::None,
            Access::Propose => RefScope::PullRequests,
            Access::Write | Access::Admin if self.is_admin() && self.subject.mirror => RefScope::Everything,
            Access::Write | Access::Admin => RefScope::Branches,
        }
    }
}

impl<A: Right> Authorized<A, Bucket> {
    /// The bucket's row as it was when the right was granted.
    pub fn bucket(&self) -> &Bucket {
        &self.subject
    }
}

impl<A: Right> Authorized<A, Holder> {
    /// The row as it was when the right was granted.
    pub fn holder(&self) -> &Holder {
        &self.subject
    }

    pub fn split(self) -> Split<A> {
        let Authorized { subject, bearer, granted, settings, right } = self;
        match subject {
            Holder::Repo(subject) => Split::Repo(Authorized { subject, bearer, granted, settings, right }),
            Holder::Bucket(subject) => {
                Split::Bucket(Authorized { subject, bearer, granted, settings, right })
            }
        }
    }
}

impl<A: Right, S: Subject> Authorized<A, S> {
    /// For jobs of the node itself, which nobody asked for. `job` says which.
    pub fn system(job: &'static str, subject: S) -> Authorized<A, S> {
        let facts = subject.facts();
        tracing::info!(job, of = %format_args!("{}/{}", facts.namespace, facts.name), right = ?A::ACCESS, "system access");
        let (bearer, settings) = (Bearer::System(job), Settings::default());
        Authorized { subject, bearer, granted: Access::Admin, settings, right: PhantomData }
    }

    /// Reads user, token and subject again and repeats the decision. For a change that was long under way: its
    /// transaction found another `acl_version`, or the token may have been revoked since.
    pub fn reauthorize(&self, database: &Database) -> Result<Authorized<A, S>, ReauthorizeError> {
        let subject = self.subject.reread(database)?;
        let subject = subject.filter(|subject| subject.facts().is_live).ok_or(ReauthorizeError::RepoGone)?;
        let bearer = match &self.bearer {
            Bearer::User(principal) => Bearer::User(identity::by_token(database, &principal.token_sha256)?),
            other => other.clone(),
        };
        Ok(decide(self.settings, bearer, subject)?)
    }

    /// What the same bearer may do to another subject, whose row was just read.
    pub fn elsewhere<B: Right, T: Subject>(&self, subject: T) -> Result<Authorized<B, T>, Denied> {
        decide(self.settings, self.bearer.clone(), subject)
    }

    pub fn holder_id(&self) -> HolderId {
        self.subject.facts().id
    }

    /// For the ref log; `None` for anonymous clients and jobs.
    pub fn actor(&self) -> Option<UserId> {
        self.principal().map(|principal| principal.user.id)
    }

    pub fn token(&self) -> Option<TokenId> {
        self.principal().map(|principal| principal.token)
    }

    /// The user name, `None` for anonymous clients, or the job; for logs and messages.
    pub fn actor_name(&self) -> Option<&str> {
        match &self.bearer {
            Bearer::Anonymous => None,
            Bearer::User(principal) => Some(principal.user.name.as_str()),
            Bearer::System(job) => Some(job),
        }
    }

    /// Of the subject when the right was granted; goes into the change that the right allows.
    pub fn acl_version(&self) -> i64 {
        self.subject.facts().acl_version
    }

    /// All that the bearer may do here, which may be more than was asked for.
    pub fn granted(&self) -> Access {
        self.granted
    }

    pub fn may_write(&self) -> bool {
        self.granted >= Access::Write
    }

    /// Whether the bearer may change what `author` proposed or said here: their own, or, who may write, everybody's.
    pub fn may_change_of(&self, author: UserId) -> bool {
        self.may_write() || (self.granted >= Access::Propose && self.actor() == Some(author))
    }

    /// An administrator of the hub, acting by a token that may write.
    pub fn is_admin(&self) -> bool {
        self.principal().is_some_and(|principal| principal.user.admin && principal.role == TokenRole::Write)
    }

    fn principal(&self) -> Option<&Principal> {
        match &self.bearer {
            Bearer::User(principal) => Some(principal),
            Bearer::Anonymous | Bearer::System(_) => None,
        }
    }

    fn of<T: Subject>(self, wrap: impl FnOnce(S) -> T) -> Authorized<A, T> {
        let Authorized { subject, bearer, granted, settings, right } = self;
        Authorized { subject: wrap(subject), bearer, granted, settings, right }
    }
}

impl<A: Right> From<Authorized<A>> for Authorized<A, Holder> {
    fn from(access: Authorized<A>) -> Self {
        access.of(Holder::Repo)
    }
}

impl<A: Right> From<Authorized<A, Bucket>> for Authorized<A, Holder> {
    fn from(access: Authorized<A, Bucket>) -> Self {
        access.of(Holder::Bucket)
    }
}

impl<A: Right, S: Subject> Clone for Authorized<A, S> {
    fn clone(&self) -> Self {
        let (subject, bearer) = (self.subject.clone(), self.bearer.clone());
        Authorized { subject, bearer, granted: self.granted, settings: self.settings, right: PhantomData }
    }
}

impl<A: Right, S: Subject> fmt::Debug for Authorized<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (actor, facts) = (self.actor_name().unwrap_or("anonymous"), self.subject.facts());
        write!(f, "Authorized({actor} may {:?} {}/{})", A::ACCESS, facts.namespace, facts.name)
    }
}

/// Who holds the right.
#[derive(Clone)]
pub(crate) enum Bearer {
    Anonymous,
    User(Principal),
    System(&'static str),
}

fn decide<A: Right, S: Subject>(
    settings: Settings,
    bearer: Bearer,
    subject: S,
) -> Result<Authorized<A, S>, Denied> {
    let anonymous = matches!(bearer, Bearer::Anonymous);
    match granted(settings, &bearer, subject.facts()) {
        None => Err(hidden(anonymous)),
        Some(granted) if granted >= A::ACCESS => {
            Ok(Authorized { subject, bearer, granted, settings, right: PhantomData })
        }
        Some(Access::Discover) => Err(Denied::Gated { anonymous }),
        Some(_) if anonymous => Err(Denied::Unauthenticated),
        Some(_) => Err(Denied::Forbidden),
    }
}

/// Whether a new repository or bucket may be made in the namespace of this folded name, which exists.
pub fn may_create(identity: &Identity, folded: &str) -> Result<(), Denied> {
    let principal = identity.principal().ok_or(Denied::Unauthenticated)?;
    let mine = principal.user.admin || principal.user.name.folded() == folded;
    let member = principal.role_in(folded).is_some_and(|role| role >= OrgRole::Contributor);
    match principal.role == TokenRole::Write && (mine || member) {
        true => Ok(()),
        false => Err(Denied::Forbidden),
    }
}

/// Which repositories somebody may be shown in lists: those that [`authorize`] grants [`Discover`] of.
pub fn seen(settings: Settings, identity: &Identity) -> Seen {
    match identity.principal() {
        None if !settings.anonymous_read => Seen::None,
        None => Seen::Public { and_namespaces: Vec::new() },
        Some(principal) if principal.user.admin => Seen::All,
        Some(principal) => {
            let orgs = principal.memberships.iter().map(|membership| membership.org.folded());
            Seen::Public {
                and_namespaces: std::iter::once(principal.user.name.folded()).chain(orgs).collect(),
            }
        }
    }
}

/// The most that `bearer` may do; `None` if not even see it.
pub(crate) fn granted(settings: Settings, bearer: &Bearer, subject: Facts<'_>) -> Option<Access> {
    if !subject.is_live {
        return None;
    }
    let public = subject.visibility == Visibility::Public;
    let strangers = |most: Access| match subject.gating {
        Gating::Off => most,
        Gating::Auto | Gating::Manual => Access::Discover,
    };
    match bearer {
        Bearer::System(_) => Some(Access::Admin),
        Bearer::Anonymous => (public && settings.anonymous_read).then(|| strangers(Access::Read)),
        Bearer::User(principal) => {
            let namespace = subject.namespace.folded();
            let owner = principal.user.admin || principal.user.name.folded() == namespace;
            let made = subject.creator == Some(principal.user.id);
            let access = match principal.role_in(&namespace) {
                _ if owner => Access::Admin,
                Some(OrgRole::Write | OrgRole::Admin) => Access::Admin,
                Some(OrgRole::Contributor) if made => Access::Admin,
                Some(OrgRole::Read | OrgRole::Contributor) => Access::Propose,
                None if public && is_admitted(principal, subject.id) => Access::Propose,
                None if public => strangers(Access::Propose),
                None => return None,
            };
            let access = match access {
                // There is nothing to propose to a bucket.
                Access::Propose if matches!(subject.id, HolderId::Bucket(_)) => Access::Read,
                access => access,
            };
            Some(match principal.role {
                TokenRole::Read => access.min(Access::Read),
                TokenRole::Write => access,
            })
        }
    }
}

fn is_admitted(principal: &Principal, id: HolderId) -> bool {
    matches!(id, HolderId::Repo(id) if principal.is_admitted(id))
}

fn hidden(anonymous: bool) -> Denied {
    if anonymous { Denied::Unauthenticated } else { Denied::NotFound }
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! rights {
    ($($name:ident),*) => {$(
        /// See [`Access`].
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Right for $name {
            const ACCESS: Access = Access::$name;
        }
    )*};
}

rights!(Discover, Read, Propose, Write, Admin);

#[cfg(test)]
mod tests {
    use database::{RepoPath, RepoState, User};

    use super::*;

    fn repo(visibility: Visibility) -> Repo {
        Repo {
            id: RepoId(1),
            path: "Acme/model".parse::<RepoPath>().unwrap(),
            visibility,
            state: RepoState::Live,
            head_ref: "refs/heads/main".into(),
            generation: 0,
            gc_epoch: 0,
            acl_version: 7,
            mirror: false,
            blob_bytes_max: None,
            lfs_incomplete: false,
            gating: database::Gating::Off,
            creator: None,
            created_ms: 0,
        }
    }

    fn user(name: &str, admin: bool, role: TokenRole) -> Identity {
        let user = User { id: UserId(1), name: name.parse().unwrap(), admin, disabled: false, created_ms: 0 };
        let (memberships, admissions) = (Vec::new().into(), Vec::new().into());
        let token_sha256 = [0; 32];
        Identity::User(Principal { user, token: TokenId(1), role, memberships, admissions, token_sha256 })
    }

    /// The outcome for each right in order.
    fn outcomes(settings: Settings, identity: &Identity, repo: &Repo) -> [Result<(), Denied>; 5] {
        fn one<A: Right>(settings: Settings, identity: &Identity, repo: &Repo) -> Result<(), Denied> {
            authorize::<A>(settings, identity, repo.clone()).map(drop)
        }
        [
            one::<Discover>(settings, identity, repo),
            one::<Read>(settings, identity, repo),
            one::<Propose>(settings, identity, repo),
            one::<Write>(settings, identity, repo),
            one::<Admin>(settings, identity, repo),
        ]
    }

    #[test]
    fn who_may_do_what() {
        use Denied::{Forbidden, NotFound, Unauthenticated};
        use TokenRole::{Read as R, Write as W};
        use Visibility::{Private, Public};
        let open = Settings { anonymous_read: true };
        let closed = Settings { anonymous_read: false };
        // (who, settings, visibility, rights granted up to and including, the answer beyond)
        let table = [
            (Identity::Anonymous, open, Public, Some(Access::Read), Unauthenticated),
            (Identity::Anonymous, open, Private, None, Unauthenticated),
            (Identity::Anonymous, closed, Public, None, Unauthenticated),
            (Identity::Anonymous, closed, Private, None, Unauthenticated),
            (user("other", false, W), open, Public, Some(Access::Propose), Forbidden),
            (user("other", false, W), closed, Public, Some(Access::Propose), Forbidden),
            (user("other", false, R), open, Public, Some(Access::Read), Forbidden),
            (user("other", false, W), open, Private, None, NotFound),
            (user("other", false, R), open, Private, None, NotFound),
            (user("acme", false, W), open, Private, Some(Access::Admin), Forbidden),
            (user("acme", false, R), open, Private, Some(Access::Read), Forbidden),
            (user("ACME", false, R), open, Public, Some(Access::Read), Forbidden),
            (user("root", true, W), open, Private, Some(Access::Admin), Forbidden),
            (user("root", true, R), open, Private, Some(Access::Read), Forbidden),
        ];
        let rights = [Access::Discover, Access::Read, Access::Propose, Access::Write, Access::Admin];
        for (identity, settings, visibility, up_to, beyond) in table {
            let got = outcomes(settings, &identity, &repo(visibility));
            let expected = rights.map(|right| if Some(right) <= up_to { Ok(()) } else { Err(beyond) });
            assert_eq!(got, expected, "{identity:?} {settings:?} {visibility:?}");
        }
    }

    #[test]
    fn members_may_what_their_role_says() {
        use database::{Membership, OrgRole};
        let member = |org: &str, role, token_role| {
            let Identity::User(mut principal) = user("ada", false, token_role) else { unreachable!() };
            principal.memberships = vec![Membership { org: org.parse().unwrap(), role }].into();
            Identity::User(principal)
        };
        let most = |identity: &Identity, repo: &Repo| {
            let outcomes = outcomes(Settings::default(), identity, repo);
            outcomes.iter().filter(|outcome| outcome.is_ok()).count()
        };
        let private = repo(Visibility::Private);
        let mine = Repo { creator: Some(UserId(1)), ..private.clone() };
        for (role, others, own) in [
            (OrgRole::Read, Access::Propose, Access::Propose),
            (OrgRole::Contributor, Access::Propose, Access::Admin),
            (OrgRole::Write, Access::Admin, Access::Admin),
            (OrgRole::Admin, Access::Admin, Access::Admin),
        ] {
            let identity = member("ACME", role, TokenRole::Write);
            assert_eq!(
                (most(&identity, &private), most(&identity, &mine)),
                (others as usize + 1, own as usize + 1)
            );
            let reader = member("acme", role, TokenRole::Read);
            assert_eq!(most(&reader, &mine), Access::Read as usize + 1, "{role:?}");
            assert_eq!(most(&member("other", role, TokenRole::Write), &private), 0);
            let may = may_create(&identity, "acme");
            assert_eq!(may.is_ok(), role >= OrgRole::Contributor, "{role:?}");
            assert_eq!(may_create(&reader, "acme"), Err(Denied::Forbidden));
        }
        assert_eq!(may_create(&Identity::Anonymous, "acme"), Err(Denied::Unauthenticated));
    }

    #[test]
    fn of_a_gated_repository_strangers_see_that_it_is_there() {
        for gating in [Gating::Auto, Gating::Manual] {
            let gated = Repo { gating, ..repo(Visibility::Public) };
            let [discover, rest @ ..] = outcomes(Settings::default(), &Identity::Anonymous, &gated);
            assert_eq!((discover, rest), (Ok(()), [Err(Denied::Gated { anonymous: true }); 4]));
            let stranger = user("other", false, TokenRole::Write);
            let [discover, rest @ ..] = outcomes(Settings::default(), &stranger, &gated);
            assert_eq!((discover, rest), (Ok(()), [Err(Denied::Gated { anonymous: false }); 4]));
            let owner = user("acme", false, TokenRole::Write);
            assert_eq!(outcomes(Settings::default(), &owner, &gated), [Ok(()); 5]);
            let let_into = |repo: i64, role| {
                let Identity::User(mut principal) = user("other", false, role) else { unreachable!() };
                principal.admissions = vec![RepoId(repo)].into();
                Identity::User(principal)
            };
            let most = |identity: &Identity, repo: &Repo| {
                let outcomes = outcomes(Settings::default(), identity, repo);
                outcomes.iter().filter(|outcome| outcome.is_ok()).count()
            };
            assert_eq!(most(&let_into(1, TokenRole::Write), &gated), Access::Propose as usize + 1);
            assert_eq!(most(&let_into(1, TokenRole::Read), &gated), Access::Read as usize + 1);
            assert_eq!(most(&let_into(2, TokenRole::Write), &gated), Access::Discover as usize + 1);
            let private = Repo { gating, ..repo(Visibility::Private) };
            assert_eq!(most(&let_into(1, TokenRole::Write), &private), 0, "let in, and then hidden");
            let hidden = Repo { gating, ..repo(Visibility::Private) };
            assert_eq!(outcomes(Settings::default(), &stranger, &hidden), [Err(Denied::NotFound); 5]);
        }
    }

    #[test]
    fn a_deleted_repository_is_missing_for_everybody() {
        let deleted = Repo { state: RepoState::Deleted, ..repo(Visibility::Public) };
        for identity in [Identity::Anonymous, user("acme", true, TokenRole::Write)] {
            let denied = authorize::<Discover>(Settings::default(), &identity, deleted.clone()).unwrap_err();
            assert_eq!(denied, Denied::missing(&identity));
        }
    }

    #[test]
    fn scopes_of_refs() {
        let scope = |identity: &Identity, mirror| {
            let repo = Repo { mirror, ..repo(Visibility::Public) };
            authorize::<Read>(Settings::default(), identity, repo).unwrap().ref_scope()
        };
        assert_eq!(scope(&Identity::Anonymous, true), RefScope::None);
        assert_eq!(scope(&user("other", false, TokenRole::Write), true), RefScope::PullRequests);
        assert_eq!(scope(&user("acme", false, TokenRole::Write), true), RefScope::Branches);
        assert_eq!(scope(&user("root", true, TokenRole::Write), false), RefScope::Branches);
        assert_eq!(scope(&user("root", true, TokenRole::Write), true), RefScope::Everything);
        assert_eq!(scope(&user("root", true, TokenRole::Read), true), RefScope::None);
        let job = Authorized::<Admin>::system("test", repo(Visibility::Private));
        assert_eq!((job.ref_scope(), job.may_write(), job.actor()), (RefScope::Everything, true, None));
    }
}
