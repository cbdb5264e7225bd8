//! The answer to a push.

use bytes::Bytes;
use database::Oid;

use super::{Capabilities, Commands, Status};
use crate::pktline;
use crate::sideband::{self, Band, Framing};

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the pack was taken; if not, why. Git prints `remote unpack failed: <why>`.
    pub unpack: Result<(), String>,
    /// Per ref in the order of the commands: done, perhaps otherwise than asked for; or the reason that git prints
    /// behind `! [remote rejected]`.
    pub refs: Vec<(String, Result<Option<RefOptions>, String>)>,
    /// Lines that git prints behind `remote: `.
    pub messages: Vec<String>,
}

/// How a ref was updated, where that is not as the client asked. Clients without `report-status-v2` are not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefOptions {
    /// The ref that was updated instead.
    pub ref_name: Option<String>,
    pub old: Option<Oid>,
    pub new: Option<Oid>,
    pub forced_update: bool,
}

impl Report {
    /// The pack was refused, and so is every ref.
    pub fn unpack_failed(commands: &Commands, why: impl Into<String>) -> Report {
        let refs =
            commands.updates.iter().map(|update| (update.name.clone(), Err(UNPACKER_ERROR.to_owned())));
        Report { unpack: Err(why.into()), refs: refs.collect(), messages: Vec::new() }
    }

    /// The complete answer in the form that the client asked for; empty if it asked for none.
    pub fn encode(&self, capabilities: &Capabilities) -> Bytes {
        let mut out = Vec::new();
        for message in &self.messages {
            let text = format!("{}\n", message.trim_end_matches('\n'));
            sideband::append(&mut out, capabilities.framing, Band::Progress, text.as_bytes());
        }
        let status = self.status(capabilities.status);
        match capabilities.framing {
            Framing::Raw => out.extend_from_slice(&status),
            framing => {
                sideband::append(&mut out, framing, Band::Data, &status);
                out.extend_from_slice(pktline::FLUSH);
            }
        }
        out.into()
    }

    fn status(&self, version: Status) -> Vec<u8> {
        let mut out = Vec::new();
        if version == Status::Silent {
            return out;
        }
        let unpack = self.unpack.as_ref().map_or_else(|why| one_line(why), |()| "ok".to_owned());
        pktline::text(&mut out, &format!("unpack {unpack}"));
        for (name, result) in &self.refs {
            match (result, &self.unpack) {
                (Err(why), _) => pktline::text(&mut out, &format!("ng {name} {}", one_line(why))),
                (Ok(_), Err(_)) => pktline::text(&mut out, &format!("ng {name} {UNPACKER_ERROR}")),
                (Ok(options), Ok(())) => {
                    pktline::text(&mut out, &format!("ok {name}"));
                    if let Some(options) = options.as_ref().filter(|_| version == Status::V2) {
                        options.write(&mut out);
                    }
                }
            }
        }
        out.extend_from_slice(pktline::FLUSH);
        out
    }
}

impl RefOptions {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(name) = &self.ref_name {
            pktline::text(out, &format!("option refname {name}"));
        }
        if let Some(old) = self.old {
            pktline::text(out, &format!("option old-oid {old}"));
        }
        if let Some(new) = self.new {
            pktline::text(out, &format!("option new-oid {new}"));
        }
        if self.forced_update {
            pktline::text(out, "option forced-update");
        }
    }
}

/// The complete answer to a push that failed before there was anything to report on. Git prints `remote: error: …` or
/// `fatal: remote error: …`.
pub fn fatal(capabilities: &Capabilities, message: &str) -> Bytes {
    match capabilities.framing {
        Framing::Raw => pktline::error_body(message),
        framing => {
            let mut out = Vec::new();
            sideband::append(&mut out, framing, Band::Error, message.as_bytes());
            out.into()
        }
    }
}

const UNPACKER_ERROR: &str = "unpacker error";
/// What fits behind a ref name of any length that git itself can hold.
const REASON_BYTES_MAX: usize = 4096;

