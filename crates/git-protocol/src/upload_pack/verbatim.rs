//! Clones that are answered by one stored pack as it is.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use database::PackKind;
use repository::{Pack, Snapshot};

use super::{Dialect, Fetch};
use crate::pktline;
use crate::sideband::{self, Band, Framing};

/// An answer that is `preamble`, then the bytes of [`Pack::pack_bytes`] cut into packets of at most
/// [`Framing::payload_max`] bytes behind [`sideband::frame_header`], then `trailer`.
#[derive(Clone)]
pub struct Verbatim {
    pub preamble: Bytes,
    pub pack: Arc<Pack>,
    pub framing: Framing,
    pub trailer: &'static [u8],
}

impl Verbatim {
    /// Bytes of the whole answer.
    pub fn total_bytes(&self) -> u64 {
        let pack = self.pack.pack_bytes().len() as u64;
        let headers = self.framing.payload_max().map_or(0, |max| pack.div_ceil(max as u64) * 5);
        self.preamble.len() as u64 + headers + pack + self.trailer.len() as u64
    }
}

/// The answer to an initial clone if it is provably one pack: call it after [`Fetch::check_wants`].
///
/// The proof: the snapshot has one pack, which was proven to be the closure of the refs of a generation; the snapshot
/// is of that generation; and whatever a ref points at is wanted, or comes with what is wanted. Then the objects that
/// the wants reach are all of that pack, and since the pack is all there is, no more than it.
pub fn verbatim(snapshot: &Snapshot, fetch: &Fetch) -> Option<Verbatim> {
    let [pack] = snapshot.packs() else { return None };
    let proven = pack.is_closure() && pack.added_generation() == snapshot.generation();
    // Packs of other kinds hold no delta on an object outside of them.
    if !proven || pack.kind() == PackKind::Api || !is_whole_clone(fetch) || !covers_refs(snapshot, fetch) {
        return None;
    }
    let (mut preamble, framing) = match fetch.dialect {
        Dialect::V2 { .. } => (v2_sections(snapshot, fetch)?, Framing::Large),
        Dialect::V0 { framing, .. } => {
            let mut out = Vec::new();
            pktline::text(&mut out, "NAK");
            (out, framing)
        }
    };
    if !fetch.no_progress {
        let objects = pack.objects();
        let text = format!(
            "Enumerating objects: {objects}, done.\n\
             Total {objects}, pack-reused {objects} (from 1)\n"
        );
        sideband::append(&mut preamble, framing, Band::Progress, text.as_bytes());
    }
    let trailer: &[u8] = if framing == Framing::Raw { b"" } else { pktline::FLUSH };
    Some(Verbatim { preamble: preamble.into(), pack: Arc::clone(pack), framing, trailer })
}

/// Everything is asked for, at once, in a form that a stored pack has.
fn is_whole_clone(fetch: &Fetch) -> bool {
    let asks_for_pack = match fetch.dialect {
        // Without haves a v2 server sends the pack whether the client says `done` or not.
        Dialect::V2 { .. } => true,
        Dialect::V0 { .. } => fetch.done,
    };
    let plain = fetch.haves.is_empty() && fetch.shallow.is_empty();
    asks_for_pack && plain && fetch.deepen.is_none() && fetch.filter.is_none() && fetch.ofs_delta
}

fn covers_refs(snapshot: &Snapshot, fetch: &Fetch) -> bool {
    let Ok(wants) = fetch.resolve_wants(snapshot) else { return false };
    if wants.is_empty() {
        return false;
    }
    let wants: HashSet<_> = wants.into_iter().collect();
    let refs = snapshot.refs();
    // A wanted tag brings what it points at; what is sent brings its tags if asked to.
    let behind_tags: HashSet<_> =
        refs.iter().filter(|row| wants.contains(&row.oid)).filter_map(|row| row.peeled).collect();
    let sent = |oid| wants.contains(oid) || behind_tags.contains(oid);
    refs.iter().all(|row| {
        let comes_along = fetch.include_tag && row.name.starts_with("refs/tags/");
        sent(&row.oid) || comes_along && row.peeled.as_ref().is_some_and(sent)
    })
}

fn v2_sections(snapshot: &Snapshot, fetch: &Fetch) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    super::answer::wanted_refs_section(&mut out, &fetch.wanted_refs(snapshot).ok()?);
    pktline::text(&mut out, "packfile");
    Some(out)
}
