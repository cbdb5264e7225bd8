//! The request of protocol v0 and v1: wants with features, how to cut history, a flush, then haves.

use super::RequestError;
use super::arguments::{Acks, Arguments, Dialect, Fetch, leading_oid};
use crate::Limits;
use crate::capabilities::Features;
use crate::pktline::{Packet, Packets, line};
use crate::sideband::Framing;
use crate::text::quote;

pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Fetch, RequestError> {
    let mut packets = Packets::new(body);
    let mut options = Options::default();
    let dialect =
        Dialect::V0 { acks: Acks::Single, no_done: false, framing: Framing::Raw, negotiates: false };
    let mut arguments = Arguments::new(dialect, limits);
    while let Packet::Data(payload) = packets.expect_next()? {
        need(line(payload), &mut arguments, &mut options)?;
    }
    let negotiates = !arguments.fetch.wants.is_empty() && !packets.rest().is_empty();
    if negotiates {
        round(&mut packets, &mut arguments)?;
    }
    let Options { acks, no_done, framing, .. } = options;
    arguments.fetch.dialect = Dialect::V0 { acks, no_done, framing, negotiates };
    arguments.finish()
}

/// What the features of the wants say beside what a [`Fetch`] has anyway.
struct Options {
    acks: Acks,
    no_done: bool,
    framing: Framing,
    filter: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { acks: Acks::Single, no_done: false, framing: Framing::Raw, filter: false }
    }
}

/// A line before the flush packet.
fn need(line: &[u8], arguments: &mut Arguments<'_>, options: &mut Options) -> Result<(), RequestError> {
    if arguments.history(line)? {
        return Ok(());
    }
    if let Some(spec) = line.strip_prefix(b"filter ") {
        return if options.filter { arguments.filter(spec) } else { Err(RequestError::FilterNotNegotiated) };
    }
    let not_a_want = || RequestError::Want(quote(line));
    let want = line.strip_prefix(b"want ").ok_or_else(not_a_want)?;
    let oid = leading_oid(want).ok_or_else(not_a_want)?;
    features(Features::new(&want[40..]), arguments, options);
    arguments.want(oid)
}

fn features(features: Features<'_>, arguments: &mut Arguments<'_>, options: &mut Options) {
    let fetch = &mut arguments.fetch;
    fetch.thin |= features.has("thin-pack");
    fetch.ofs_delta |= features.has("ofs-delta");
    fetch.include_tag |= features.has("include-tag");
    fetch.no_progress |= features.has("no-progress");
    arguments.relative |= features.has("deepen-relative");
    options.no_done |= features.has("no-done");
    options.filter |= features.has("filter");
    if features.has("multi_ack_detailed") {
        options.acks = Acks::Detailed;
    } else if features.has("multi_ack") {
        options.acks = Acks::Multi;
    }
    if features.has("side-band-64k") {
        options.framing = Framing::Large;
    } else if features.has("side-band") {
        options.framing = Framing::Small;
    }
}

/// The haves, up to `done` or a flush packet. Later rounds come as requests of their own, so what follows is ignored.
fn round(packets: &mut Packets<'_>, arguments: &mut Arguments<'_>) -> Result<(), RequestError> {
    while let Packet::Data(payload) = packets.expect_next()? {
        let line = line(payload);
        if line == b"done" {
            arguments.fetch.done = true;
            break;
        }
        if !arguments.have(line)? {
            return Err(RequestError::NoHave(quote(line)));
        }
    }
    Ok(())
}
