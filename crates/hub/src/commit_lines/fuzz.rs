//! What must hold for any bytes that a client sends.

use super::{ContentDecoder, Encoding, Form, Header, Limits, LineError, Operation, Parser, Sink};

/// What a body was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Header(Header),
    Content { number: u32, declared: Option<Encoding>, text: String },
    Operation(Operation),
}

#[derive(Default)]
pub(super) struct Recorder(pub Vec<Event>);

impl Sink for Recorder {
    type Error = LineError;

    fn header(&mut self, header: Header) -> Result<(), LineError> {
        self.0.push(Event::Header(header));
        Ok(())
    }

    fn content_start(&mut self, number: u32, declared: Option<Encoding>) -> Result<(), LineError> {
        self.0.push(Event::Content { number, declared, text: String::new() });
        Ok(())
    }

    fn content(&mut self, piece: &str) -> Result<(), LineError> {
        let Some(Event::Content { text, .. }) = self.0.last_mut() else { panic!("content before its start") };
        assert!(!piece.is_empty());
        text.push_str(piece);
        Ok(())
    }

    fn operation(&mut self, operation: Operation) -> Result<(), LineError> {
        self.0.push(Event::Operation(operation));
        Ok(())
    }
}

/// Reads a body that arrives in these pieces.
pub(super) fn read<'a>(
    form: Form,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, LineError> {
    let mut parser = Parser::new(form, limits.clone());
    let mut recorder = Recorder::default();
    for piece in pieces {
        parser.push(piece, &mut recorder)?;
    }
    parser.finish().map(|()| recorder.0)
}

/// Decodes a text in pieces of `step` bytes, as if the encoding were told at its end, and restores it if need be.
pub(super) fn decode(text: &str, encoding: Encoding, step: usize) -> Option<Vec<u8>> {
    let (mut decoder, mut spool, mut rest) = (ContentDecoder::new(None), Vec::new(), text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(step));
        decoder.push(piece, &mut spool).expect("because no encoding was declared");
        rest = after;
    }
    let Some(mut restore) = decoder.finish(encoding, &mut spool).ok()? else { return Some(spool) };
    let mut content = Vec::new();
    spool.chunks(step).for_each(|chunk| restore.push(chunk, &mut content));
    assert_eq!(restore.content_bytes(spool.len() as u64), content.len() as u64);
    Some(content)
}

/// The first byte chooses the form and how the rest is cut. However it is cut, it is read as the same, within the limits;
/// contents decode alike in pieces and at once, and as text they are what was sent.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let form = if choice & 1 == 0 { Form::Lines } else { Form::Object };
    let step = usize::from(choice >> 1).max(1);
    let limits = Limits {
        operations_max: 4,
        path_bytes_max: 64,
        summary_bytes_max: 64,
        description_bytes_max: 64,
        word_bytes_max: 64,
    };
    let whole = read(form, &limits, [body]);
    assert_eq!(whole, read(form, &limits, body.chunks(step)));
    let events = match whole {
        Ok(events) => events,
        Err(error) => return assert!(error.to_string().len() < 1024),
    };
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Header(_))).count(), 1);
    assert!(events.iter().filter(|event| matches!(event, Event::Operation(_))).count() <= 4);
    for event in &events {
        let Event::Content { text, .. } = event else { continue };
        assert_eq!(decode(text, Encoding::Utf8, step).as_deref(), Some(text.as_bytes()));
        assert_eq!(decode(text, Encoding::Base64, step), decode(text, Encoding::Base64, usize::MAX));
    }
}
