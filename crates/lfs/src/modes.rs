//! How an object gets in: a pure choice.
//!
//! A presigned URL lives longer than the proof of what was put there. So one for a whole object is handed out only if
//! it is bound to its content ([`Binding`]) and the bucket was seen to enforce that. Otherwise the object goes in parts
//! (their URLs die when the parts are put together) or through the hub, which hashes what it stores.

use storage::{Binding, Capabilities};

use crate::wire::batch::Family;

/// Where objects are put.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A directory; every byte passes through the hub anyway.
    Disk,
    Bucket(Capabilities),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One PUT through the hub.
    Hub,
    /// One PUT to a presigned URL, then `verify`.
    Presigned(Binding),
    /// Parts, then their completion.
    Multipart,
}

/// S3 takes no larger object in one PUT.
pub(crate) const SINGLE_PUT_MAX: u64 = 5 << 30;

/// The mode for one object of `size` bytes; `multipart_from` is [`crate::Config::multipart_from`].
pub fn mode(engine: &Engine, family: Family, offers_multipart: bool, size: u64, multipart_from: u64) -> Mode {
    let Engine::Bucket(can) = engine else {
        return if offers_multipart && size > multipart_from { Mode::Multipart } else { Mode::Hub };
    };
    let in_parts = offers_multipart && can.multipart;
    if in_parts && (size > multipart_from || size > SINGLE_PUT_MAX) {
        return Mode::Multipart;
    }
    match binding(can, family).filter(|_| size <= SINGLE_PUT_MAX) {
        Some(binding) => Mode::Presigned(binding),
        None if in_parts => Mode::Multipart,
        None => Mode::Hub,
    }
}

/// The strongest binding that the bucket enforces for such a client. Only git-lfs is known to send the headers that
/// an action asks for.
fn binding(can: &Capabilities, family: Family) -> Option<Binding> {
    match family {
        Family::GitLfs if can.signed_checksum => Some(Binding::SignedHeader),
        _ if can.query_checksum => Some(Binding::QueryChecksum),
        _ if can.payload_hash => Some(Binding::PayloadHash),
        _ => None,
    }
}

/// What the answer's `transfer` says, and the modes as they must be then. `transfer` is one word for all objects: the
/// agent that git-lfs runs for `multipart` takes nothing else, so there one such object makes all of them such. Hugging
/// Face's client looks at each object.
pub(crate) fn settle(family: Family, modes: &mut [Mode]) -> bool {
    let multipart = modes.contains(&Mode::Multipart);
    if multipart && family != Family::HuggingFace {
        modes.fill(Mode::Multipart);
    }
    multipart
}

#[cfg(test)]
mod tests {
    use super::*;
    use Family::{GitLfs, HuggingFace, Other};

    const FROM: u64 = 64 << 20;

    fn bucket(flags: &str) -> Engine {
        Engine::Bucket(Capabilities {
            signed_checksum: flags.contains('h'),
            query_checksum: flags.contains('q'),
            payload_hash: flags.contains('p'),
            multipart: flags.contains('m'),
            ..Capabilities::default()
        })
    }

    #[test]
    fn the_mode_by_bucket_client_and_size() {
        use Mode::{Hub, Multipart};
        let header = Mode::Presigned(Binding::SignedHeader);
        let query = Mode::Presigned(Binding::QueryChecksum);
        let payload = Mode::Presigned(Binding::PayloadHash);
        let five = SINGLE_PUT_MAX;
        // (what the bucket enforces, client, offers multipart, size, mode)
        let table = [
            ("hqpm", GitLfs, false, 1, header),
            ("hqpm", GitLfs, false, five, header),
            ("hqpm", GitLfs, false, five + 1, Hub),
            ("hqpm", GitLfs, true, FROM, header),
            ("hqpm", GitLfs, true, FROM + 1, Multipart),
            ("hqpm", HuggingFace, true, FROM, query),
            ("hqpm", HuggingFace, true, FROM + 1, Multipart),
            ("hqpm", Other, false, FROM + 1, query),
            ("hpm", HuggingFace, true, 1, payload),
            ("hm", HuggingFace, true, 1, Multipart),
            ("hm", HuggingFace, false, 1, Hub),
            ("hm", Other, false, 1, Hub),
            ("h", HuggingFace, true, 1, Hub),
            ("h", HuggingFace, true, five + 1, Hub),
            ("qm", GitLfs, false, 1, query),
            ("pm", GitLfs, false, 1, payload),
            ("m", GitLfs, true, 1, Multipart),
            ("", GitLfs, true, FROM + 1, Hub),
            ("", GitLfs, false, 1, Hub),
        ];
        for (flags, family, offers, size, expected) in table {
            assert_eq!(
                mode(&bucket(flags), family, offers, size, FROM),
                expected,
                "{flags} {family:?} {offers} {size}"
            );
        }
        for family in [GitLfs, HuggingFace, Other] {
            assert_eq!(mode(&Engine::Disk, family, true, FROM, FROM), Hub);
            assert_eq!(mode(&Engine::Disk, family, true, FROM + 1, FROM), Multipart);
            assert_eq!(mode(&Engine::Disk, family, false, FROM + 1, FROM), Hub);
        }
    }

    #[test]
    fn a_huge_threshold_does_not_make_a_put_too_large() {
        assert_eq!(mode(&bucket("hqpm"), GitLfs, true, SINGLE_PUT_MAX + 1, u64::MAX), Mode::Multipart);
    }

    #[test]
    fn one_word_for_all_objects_but_for_hugging_face() {
        let mixed = [Mode::Hub, Mode::Multipart, Mode::Presigned(Binding::SignedHeader)];
        for family in [GitLfs, Other] {
            let mut modes = mixed;
            assert!(settle(family, &mut modes));
            assert_eq!(modes, [Mode::Multipart; 3]);
        }
        let mut modes = mixed;
        assert!(settle(HuggingFace, &mut modes));
        assert_eq!(modes, mixed);
        assert!(!settle(GitLfs, &mut [Mode::Hub]));
    }
}
