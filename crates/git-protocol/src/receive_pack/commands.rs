//! The head of a push: which refs to move, with which capabilities.

use std::collections::HashSet;

use database::Oid;

use super::ref_name::{self, RefNameProblem};
use crate::Limits;
use crate::capabilities::Features;
use crate::pktline::{Packet, PacketError, Packets, line};
use crate::sideband::Framing;
use crate::text::quote;

/// What a push asks for. The pack follows it in the body, unless refs are only deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// In the order of the request. Empty if the client only probes whether it may push (the body `0000`): answer
    /// that with an empty body.
    pub updates: Vec<Update>,
    pub capabilities: Capabilities,
    /// Where the history ends from which the client pushes.
    pub shallow: Vec<Oid>,
    /// `git push -o`, in order.
    pub push_options: Vec<String>,
}

/// One ref to create, move or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What the client believes it is now; [`Oid::NULL`] if it should not exist.
    pub old: Oid,
    /// [`Oid::NULL`] to delete it.
    pub new: Oid,
    pub name: String,
    /// Set if the ref must be reported as failed, whatever else is right.
    pub problem: Option<RefNameProblem>,
}

/// What the client can do and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub status: Status,
    /// `side-band-64k` or nothing; v0's smaller side band does not exist here.
    pub framing: Framing,
    /// All refs or none.
    pub atomic: bool,
    /// No progress on the user's terminal.
    pub quiet: bool,
    pub push_options: bool,
    pub agent: Option<String>,
    pub session_id: Option<String>,
}

/// The form of report that the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// None: it will not learn what became of its refs.
    Silent,
    /// `report-status`
    V1,
    /// `report-status-v2`
    V2,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            status: Status::Silent,
            framing: Framing::Raw,
            atomic: false,
            quiet: false,
            push_options: false,
            agent: None,
            session_id: None,
        }
    }
}

impl Commands {
    /// Whether a pack must follow. A push that only deletes has none.
    pub fn expects_pack(&self) -> bool {
        self.updates.iter().any(|update| !update.new.is_null())
    }
}

/// What [`parse_commands`] makes of the first bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Come again with more of the body; if there is no more, it was cut short.
    Incomplete,
    /// `consumed` bytes were the commands, the rest is the pack.
    Complete { commands: Commands, consumed: usize },
}

/// A head that cannot be obeyed. Answer it with [`super::fatal`] and these capabilities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    #[source]
    pub error: CommandsError,
    /// As far as they were read, so that the client can be told in the way it expects.
    pub capabilities: Capabilities,
}

