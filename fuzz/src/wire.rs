//! What must hold for any bytes that a git client sends. Shared by the fuzz targets and by the test that replays their
//! corpora.

use git_protocol::pktline::{self, Packet, PacketError, Packets};
use git_protocol::receive_pack::{self, Parsed};
use git_protocol::upload_pack::{self, Request};
use git_protocol::{Limits, Version};

/// Packets that were read are written as they were, apart from the case of the length's digits.
pub fn pkt_line(data: &[u8]) {
    let mut packets = Packets::new(data);
    let mut written = Vec::new();
    while let Some(packet) = packets.next() {
        match packet {
            Ok(Packet::Data(payload)) => pktline::data(&mut written, payload),
            Ok(Packet::Flush) => written.extend(pktline::FLUSH),
            Ok(Packet::Delim) => written.extend(pktline::DELIM),
            Ok(Packet::ResponseEnd) => written.extend(pktline::RESPONSE_END),
            Err(PacketError::Truncated | PacketError::Length(_) | PacketError::LengthDigits(_)) => {
                assert!(packets.next().is_none());
                break;
            }
        }
        let read = &data[..data.len() - packets.rest().len()];
        assert!(read.eq_ignore_ascii_case(&written));
    }
}

/// A request within small limits, or an error that can be told to the client.
pub fn v2_commands(data: &[u8]) {
    for version in [Version::V0, Version::V2] {
        match upload_pack::parse(version, data, &limits()) {
            Ok(Request::LsRefs(request)) => assert!(request.prefixes.len() < 65536),
            Ok(Request::Fetch(fetch)) => {
                assert!(fetch.wants.len() + fetch.want_refs.len() <= 8);
                assert!(fetch.haves.len() <= 8 && fetch.shallow.len() <= 8);
            }
            Err(error) => told(&error.to_string()),
        }
    }
}

/// Commands within small limits; what is incomplete stays so however much of it is cut off.
pub fn receive_pack_commands(data: &[u8]) {
    match receive_pack::parse_commands(data, &limits()) {
        Ok(Parsed::Complete { commands, consumed }) => {
            assert!(commands.updates.len() <= 8 && commands.push_options.len() <= 8);
            assert!(consumed <= data.len());
            let head = receive_pack::parse_commands(&data[..consumed], &limits());
            assert_eq!(head, Ok(Parsed::Complete { commands, consumed }));
            if let Some(cut) = consumed.checked_sub(1) {
                assert_eq!(receive_pack::parse_commands(&data[..cut], &limits()), Ok(Parsed::Incomplete));
            }
        }
        Ok(Parsed::Incomplete) => {
            let half = receive_pack::parse_commands(&data[..data.len() / 2], &limits());
            assert_eq!(half, Ok(Parsed::Incomplete));
        }
        Err(error) => {
            told(&error.to_string());
            assert!(!receive_pack::fatal(&error.capabilities, "no").is_empty());
        }
    }
}

fn limits() -> Limits {
    Limits {
        wants_max: 8,
        haves_max: 8,
        shallow_max: 8,
        deepen_not_max: 8,
        filter_bytes_max: 256,
        filter_combine_max: 8,
        commands_max: 8,
        push_options_max: 8,
        push_options_bytes_max: 64,
        ..Limits::default()
    }
}

/// Messages are short and print on one line.
fn told(message: &str) {
    assert!(message.len() < 2048 && !message.chars().any(char::is_control), "{message:?}");
}
