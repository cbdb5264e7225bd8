//! Protocol tests with real git on the other side.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "real git is the oracle, and only tests run it")]

mod advertisement;
mod corpus;
mod differential;
mod hub;
mod live;
mod requests;
mod states;
mod support;