/// Why. The texts are git's where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandsError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("protocol error: expected old/new/ref, got '{0}'")]
    NotACommand(String),
    #[error("protocol error: expected shallow sha, got '{0}'")]
    Shallow(String),
    #[error("protocol error: expected flush after {0}")]
    NoFlush(&'static str),
    #[error("error: unsupported object format '{0}'")]
    ObjectFormat(String),
    #[error("signed pushes are not supported by this server; push without --signed")]
    PushCertificate,
    #[error("ref names must be UTF-8 on this server, '{0}' is not")]
    RefNameEncoding(String),
    #[error("push options must be UTF-8 on this server, '{0}' is not")]
    PushOptionEncoding(String),
    /// A bound of [`Limits`].
    #[error("this server takes at most {max} {what} in one push")]
    TooMany { what: &'static str, max: usize },
}

/// Reads the commands at the start of `head`, which are the first bytes of a body or all of it.
pub fn parse_commands(head: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
    let mut parser = Parser { packets: Packets::new(head), limits, commands: Commands::default() };
    match parser.run() {
        Ok(()) => {
            let consumed = head.len() - parser.packets.rest().len();
            Ok(Parsed::Complete { commands: parser.commands, consumed })
        }
        Err(CommandsError::Packet(PacketError::Truncated)) => Ok(Parsed::Incomplete),
        Err(error) => Err(Malformed { error, capabilities: parser.commands.capabilities }),
    }
}

struct Parser<'a> {
    packets: Packets<'a>,
    limits: &'a Limits,
    commands: Commands,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), CommandsError> {
        loop {
            match self.packets.expect_next()? {
                Packet::Data(payload) => self.line(payload)?,
                Packet::Flush => break,
                Packet::Delim | Packet::ResponseEnd => return Err(CommandsError::NoFlush("commands")),
            }
        }
        // Without commands git reads no further, whatever the capabilities say.
        if self.commands.capabilities.push_options && !self.commands.updates.is_empty() {
            self.push_options()?;
        }
        self.mark_repeated();
        Ok(())
    }

    fn line(&mut self, payload: &[u8]) -> Result<(), CommandsError> {
        if let Some(hex) = payload.strip_prefix(b"shallow ") {
            let hex = line(hex);
            let oid = Oid::from_hex(hex).map_err(|_| CommandsError::Shallow(quote(hex)))?;
            bound("shallow commits", self.commands.shallow.len(), self.limits.shallow_max)?;
            self.commands.shallow.push(oid);
            return Ok(());
        }
        let mut parts = payload.splitn(2, |&byte| byte == 0);
        let (command, features) = (line(parts.next().unwrap_or_default()), parts.next());
        if let Some(features) = features {
            self.features(Features::new(line(features)))?;
        }
        if command == b"push-cert" {
            return Err(CommandsError::PushCertificate);
        }
        bound("refs", self.commands.updates.len(), self.limits.commands_max)?;
        let update = update(command, self.limits)?;
        self.commands.updates.push(update);
        Ok(())
    }

    fn features(&mut self, features: Features<'_>) -> Result<(), CommandsError> {
        let capabilities = &mut self.commands.capabilities;
        if features.has("side-band-64k") {
            capabilities.framing = Framing::Large;
        }
        if features.has("report-status-v2") {
            capabilities.status = Status::V2;
        } else if features.has("report-status") {
            capabilities.status = capabilities.status.max(Status::V1);
        }
        capabilities.atomic |= features.has("atomic");
        capabilities.quiet |= features.has("quiet");
        capabilities.push_options |= features.has("push-options");
        capabilities.agent = features.value("agent").map(quote);
        capabilities.session_id = features.value("session-id").map(quote);
        match features.value("object-format") {
            None | Some(b"sha1") => Ok(()),
            Some(other) => Err(CommandsError::ObjectFormat(quote(other))),
        }
    }

    fn push_options(&mut self) -> Result<(), CommandsError> {
        let mut bytes = 0;
        loop {
            let option = match self.packets.expect_next()? {
                Packet::Data(payload) => line(payload),
                Packet::Flush => return Ok(()),
                Packet::Delim | Packet::ResponseEnd => return Err(CommandsError::NoFlush("push options")),
            };
            bytes += option.len();
            bound("push options", self.commands.push_options.len(), self.limits.push_options_max)?;
            bound("bytes of push options", bytes.saturating_sub(1), self.limits.push_options_bytes_max)?;
            let text = std::str::from_utf8(option);
            let text = text.map_err(|_| CommandsError::PushOptionEncoding(quote(option)))?;
            self.commands.push_options.push(text.to_owned());
        }
    }

    /// A ref can end in one place only: all updates of a ref that is named twice fail.
    fn mark_repeated(&mut self) {
        let updates = &mut self.commands.updates;
        let mut names = HashSet::with_capacity(updates.len());
        let repeated = updates.iter().filter(|update| !names.insert(update.name.as_str()));
        let repeated: HashSet<String> = repeated.map(|update| update.name.clone()).collect();
        for update in updates.iter_mut().filter(|update| repeated.contains(&update.name)) {
            update.problem.get_or_insert(RefNameProblem::Repeated);
        }
    }
}

