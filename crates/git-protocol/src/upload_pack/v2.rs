//! The request of protocol v2: a command, capabilities, a delimiter, arguments, a flush.

use super::arguments::{Arguments, Dialect, bound, leading_oid};
use super::{LsRefs, Request, RequestError};
use crate::Limits;
use crate::pktline::{Packet, Packets, line};
use crate::text::quote;

pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Request, RequestError> {
    let mut packets = Packets::new(body);
    let Some(head) = head(&mut packets, limits)? else {
        let nothing = Arguments::new(Dialect::V2 { wait_for_done: false }, limits);
        return nothing.finish().map(Request::Fetch);
    };
    match head.command {
        Command::LsRefs => ls_refs(&mut packets, head.arguments_follow, limits).map(Request::LsRefs),
        Command::Fetch => fetch(&mut packets, head.arguments_follow, limits).map(Request::Fetch),
    }
}

#[derive(Clone, Copy)]
enum Command {
    LsRefs,
    Fetch,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Command::LsRefs => "ls-refs",
            Command::Fetch => "fetch",
        }
    }
}

struct Head {
    command: Command,
    /// A delimiter ended the capabilities, not the flush that ends the request.
    arguments_follow: bool,
}

/// Command and capabilities. `None` if there are none at all: the client wanted nothing.
fn head(packets: &mut Packets<'_>, limits: &Limits) -> Result<Option<Head>, RequestError> {
    let mut command = None;
    let mut count = 0;
    let mut format_matches = Ok(());
    if packets.rest().is_empty() {
        return Ok(None);
    }
    let arguments_follow = loop {
        match packets.expect_next()? {
            Packet::Data(payload) => {
                bound("capability lines", count, limits.capabilities_max)?;
                count += 1;
                let line = line(payload);
                match line.strip_prefix(b"command=") {
                    Some(name) => command = Some(this_command(name, command)?),
                    None => capability(line, &mut format_matches)?,
                }
            }
            Packet::Flush if count == 0 => return Ok(None),
            Packet::Flush => break false,
            Packet::Delim => break true,
            Packet::ResponseEnd => return Err(RequestError::UnexpectedLine("0002".to_owned())),
        }
    };
    let command = command.ok_or(RequestError::NoCommand)?;
    format_matches?;
    Ok(Some(Head { command, arguments_follow }))
}

fn this_command(name: &[u8], earlier: Option<Command>) -> Result<Command, RequestError> {
    if let Some(first) = earlier {
        return Err(RequestError::SecondCommand { first: first.name(), second: quote(name) });
    }
    match name {
        b"ls-refs" => Ok(Command::LsRefs),
        b"fetch" => Ok(Command::Fetch),
        _ => Err(RequestError::InvalidCommand(quote(name))),
    }
}

/// What the client says of itself is accepted and ignored, except the kind of object ids it speaks. That one is judged
/// once the command is known, as git does.
fn capability(line: &[u8], format_matches: &mut Result<(), RequestError>) -> Result<(), RequestError> {
    let mut parts = line.splitn(2, |&byte| byte == b'=');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next());
    match (name, value) {
        (b"agent" | b"server-option" | b"session-id", _) | (b"object-format", Some(b"sha1")) => Ok(()),
        (b"object-format", Some(b"sha256")) => {
            *format_matches = Err(RequestError::ObjectFormat("sha256".to_owned()));
            Ok(())
        }
        (b"object-format", Some(other)) => Err(RequestError::UnknownObjectFormat(quote(other))),
        (b"object-format", None) => Err(RequestError::NoObjectFormat),
        _ => Err(RequestError::UnknownCapability(quote(line))),
    }
}

fn ls_refs(
    packets: &mut Packets<'_>,
    arguments_follow: bool,
    limits: &Limits,
) -> Result<LsRefs, RequestError> {
    let mut request = LsRefs::default();
    let mut count = 0;
    each_argument(packets, arguments_follow, "ls-refs", |line| {
        match line {
            b"peel" => request.peel = true,
            b"symrefs" => request.symrefs = true,
            b"unborn" => request.unborn = true,
            _ => {
                let prefix = line.strip_prefix(b"ref-prefix ").ok_or_else(|| unexpected(line))?;
                if count < limits.prefixes_max {
                    request.prefixes.push(prefix.to_vec());
                }
                count += 1;
            }
        }
        Ok(())
    })?;
    // An incomplete list would hide refs that the client asked for.
    if count >= limits.prefixes_max {
        request.prefixes = Vec::new();
    }
    Ok(request)
}

fn fetch(
    packets: &mut Packets<'_>,
    arguments_follow: bool,
    limits: &Limits,
) -> Result<super::Fetch, RequestError> {
    let mut arguments = Arguments::new(Dialect::V2 { wait_for_done: false }, limits);
    each_argument(packets, arguments_follow, "fetch", |line| fetch_argument(line, &mut arguments))?;
    arguments.finish()
}

fn fetch_argument(line: &[u8], arguments: &mut Arguments<'_>) -> Result<(), RequestError> {
    let fetch = &mut arguments.fetch;
    match line {
        b"thin-pack" => fetch.thin = true,
        b"ofs-delta" => fetch.ofs_delta = true,
        b"no-progress" => fetch.no_progress = true,
        b"include-tag" => fetch.include_tag = true,
        b"done" => fetch.done = true,
        b"wait-for-done" => fetch.dialect = Dialect::V2 { wait_for_done: true },
        b"deepen-relative" => arguments.relative = true,
        _ => return fetch_value(line, arguments),
    }
    Ok(())
}

fn fetch_value(line: &[u8], arguments: &mut Arguments<'_>) -> Result<(), RequestError> {
    if let Some(hex) = line.strip_prefix(b"want ") {
        let oid = leading_oid(hex).ok_or_else(|| RequestError::Want(quote(line)))?;
        arguments.want(oid)
    } else if let Some(name) = line.strip_prefix(b"want-ref ") {
        arguments.want_ref(name)
    } else if let Some(spec) = line.strip_prefix(b"filter ") {
        arguments.filter(spec)
    } else if arguments.have(line)? || arguments.history(line)? {
        Ok(())
    } else {
        Err(unexpected(line))
    }
}

fn each_argument(
    packets: &mut Packets<'_>,
    arguments_follow: bool,
    command: &'static str,
    mut argument: impl FnMut(&[u8]) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    if !arguments_follow {
        return Ok(());
    }
    loop {
        match packets.expect_next()? {
            Packet::Data(payload) => argument(line(payload))?,
            Packet::Flush => return Ok(()),
            Packet::Delim | Packet::ResponseEnd => return Err(RequestError::NoFlush(command)),
        }
    }
}

fn unexpected(line: &[u8]) -> RequestError {
    RequestError::UnexpectedLine(quote(line))
}
