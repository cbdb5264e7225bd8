//! Who is asking, and may they: credentials → [`Identity`] → [`Authorized`].
//!
//! It owns access tokens (their form, their hashes) and the one decision about permission, [`authorize`]. Every entry
//! point below the server takes the [`Authorized`] it returns, so that skipping the decision does not compile. It
//! never speaks HTTP (it is given the value of a header and returns an outcome, not a status), keeps no session and
//! caches nothing.
//!
//! Start at [`access`], which holds the decision; [`credential`] and [`identity`] are the way there. [`transfer`] is the
//! other way: a link that was handed out carries what it is good for, and is decided anew when it is used; [`xet`]
//! is the same for the many calls of a client of the Xet CAS.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod access;
pub mod credential;
pub mod identity;
pub mod shares;
pub mod standing;
pub mod subject;
pub mod token;
pub mod transfer;
pub mod xet;

pub use access::{
    Access, Admin, Authorized, Denied, Discover, Propose, Read, ReauthorizeError, RefScope, Right, Settings,
    Split, Write, authorize, authorize_bucket, may_create, seen,
};
pub use credential::{Credential, MalformedHeader};
pub use identity::{AuthError, Identity, Principal, identify};
pub use standing::may_read_as;
pub use subject::{Holder, Subject};
pub use token::{ImportError, IssueError, TokenSecret, import, issue};
