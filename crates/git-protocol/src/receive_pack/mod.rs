//! The service behind push: from a POST's body to the commands and the pack in it, and from results to the report.
//!
//! [`parse_commands`] reads the head of the body; the pack is the rest. [`Report`] is the answer, [`fatal`] the answer
//! if there is nothing to report on. Pushing has no v2. While the server works, [`crate::sideband::KEEPALIVE`] may be sent
//! to clients whose [`Capabilities::framing`] is not raw.

mod commands;
mod ref_name;
mod report;

pub use commands::{
    Capabilities, Commands, CommandsError, Malformed, Parsed, Status, Update, parse_commands,
};
pub use ref_name::{RefNameProblem, is_well_formed};
pub use report::{RefOptions, Report, fatal};