fn one_line(text: &str) -> String {
    let text = crate::text::clip(text.trim_end(), REASON_BYTES_MAX);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(status: Status, framing: Framing) -> Capabilities {
        Capabilities { status, framing, ..Capabilities::default() }
    }

    fn encode(report: &Report, status: Status, framing: Framing) -> String {
        String::from_utf8(report.encode(&capabilities(status, framing)).to_vec()).unwrap()
    }

    fn report() -> Report {
        let forced = RefOptions {
            ref_name: Some("refs/pr/1".to_owned()),
            old: Some(Oid([0x11; 20])),
            new: Some(Oid([0x22; 20])),
            forced_update: true,
        };
        let refs = vec![
            ("refs/heads/a".to_owned(), Ok(None)),
            ("refs/heads/b".to_owned(), Ok(Some(forced))),
            ("refs/heads/c".to_owned(), Err("hook\ndeclined\n".to_owned())),
        ];
        Report { unpack: Ok(()), refs, messages: Vec::new() }
    }

    #[test]
    fn the_forms_of_a_report() {
        let v1 = "000eunpack ok\n0014ok refs/heads/a\n0014ok refs/heads/b\n0022ng refs/heads/c hook declined\n0000";
        assert_eq!(encode(&report(), Status::V1, Framing::Raw), v1);
        let v2 = "000eunpack ok\n0014ok refs/heads/a\n0014ok refs/heads/b\n\
                  001doption refname refs/pr/1\n\
                  003coption old-oid 1111111111111111111111111111111111111111\n\
                  003coption new-oid 2222222222222222222222222222222222222222\n\
                  0019option forced-update\n0022ng refs/heads/c hook declined\n0000";
        assert_eq!(encode(&report(), Status::V2, Framing::Raw), v2);
        assert_eq!(
            encode(&report(), Status::V1, Framing::Large),
            format!("{:04x}\x01{v1}0000", v1.len() + 5)
        );
        assert_eq!(encode(&report(), Status::Silent, Framing::Raw), "");
        assert_eq!(encode(&report(), Status::Silent, Framing::Large), "0000");
    }

    #[test]
    fn messages_go_on_the_second_band_only() {
        let report = Report { messages: vec!["hello\n".to_owned()], ..report() };
        assert!(encode(&report, Status::V1, Framing::Large).starts_with("000b\x02hello\n"));
        assert!(encode(&report, Status::V1, Framing::Raw).starts_with("000eunpack ok"));
    }

    #[test]
    fn a_refused_pack_fails_every_ref() {
        let failed = Report { unpack: Err("index-pack failed".to_owned()), ..report() };
        let text = encode(&failed, Status::V2, Framing::Raw);
        assert!(text.starts_with("001dunpack index-pack failed\n"), "{text}");
        assert_eq!(text.matches("ng ").count(), 3);
        assert_eq!(text.matches("unpacker error").count(), 2);
        assert_eq!(Report::unpack_failed(&Commands::default(), "x").unpack, Err("x".to_owned()));
    }

    #[test]
    fn long_reports_are_cut_into_packets_and_long_reasons_are_clipped() {
        let refs = (0..5000).map(|n| (format!("refs/heads/branch-{n}"), Ok(None))).collect();
        let report = Report { unpack: Ok(()), refs, messages: Vec::new() };
        let bytes = report.encode(&capabilities(Status::V2, Framing::Large));
        let lens: Vec<_> = pktline::Packets::new(&bytes).map(Result::unwrap).collect();
        assert!(lens.len() > 2);
        let long = Report { unpack: Err("x".repeat(1 << 20)), refs: Vec::new(), messages: Vec::new() };
        assert!(long.encode(&capabilities(Status::V1, Framing::Raw)).len() < 5000);
    }

    #[test]
    fn fatal_errors() {
        assert_eq!(fatal(&capabilities(Status::V1, Framing::Large), "no")[..], *b"0007\x03no");
        assert_eq!(fatal(&Capabilities::default(), "no")[..], *b"000aERR no");
    }
}
