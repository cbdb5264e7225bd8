//! The machine that reads a commit body.
//!
//! Nothing nests deeper than a commit does, so the place in the JSON is one [`Level`], not a stack, and hostile depth ends
//! at its first bracket.

use super::draft::{Draft, Event};
use super::member::{self, Member};
use super::operation::{Form, Limits, Sink};
use super::text::{Piece, Unescape};
use super::{LineError, Problem};

/// Pieces of text below this are gathered, so that a text full of escapes does not cost a call each.
const DIRECT_BYTES: usize = 4 * 1024;
const GATHERED_BYTES: usize = 16 * 1024;

/// Reads one body. Holds at most the longest bounded string and 20 KiB of a content.
#[derive(Debug)]
pub struct Parser {
    form: Form,
    limits: Limits,
    line: u64,
    level: Level,
    place: Place,
    token: Token,
    text: Unescape,
    /// Of the token, what was read and not yet given out.
    buffer: String,
    /// The member whose value comes.
    member: Member,
    draft: Draft,
    refused: bool,
}

/// The container we are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Outside,
    /// `{"key", "value"}` of [`Form::Lines`].
    Line,
    /// The object in `value`.
    Value,
    /// The one object of [`Form::Object`].
    Body,
    List,
    Element,
}

/// What comes next in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first member or element, or the end.
    Start,
    /// A member or element after a comma.
    Next,
    Colon,
    Value,
    /// A comma or the end.
    After,
}

/// What was begun and not yet read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    None,
    Name,
    String,
    Content,
    /// A number or `null`.
    Word,
}

impl Parser {
    pub fn new(form: Form, limits: Limits) -> Parser {
        Parser {
            form,
            limits,
            line: 1,
            level: Level::Outside,
            place: Place::Start,
            token: Token::None,
            text: Unescape::default(),
            buffer: String::new(),
            member: Member::Key,
            draft: Draft::default(),
            refused: false,
        }
    }

