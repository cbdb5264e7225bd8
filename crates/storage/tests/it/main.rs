//! The engines and the signer from outside.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod contract;
mod disk;
mod double;
mod faults;
mod habits;
mod probing;
mod signing;
mod speed;
mod support;
