//! What a bucket was seen to enforce, and what that means for uploads.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answers of [`super::Bucket::probe`]. The default is a bucket of which nothing is proven: correct with any, but
/// all uploads without parts pass through us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// A signed `x-amz-checksum-sha256` header keeps an upload to its bytes.
    pub signed_checksum: bool,
    /// So does the same as a parameter of the URL.
    pub query_checksum: bool,
    /// So does `X-Amz-Content-Sha256`, the hash of the payload.
    pub payload_hash: bool,
    /// A signed `Content-Length` keeps an upload to its size.
    pub signed_length: bool,
    /// A signed `x-amz-checksum-crc64nvme` header keeps accidents from an upload. (It is no proof: whoever wants to can make
    /// other bytes with the same.)
    pub signed_crc64: bool,
    /// The bucket copies an object to another key itself, without what its uploader said of how to decode it.
    pub copy: bool,
    /// Parts can be sent to bare URLs, which are dead once the upload is completed.
    pub multipart: bool,
    /// A range of an object is answered as such.
    pub range: bool,
    /// HEAD shows the SHA-256 that was enforced.
    pub head_checksum: bool,
    /// Everybody can store objects, so no signature keeps anybody to anything: then nothing above but `range` is true.
    pub open_to_write: bool,
    /// Everybody who knows or guesses a key can read what is there.
    pub open_to_read: bool,
    /// By how much the bucket's clock is ahead of ours.
    pub clock_skew_s: i64,
}

impl Capabilities {
    /// Clients may put something under a key of its own, from where the bucket copies it to where it is proven.
    pub fn takes_drafts(&self) -> bool {
        self.copy && self.signed_length
    }

    /// As far as they do not depend on signatures, which this bucket does not need.
    pub(super) fn without_signatures(self) -> Capabilities {
        let Capabilities { range, open_to_read, clock_skew_s, .. } = self;
        Capabilities { range, open_to_read, clock_skew_s, open_to_write: true, ..Capabilities::default() }
    }
}

const OPEN_TO_WRITE: &str = "OPEN FOR WRITING:";
const OPEN_TO_READ: &str = "open for reading:";

/// From here on the operator is warned; at fifteen minutes buckets refuse signatures.
const SKEW_NOTABLE_S: u64 = 60;

impl fmt::Display for Capabilities {
    /// A line for each, without a newline after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line =
            |has, yes, no| writeln!(f, "{} {}", if has { "yes" } else { "no " }, if has { yes } else { no });
        line(
            self.signed_checksum,
            "signed checksum header: git-lfs uploads objects up to 5 GiB straight to the bucket, which checks them",
            "signed checksum header: not enforced; git-lfs uploads pass through Granary, or go in parts",
        )?;
        line(
            self.query_checksum,
            "checksum in the URL: clients that send no headers (Hugging Face) upload straight to the bucket",
            "checksum in the URL: not enforced",
        )?;
        line(
            self.payload_hash,
            "payload hash in the URL: clients that send no headers (Hugging Face) upload straight to the bucket",
            "payload hash in the URL: not enforced",
        )?;
        line(
            self.signed_length,
            "signed length: an upload has the announced size",
            "signed length: not enforced; a wrong size is found when the object is verified",
        )?;
        line(
            self.takes_drafts(),
            "copies: xorbs of Hugging Face clients go straight to the bucket; Granary reads each back once",
            "copies: the bucket makes none, or takes other sizes than announced; xorbs pass through Granary",
        )?;
        line(
            self.signed_crc64,
            "CRC-64 header: the bucket finds xorbs that were damaged on the way",
            "CRC-64 header: not checked; Granary finds xorbs that were damaged on the way",
        )?;
        line(
            self.multipart,
            "parts: clients that can send parts upload large objects straight to the bucket; Granary reads them back once",
            "parts: not usable from outside; large objects pass through Granary",
        )?;
        line(
            self.range,
            "ranges: an interrupted download is resumed",
            "ranges: not answered as such; an interrupted download starts anew",
        )?;
        line(
            self.head_checksum,
            "checksum in HEAD: what the bucket checked is not read back",
            "checksum in HEAD: not shown; Granary reads every upload to the bucket back once",
        )?;
        if self.open_to_write {
            let advice = "everybody can store and replace objects without a signature! Close the bucket; until then \
                          uploads pass through Granary";
            writeln!(f, "no  {OPEN_TO_WRITE} {advice}")?;
        }
        if self.open_to_read {
            let advice = "whoever learns where an object is can read it for ever, without a signature";
            writeln!(f, "no  {OPEN_TO_READ} {advice}")?;
        }
        let skew_s = self.clock_skew_s.unsigned_abs();
        if skew_s < SKEW_NOTABLE_S {
            return write!(f, "yes clock: agrees with the bucket's");
        }
        let side = if self.clock_skew_s > 0 { "behind" } else { "ahead of" };
        write!(
            f,
            "no  clock: this machine is {skew_s} s {side} the bucket; set it right, at 15 minutes signatures are refused"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Capabilities = Capabilities {
        signed_checksum: true,
        query_checksum: true,
        payload_hash: true,
        signed_length: true,
        signed_crc64: true,
        copy: true,
        multipart: true,
        range: true,
        head_checksum: true,
        open_to_write: false,
        open_to_read: false,
        clock_skew_s: 0,
    };

    #[test]
    fn a_line_for_each() {
        assert!(ALL.to_string().lines().all(|line| line.starts_with("yes ")), "{ALL}");
        assert_eq!(ALL.to_string().lines().count(), 10);
        let none = Capabilities { clock_skew_s: -61, ..Capabilities::default() };
        assert!(none.to_string().lines().all(|line| line.starts_with("no  ")), "{none}");
        assert!(none.to_string().contains("61 s ahead of the bucket"));
        let behind = Capabilities { clock_skew_s: 60, ..ALL };
        assert!(behind.to_string().contains("60 s behind the bucket"));
        let agrees = Capabilities { clock_skew_s: 59, ..ALL };
        assert!(agrees.to_string().ends_with("yes clock: agrees with the bucket's"));
    }

    #[test]
    fn a_bucket_that_is_open_is_said_to_be() {
        let open = Capabilities { open_to_read: true, clock_skew_s: 7, ..ALL }.without_signatures();
        let expected = Capabilities {
            range: true,
            open_to_write: true,
            open_to_read: true,
            clock_skew_s: 7,
            ..Capabilities::default()
        };
        assert_eq!(open, expected);
        let text = open.to_string();
        assert_eq!(text.lines().count(), 12);
        assert!(
            text.contains("no  OPEN FOR WRITING: everybody") && text.contains("no  open for reading: "),
            "{text}"
        );
        assert!(text.ends_with("yes clock: agrees with the bucket's"));
    }

    #[test]
    fn stored_and_read_again() {
        let text = serde_json::to_string(&ALL).unwrap();
        assert_eq!(serde_json::from_str::<Capabilities>(&text).unwrap(), ALL);
        assert_eq!(serde_json::from_str::<Capabilities>("{}").unwrap(), Capabilities::default());
    }
}
