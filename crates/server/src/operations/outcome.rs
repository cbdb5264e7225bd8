//! What an operation gives back, and how a terminal shows it: one thing per line, fields separated by tabs.

use std::fmt;

use auth::TokenSecret;
use database::{Repo, Token, TokenRole, User, Visibility};
use serde::{Deserialize, Serialize};

use super::{OrgRole, Role, Stats};
use crate::doctor;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "value", rename_all = "snake_case")]
pub enum Outcome {
    /// A sentence.
    Done(String),
    Token(TokenIssued),
    Users(Vec<UserLine>),
    Tokens(Vec<TokenLine>),
    Orgs(Vec<OrgLine>),
    Members(Vec<MemberLine>),
    Repos(Vec<RepoLine>),
    Quota(QuotaLine),
    Stats(Stats),
    Import(change::ImportReport),
    Export(change::ExportReport),
    Fsck(change::FsckReport),
    Gc(change::GcReport),
    Maintain(change::MaintainReport),
    Backup(change::BackupReport),
    Doctor(doctor::Report),
}

/// Shown once; rows keep a hash.
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenIssued {
    pub id: i64,
    pub secret: TokenSecret,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UserLine {
    pub name: String,
    pub admin: bool,
    pub disabled: bool,
    pub created_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TokenLine {
    pub id: i64,
    pub name: String,
    pub role: Role,
    pub revoked: bool,
    pub created_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RepoLine {
    pub path: String,
    pub public: bool,
    pub mirror: bool,
    #[serde(default)]
    pub lfs_incomplete: bool,
    pub created_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct OrgLine {
    pub name: String,
    pub created_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct MemberLine {
    pub name: String,
    pub role: OrgRole,
}

impl fmt::Display for OrgLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.name, timestamp(self.created_ms))
    }
}

impl fmt::Display for MemberLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            OrgRole::Read => "read",
            OrgRole::Contributor => "contributor",
            OrgRole::Write => "write",
            OrgRole::Admin => "admin",
        };
        write!(f, "{}\t{role}", self.name)
    }
}

/// In bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct QuotaLine {
    pub used: u64,
    /// By uploads under way.
    pub reserved: u64,
    pub limit: Option<u64>,
    /// It is what `lfs.quota` says.
    pub is_default: bool,
}

impl Outcome {
    /// False makes the command exit with 1 although it ran: it was asked to find faults and found some.
    pub fn is_good(&self) -> bool {
        match self {
            Outcome::Fsck(report) => report.findings.is_empty(),
            Outcome::Doctor(report) => report.is_good(),
            _ => true,
        }
    }
}

/// Without a newline at its end.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done(sentence) => f.write_str(sentence),
            Outcome::Token(issued) => f.write_str(issued.secret.expose()),
            Outcome::Users(users) => lines(f, users),
            Outcome::Tokens(tokens) => lines(f, tokens),
            Outcome::Orgs(orgs) => lines(f, orgs),
            Outcome::Members(members) => lines(f, members),
            Outcome::Repos(repos) => lines(f, repos),
            Outcome::Quota(line) => line.fmt(f),
            Outcome::Stats(stats) => stats.fmt(f),
            Outcome::Import(report) => report.fmt(f),
            Outcome::Export(report) => report.fmt(f),
            Outcome::Fsck(report) => report.fmt(f),
            Outcome::Gc(report) => report.fmt(f),
            Outcome::Maintain(report) => report.fmt(f),
            Outcome::Backup(report) => report.fmt(f),
            Outcome::Doctor(report) => report.fmt(f),
        }
    }
}

impl fmt::Display for UserLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.admin { "admin" } else { "user" };
        let state = if self.disabled { "disabled" } else { "active" };
        write!(f, "{}\t{kind}\t{state}\t{}", self.name, timestamp(self.created_ms))
    }
}

impl fmt::Display for TokenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Read => "read",
            Role::Write => "write",
        };
        let state = if self.revoked { "revoked" } else { "active" };
        write!(f, "{}\t{}\t{role}\t{state}\t{}", self.id, self.name, timestamp(self.created_ms))
    }
}

impl fmt::Display for RepoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visibility = if self.public { "public" } else { "private" };
        let mirror = match (self.mirror, self.lfs_incomplete) {
            (false, false) => "-",
            (true, false) => "mirror",
            (false, true) => "lfs-incomplete",
            (true, true) => "mirror,lfs-incomplete",
        };
        write!(f, "{}\t{visibility}\t{mirror}\t{}", self.path, timestamp(self.created_ms))
    }
}

impl fmt::Display for QuotaLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QuotaLine { used, reserved, .. } = self;
        let limit = self.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let set = if self.is_default { "default" } else { "set" };
        write!(f, "used\t{used}\nreserved\t{reserved}\nlimit\t{limit}\t{set}")
    }
}

impl From<User> for UserLine {
    fn from(user: User) -> Self {
        let User { name, admin, disabled, created_ms, .. } = user;
        UserLine { name: name.to_string(), admin, disabled, created_ms }
    }
}

impl From<Token> for TokenLine {
    fn from(token: Token) -> Self {
        let Token { id, name, role, revoked, created_ms, .. } = token;
        TokenLine { id: id.0, name, role: role.into(), revoked, created_ms }
    }
}

impl From<Repo> for RepoLine {
    fn from(repo: Repo) -> Self {
        let public = repo.visibility == Visibility::Public;
        let Repo { path, mirror, lfs_incomplete, created_ms, .. } = repo;
        RepoLine { path: path.to_string(), public, mirror, lfs_incomplete, created_ms }
    }
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Read => Role::Read,
            TokenRole::Write => Role::Write,
        }
    }
}

impl From<Role> for TokenRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Read => TokenRole::Read,
            Role::Write => TokenRole::Write,
        }
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC, to the second.
pub fn timestamp(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from a day count, with years that begin in March: howardhinnant.github.io/date_algorithms.html
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (n, item) in items.iter().enumerate() {
        let separator = if n == 0 { "" } else { "\n" };
        write!(f, "{separator}{item}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        // By `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds * 1000), text);
        }
    }

    #[test]
    fn lists_print_one_thing_per_line() {
        let user = |name: &str, admin| UserLine { name: name.into(), admin, disabled: !admin, created_ms: 0 };
        let outcome = Outcome::Users(vec![user("ann", true), user("bob", false)]);
        let expected = "ann\tadmin\tactive\t1970-01-01T00:00:00Z\nbob\tuser\tdisabled\t1970-01-01T00:00:00Z";
        assert_eq!(outcome.to_string(), expected);
        assert_eq!(Outcome::Users(Vec::new()).to_string(), "");
    }
}