    /// Reads the next bytes, cut anywhere. After an error there is nothing more to read.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        if self.refused {
            return Err(self.error(Problem::Refused).into());
        }
        self.refused = true;
        let mut input = bytes;
        while !input.is_empty() {
            self.step(&mut input, sink)?;
        }
        self.refused = false;
        Ok(())
    }

    /// To be called after the last byte: all was given out by then, and this tells whether anything is missing.
    pub fn finish(self) -> Result<(), LineError> {
        let problem = match self.level {
            _ if self.refused => Problem::Refused,
            Level::Outside if self.draft.has_header() => return Ok(()),
            Level::Outside => Problem::NoHeader,
            _ => Problem::Truncated,
        };
        Err(self.error(problem))
    }

    fn error(&self, problem: Problem) -> LineError {
        LineError { line: self.line, problem }
    }

    fn step<S: Sink>(&mut self, input: &mut &[u8], sink: &mut S) -> Result<(), S::Error> {
        let event = match self.token {
            Token::None => self.structure(input),
            Token::Word => self.word(input).map(|()| None),
            Token::Name | Token::String => self.string(input).map(|()| None),
            Token::Content => return self.content(input, sink),
        };
        match event.map_err(|problem| self.error(problem))? {
            Some(Event::Header(header)) => sink.header(header),
            Some(Event::ContentStart(number, declared)) => sink.content_start(number, declared),
            Some(Event::Operation(operation)) => sink.operation(operation),
            None => Ok(()),
        }
    }

    /// One byte between the tokens, or the first of one.
    fn structure(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Problem> {
        let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
        match (self.level, self.place, byte) {
            (_, _, b' ' | b'\t' | b'\r') => {}
            (_, _, b'\n') => self.line_feed()?,
            (Level::Outside, Place::Start, b'{') => match self.form {
                Form::Lines => self.open(Level::Line),
                Form::Object => self.open(Level::Body),
            },
            (Level::List, Place::Start | Place::Next, b'{') => self.open(Level::Element),
            (Level::List, Place::Start | Place::After, b']') => return self.close(input),
            (Level::Outside, ..) | (Level::List, Place::Start | Place::Next, _) => {
                return Err(self.unexpected(input));
            }
            (_, Place::Start | Place::After, b'}') if self.level != Level::List => return self.close(input),
            (_, Place::Start | Place::Next, b'"') => self.token = Token::Name,
            (_, Place::Colon, b':') => self.place = Place::Value,
            (_, Place::After, b',') => self.place = Place::Next,
            (_, Place::Value, _) => {
                let event = self.value(byte)?;
                *input = rest;
                return Ok(event);
            }
            _ => return Err(self.unexpected(input)),
        }
        *input = rest;
        Ok(None)
    }

    fn open(&mut self, level: Level) {
        self.level = level;
        self.place = Place::Start;
    }

    fn line_feed(&mut self) -> Result<(), Problem> {
        if self.form == Form::Lines {
            if self.level != Level::Outside {
                return Err(Problem::Truncated);
            }
            self.place = Place::Start;
        }
        self.line += 1;
        Ok(())
    }

    fn unexpected(&self, input: &[u8]) -> Problem {
        // Only ASCII can be right between tokens, so it does not matter which character a higher byte is part of.
        let found = input.first().map_or('\u{fffd}', |&b| if b.is_ascii() { b.into() } else { '\u{fffd}' });
        let expected = match (self.level, self.place) {
            (Level::Outside, Place::Start) => "an object {…}",
            (Level::Outside, _) if self.form == Form::Lines => "the end of the line",
            (Level::Outside, _) => "the end of the body",
            (Level::List, Place::Start) => "an object {…} or ']'",
            (Level::List, Place::After) => "',' or ']'",
            (Level::List, _) => "an object {…}",
            (_, Place::Start) => "the name of a member or '}'",
            (_, Place::Next) => "the name of a member",
            (_, Place::Colon) => "':'",
            (_, Place::Value) => "a value",
            (_, Place::After) => "',' or '}'",
        };
        Problem::Unexpected { found, expected }
    }

    /// The first byte of a member's value.
    fn value(&mut self, byte: u8) -> Result<Option<Event>, Problem> {
        self.place = Place::After;
        match (self.member, byte) {
            (Member::Value, b'{') => self.open(Level::Value),
            (list, b'[') if list.list_of().is_some() => {
                self.draft.list(list);
                self.open(Level::List);
            }
            (Member::Content, b'"') => {
                self.token = Token::Content;
                return Ok(Some(self.draft.content()));
            }
            (Member::Size, b'-' | b'0'..=b'9') => self.begin_word(byte),
            (member, b'n') if member::NULLABLE & member.bit() != 0 => self.begin_word(byte),
            (Member::Value | Member::Size, _) => return Err(self.member.type_problem()),
            (member, b'"') if member.list_of().is_none() => self.token = Token::String,
            (member, _) => return Err(member.type_problem()),
        }
        Ok(None)
    }

    fn begin_word(&mut self, byte: u8) {
        self.token = Token::Word;
        self.buffer.push(char::from(byte));
    }

    fn word(&mut self, input: &mut &[u8]) -> Result<(), Problem> {
        let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let len = input.iter().position(|byte| !of_word(byte)).unwrap_or(input.len());
        let (part, rest) = input.split_at(len);
        self.gather(&String::from_utf8_lossy(&part[..len.min(self.limits.word_bytes_max + 1)]))?;
        *input = rest;
        if rest.is_empty() {
            return Ok(());
        }
        self.token = Token::None;
        let word = std::mem::take(&mut self.buffer);
        if word == "null" && member::NULLABLE & self.member.bit() != 0 {
            return Ok(());
        }
        if self.member != Member::Size {
            return Err(self.member.type_problem());
        }
        self.draft.assign(self.member, word)
    }

    /// A string that is held as a whole.
    fn string(&mut self, input: &mut &[u8]) -> Result<(), Problem> {
        match self.text.next(input)? {
            Piece::Run(run) => self.gather(run),
            Piece::Char(char) => self.gather(char.encode_utf8(&mut [0; 4])),
            Piece::More => Ok(()),
            Piece::End => {
                let token = std::mem::replace(&mut self.token, Token::None);
                let text = std::mem::take(&mut self.buffer);
                if token == Token::Name { self.name(text) } else { self.draft.assign(self.member, text) }
            }
        }
    }

    fn gather(&mut self, part: &str) -> Result<(), Problem> {
        let limits = &self.limits;
        let (what, bytes_max) = match (self.token, self.member) {
            (Token::Name, _) => ("the name of a member", limits.word_bytes_max),
            (_, Member::Path | Member::OldPath) => (self.member.name(), limits.path_bytes_max),
            (_, Member::Summary) => (self.member.name(), limits.summary_bytes_max),
            (_, Member::Description) => (self.member.name(), limits.description_bytes_max),
            _ => (self.member.name(), limits.word_bytes_max),
        };
        if self.buffer.len() + part.len() > bytes_max {
            return Err(Problem::TooLong { what, bytes_max });
        }
        self.buffer.push_str(part);
        Ok(())
    }

    fn content<S: Sink>(&mut self, input: &mut &[u8], sink: &mut S) -> Result<(), S::Error> {
        while !input.is_empty() {
            match self.text.next(input).map_err(|problem| self.error(problem))? {
                Piece::Run(run) if run.len() >= DIRECT_BYTES => {
                    self.give_content(sink)?;
                    sink.content(run)?;
                }
                Piece::Run(run) => self.buffer.push_str(run),
                Piece::Char(char) => self.buffer.push(char),
                Piece::More => {}
                Piece::End => {
                    self.token = Token::None;
                    return self.give_content(sink);
                }
            }
            if self.buffer.len() >= GATHERED_BYTES {
                self.give_content(sink)?;
            }
        }
        Ok(())
    }

    fn give_content<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if !self.buffer.is_empty() {
            sink.content(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn name(&mut self, name: String) -> Result<(), Problem> {
        self.member = match self.level {
            Level::Line => self.draft.outer_member(name, member::LINE, "a line"),
            Level::Body => self.draft.outer_member(name, member::BODY, "a commit"),
            _ => self.draft.inner_member(name),
        }?;
        self.place = Place::Colon;
        Ok(())
    }

    /// The end of a container, which is the next byte.
    fn close(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Problem> {
        *input = &input[1..];
        self.place = Place::After;
        let (outer, event) = match self.level {
            Level::Value => (Level::Line, None),
            Level::List => (Level::Body, None),
            Level::Element => (Level::List, Some(self.draft.end_element(&self.limits)?)),
            Level::Line => (Level::Outside, Some(self.draft.end_line(&self.limits)?)),
            Level::Body => (Level::Outside, Some(self.draft.end_body()?)),
            Level::Outside => (Level::Outside, None),
        };
        self.level = outer;
        Ok(event)
    }
}
