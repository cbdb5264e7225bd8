//! The binary `granary`: listener, routes, configuration, command line, background jobs.
//!
//! The only crate that knows HTTP, and the only one that reads the environment. What moves a ref lives in `change`,
//! what a client may do in `auth`; here requests and commands are decoded, handed down, and their outcomes rendered.
//!
//! Start at [`node`] (what a running process consists of), then [`operations`] (what the command line can do) and
//! `commands::serve` (how they come together).

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod address;
pub mod boot;
pub mod cli;
mod commands;
pub mod config;
pub mod control;
pub mod datadir;
pub mod doctor;
mod door;
pub mod error;
pub mod free;
mod git;
mod health;
mod home;
pub mod http;
mod hub;
mod hub_catalogue;
pub mod hub_route;
pub mod jobs;
mod lfs;
mod log_line;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod operations;
pub mod place;
pub mod route;
pub mod serve;
pub mod spool;
pub mod staging;
pub mod webhooks;
mod xet;
pub mod xet_route;

pub use commands::main;
pub use config::Config;
pub use node::Node;
