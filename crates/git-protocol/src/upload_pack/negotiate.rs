//! Finding out what both sides have: acknowledgments of `have` lines.

use std::collections::HashSet;

use database::Oid;
use repository::walk::{self, WalkError, WalkLimits};
use repository::{Kind, Snapshot};

use super::Acks;
use crate::pktline;

/// In v0 a client may make us ask whether enough is common after each of its haves, which takes a walk each time. The
/// answer only saves rounds, so after this many walks it stays no until twice as much is common.
const EAGER_CHECKS: usize = 32;

/// What is common, and whether that is enough.
pub(super) struct Negotiation<'a> {
    snapshot: &'a Snapshot,
    wants: &'a [Oid],
    limits: &'a WalkLimits,
    common: Vec<Oid>,
    /// The common commits and their parents: what the client is known to have without a walk.
    they_have: HashSet<Oid>,
    ready: bool,
    /// How much was common when that was found out last.
    checked: usize,
    checks: usize,
}

impl<'a> Negotiation<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, wants: &'a [Oid], limits: &'a WalkLimits) -> Negotiation<'a> {
        Negotiation {
            snapshot,
            wants,
            limits,
            common: Vec::new(),
            they_have: HashSet::new(),
            ready: false,
            checked: 0,
            checks: 0,
        }
    }

    /// Takes note of one `have`; false if we do not have it.
    pub(super) fn have(&mut self, oid: &Oid) -> Result<bool, WalkError> {
        let Some(kind) = self.snapshot.kind(oid) else { return Ok(false) };
        let fresh = if kind == Kind::Commit {
            let fresh = self.they_have.insert(*oid);
            self.they_have.extend(self.snapshot.commit(oid)?.parents);
            fresh
        } else {
            true
        };
        if fresh {
            self.common.push(*oid);
        }
        Ok(true)
    }

    /// Whether every want reaches something common, so that further haves would hardly make the pack smaller.
    pub(super) fn ready(&mut self) -> Result<bool, WalkError> {
        let known = self.they_have.len();
        let enough_news = if self.checks < EAGER_CHECKS { self.checked + 1 } else { self.checked * 2 };
        if self.ready || known < enough_news {
            return Ok(self.ready);
        }
        self.checked = known;
        self.checks += 1;
        // The parents of a common commit are there too, unless the repository is broken.
        let they_have: Vec<Oid> =
            self.they_have.iter().copied().filter(|oid| self.snapshot.contains(oid)).collect();
        self.ready = walk::reaches(self.snapshot, self.wants, &they_have, self.limits)?;
        Ok(self.ready)
    }

    /// What the pack can leave out, with all that it reaches.
    pub(super) fn into_common(self) -> Vec<Oid> {
        self.common
    }
}

/// Writes the `acknowledgments` section of v2. False if the answer ends with it: the client shall come again.
pub(super) fn acknowledge_v2(
    out: &mut Vec<u8>,
    negotiation: &mut Negotiation<'_>,
    haves: &[Oid],
    wait_for_done: bool,
) -> Result<bool, WalkError> {
    for oid in haves {
        negotiation.have(oid)?;
    }
    pktline::text(out, "acknowledgments");
    if negotiation.common.is_empty() {
        pktline::text(out, "NAK");
    }
    for oid in &negotiation.common {
        pktline::text(out, &format!("ACK {oid}"));
    }
    let ready = !wait_for_done && negotiation.ready()?;
    if ready {
        pktline::text(out, "ready");
        out.extend_from_slice(pktline::DELIM);
    } else {
        out.extend_from_slice(pktline::FLUSH);
    }
    Ok(ready)
}

/// One round of v0.
pub(super) struct RoundV0<'a> {
    pub(super) acks: Acks,
    pub(super) no_done: bool,
    pub(super) haves: &'a [Oid],
    /// The round ends in `done`, not in a flush packet.
    pub(super) done: bool,
}

/// Writes the acknowledgments of a round of v0. False if the answer ends with them.
pub(super) fn acknowledge_v0(
    out: &mut Vec<u8>,
    negotiation: &mut Negotiation<'_>,
    round: &RoundV0<'_>,
) -> Result<bool, WalkError> {
    let mut last_common = None;
    let mut got_other = false;
    let mut ready = false;
    for oid in round.haves {
        if negotiation.have(oid)? {
            last_common = Some(oid);
            match round.acks {
                Acks::Detailed => pktline::text(out, &format!("ACK {oid} common")),
                Acks::Multi => pktline::text(out, &format!("ACK {oid} continue")),
                // Parents of what is common are common without being told, so this may be said more than once.
                Acks::Single if negotiation.common.len() == 1 => pktline::text(out, &format!("ACK {oid}")),
                Acks::Single => {}
            }
            continue;
        }
        got_other = true;
        if round.acks != Acks::Single && negotiation.ready()? {
            // Claiming something unknown as common makes the client stop digging in that branch.
            if round.acks == Acks::Detailed {
                ready = true;
                pktline::text(out, &format!("ACK {oid} ready"));
            } else {
                pktline::text(out, &format!("ACK {oid} continue"));
            }
        }
    }
    if round.done {
        match last_common {
            Some(oid) if round.acks != Acks::Single => pktline::text(out, &format!("ACK {oid}")),
            Some(_) => {}
            None => pktline::text(out, "NAK"),
        }
        return Ok(true);
    }
    if let Some(oid) = last_common
        && round.acks == Acks::Detailed
        && !got_other
        && negotiation.ready()?
    {
        ready = true;
        pktline::text(out, &format!("ACK {oid} ready"));
    }
    if last_common.is_none() || round.acks != Acks::Single {
        pktline::text(out, "NAK");
    }
    match last_common.filter(|_| round.no_done && ready) {
        Some(oid) => {
            pktline::text(out, &format!("ACK {oid}"));
            Ok(true)
        }
        None => Ok(false),
    }
}