/// `<old> <new> <name>`
fn update(command: &[u8], limits: &Limits) -> Result<Update, CommandsError> {
    let not_a_command = || CommandsError::NotACommand(quote(command));
    let (old, rest) = leading_oid(command).ok_or_else(not_a_command)?;
    let (new, name) = leading_oid(rest).ok_or_else(not_a_command)?;
    let name = std::str::from_utf8(name).map_err(|_| CommandsError::RefNameEncoding(quote(name)))?;
    let problem = ref_name::check(name, new.is_null(), limits);
    Ok(Update { old, new, name: name.to_owned(), problem })
}

fn leading_oid(text: &[u8]) -> Option<(Oid, &[u8])> {
    let (hex, rest) = text.split_at_checked(40)?;
    Some((Oid::from_hex(hex).ok()?, rest.strip_prefix(b" ")?))
}

fn bound(what: &'static str, count: usize, max: usize) -> Result<(), CommandsError> {
    if count < max { Ok(()) } else { Err(CommandsError::TooMany { what, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktline;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn body(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        lines.iter().for_each(|line| pktline::data(&mut out, line.as_bytes()));
        out.extend(pktline::FLUSH);
        out
    }

    fn parse(body: &[u8]) -> Result<(Commands, usize), String> {
        match parse_commands(body, &Limits::default()) {
            Ok(Parsed::Complete { commands, consumed }) => Ok((commands, consumed)),
            Ok(Parsed::Incomplete) => Err("incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_git_sends() {
        let first = format!(
            "{OLD} {NEW} refs/heads/main\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.47.3"
        );
        let second = format!("{NONE} {NEW} refs/heads/new");
        let mut bytes = body(&[&first, &second, &format!("{OLD} {NONE} refs/old\n")]);
        let head = bytes.len();
        bytes.extend(b"PACK...");
        let (commands, consumed) = parse(&bytes).unwrap();
        assert_eq!(consumed, head);
        assert_eq!(commands.capabilities.status, Status::V2);
        assert_eq!(commands.capabilities.framing, Framing::Large);
        assert_eq!(commands.capabilities.agent.as_deref(), Some("git/2.47.3"));
        assert!(!commands.capabilities.atomic && commands.push_options.is_empty() && commands.expects_pack());
        let names: Vec<_> =
            commands.updates.iter().map(|update| (update.name.as_str(), update.problem)).collect();
        assert_eq!(names, [("refs/heads/main", None), ("refs/heads/new", None), ("refs/old", None)]);
        assert_eq!((commands.updates[1].old, commands.updates[1].new), (Oid::NULL, Oid([0x22; 20])));
        assert!(commands.updates[2].new.is_null());
        for end in 0..head {
            assert_eq!(parse(&bytes[..end]), Err("incomplete".to_owned()), "{end}");
        }
    }

    #[test]
    fn a_probe_has_no_updates() {
        assert_eq!(parse(b"0000"), Ok((Commands::default(), 4)));
    }

    #[test]
    fn push_options_follow_the_commands() {
        let first = format!("{OLD} {NEW} refs/heads/main\0report-status push-options atomic quiet");
        let mut bytes = body(&[&first]);
        assert_eq!(parse(&bytes), Err("incomplete".to_owned()));
        bytes.extend(body(&["ci.skip", "topic=ä\n", ""]));
        let (commands, consumed) = parse(&bytes).unwrap();
        assert_eq!(commands.push_options, ["ci.skip", "topic=ä", ""]);
        assert_eq!((consumed, commands.capabilities.status), (bytes.len(), Status::V1));
        assert!(commands.capabilities.atomic && commands.capabilities.quiet);
        assert_eq!(commands.capabilities.framing, Framing::Raw);
    }

    #[test]
    fn shallow_lines_come_before_commands() {
        let bytes = body(&[&format!("shallow {OLD}\n"), &format!("{OLD} {NEW} refs/heads/main\0")]);
        assert_eq!(parse(&bytes).unwrap().0.shallow, [Oid([0x11; 20])]);
    }

    #[test]
    fn malformed_heads() {
        let command = format!("{OLD} {NEW} refs/heads/main");
        let cases = [
            (body(&["nonsense"]), "protocol error: expected old/new/ref, got 'nonsense'".to_owned()),
            (body(&[&OLD[1..]]), format!("protocol error: expected old/new/ref, got '{}'", &OLD[1..])),
            (
                body(&[&format!("{OLD} {NEW}")]),
                format!("protocol error: expected old/new/ref, got '{OLD} {NEW}'"),
            ),
            (body(&["shallow 12"]), "protocol error: expected shallow sha, got '12'".to_owned()),
            (
                body(&[&format!("{command}\0object-format=sha256")]),
                "error: unsupported object format 'sha256'".to_owned(),
            ),
            (
                body(&["push-cert\0report-status"]),
                "signed pushes are not supported by this server; push without --signed".to_owned(),
            ),
            (b"0001".to_vec(), "protocol error: expected flush after commands".to_owned()),
            (b"00zz".to_vec(), "protocol error: bad line length character: 00zz".to_owned()),
        ];
        for (bytes, text) in cases {
            assert_eq!(parse(&bytes), Err(text));
        }
        let mut raw = Vec::new();
        pktline::data(&mut raw, &[command.as_bytes(), b"\xff\0"].concat());
        raw.extend(pktline::FLUSH);
        assert!(parse(&raw).unwrap_err().starts_with("ref names must be UTF-8"));
    }

    #[test]
    fn an_error_knows_the_capabilities_read_so_far() {
        let first = format!("{OLD} {NEW} refs/heads/main\0report-status side-band-64k");
        let error = parse_commands(&body(&[&first, "nonsense"]), &Limits::default()).unwrap_err();
        assert_eq!(error.capabilities.framing, Framing::Large);
    }

    #[test]
    fn bounds() {
        let limits = Limits {
            commands_max: 2,
            shallow_max: 1,
            push_options_max: 2,
            push_options_bytes_max: 6,
            ref_name_bytes_max: 12,
            ..Limits::default()
        };
        let check = |bytes: &[u8]| match parse_commands(bytes, &limits) {
            Ok(Parsed::Complete { commands, .. }) => Ok(commands),
            Ok(Parsed::Incomplete) => panic!(),
            Err(error) => Err(error.to_string()),
        };
        let command = |name: &str| format!("{OLD} {NEW} {name}\0push-options");
        let two = body(&[&command("refs/heads/a"), &command("refs/heads/bc")]);
        let commands = check(&[&two[..], b"0000"].concat()).unwrap();
        assert_eq!(commands.updates[0].problem, None);
        assert_eq!(commands.updates[1].problem, Some(RefNameProblem::TooLong { bytes_max: 12 }));
        let three = body(&[&command("a"), &command("b"), &command("c")]);
        assert_eq!(check(&three), Err("this server takes at most 2 refs in one push".to_owned()));
        let shallow = format!("shallow {OLD}");
        assert!(check(&body(&[&shallow])).is_ok());
        let text = "this server takes at most 1 shallow commits in one push";
        assert_eq!(check(&body(&[&shallow, &shallow])), Err(text.to_owned()));
        assert!(check(&[two.clone(), body(&["abc", "def"])].concat()).is_ok());
        let text = "this server takes at most 6 bytes of push options in one push";
        assert_eq!(check(&[two.clone(), body(&["abc", "defg"])].concat()), Err(text.to_owned()));
        let text = "this server takes at most 2 push options in one push";
        assert_eq!(check(&[two, body(&["", "", ""])].concat()), Err(text.to_owned()));
    }

    #[test]
    fn a_ref_named_twice_fails_both_times() {
        let command = |name: &str| format!("{OLD} {NEW} {name}");
        let bytes = body(&[&command("refs/heads/a"), &command("refs/heads/b"), &command("refs/heads/a")]);
        let problems: Vec<_> =
            parse(&bytes).unwrap().0.updates.into_iter().map(|update| update.problem).collect();
        assert_eq!(problems, [Some(RefNameProblem::Repeated), None, Some(RefNameProblem::Repeated)]);
    }
}
