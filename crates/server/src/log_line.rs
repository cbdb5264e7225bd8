//! The line of a request in a log of JSON. Every request has one, so it is written straight into the line, where
//! `tracing_subscriber` builds it of many small pieces. All other lines are left to it.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;

/// The target of these events.
pub(crate) const ACCESS: &str = "server::access";

pub(crate) struct Lines {
    other: Format<Json>,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        Lines { other: format().json().flatten_event(true).with_current_span(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() != ACCESS {
            return self.other.format_event(context, writer, event);
        }
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", metadata.level())?;
        let mut fields = Fields { writer: &mut writer, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        writer.write_str(",\"target\":")?;
        write_text(&mut writer, metadata.target())?;
        writer.write_str("}\n")
    }
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    written: fmt::Result,
}

impl Fields<'_, '_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        self.written = self.written.and_then(|()| {
            self.writer.write_char(',')?;
            write_text(self.writer, field.name())?;
            self.writer.write_char(':')?;
            value(self.writer)
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        self.write(field, |writer| match value.is_finite() {
            true => write!(writer, "{value:?}"),
            false => writer.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |writer| write_text(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.write(field, |writer| write_text(writer, &text));
    }
}

/// As a string of JSON.
fn write_text(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    writer.write_char('"')?;
    if text.bytes().any(is_special) {
        for char in text.chars() {
            match char {
                '"' | '\\' => write!(writer, "\\{char}")?,
                '\0'..' ' => write!(writer, "\\u{:04x}", u32::from(char))?,
                _ => writer.write_char(char)?,
            }
        }
    } else {
        writer.write_str(text)?;
    }
    writer.write_char('"')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Written;

        fn make_writer(&self) -> Written {
            self.clone()
        }
    }

    impl Written {
        /// The lines, whose time is the one thing that differs.
        fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().unwrap();
            let text = std::str::from_utf8(&bytes).unwrap();
            let lines = text.lines().map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                assert!(
                    time.as_str().unwrap().ends_with('Z') && time.as_str().unwrap().len() == 27,
                    "{time}"
                );
                line
            });
            lines.collect()
        }
    }

    fn events() {
        for text in
            ["GET", "", "a \"quote\" and a \\", "{\"level\":\"ERROR\"}\n\r\t\0\u{1f}", "große\u{7f}\u{2028}𝄞"]
        {
            for number in [0.0, 0.1, 1.0, 12_345.678_901, 1e-9, 1e21, f64::MAX, f64::INFINITY, f64::NAN] {
                tracing::info!(
                    target: ACCESS,
                    text,
                    user = None::<&str>,
                    repo = Some(text.to_owned()),
                    status = 200_u16,
                    bytes = u64::MAX,
                    less = i64::MIN,
                    number,
                    cut_short = Some(true),
                    kind = ?Some("debug"),
                    shown = %text,
                    "request"
                );
            }
        }
        tracing::warn!(target: "elsewhere", text = "a", "another");
    }

    #[test]
    fn lines_say_what_the_others_would() {
        let (ours, theirs) = (Written::default(), Written::default());
        let builder = tracing_subscriber::fmt().json().event_format(Lines::new()).with_writer(ours.clone());
        tracing::subscriber::with_default(builder.finish(), events);
        let builder = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false);
        tracing::subscriber::with_default(builder.with_writer(theirs.clone()).finish(), events);
        assert_eq!(ours.lines(), theirs.lines());
        assert_eq!(ours.lines().len(), 46);
        assert_eq!(ours.lines()[0]["message"], "request");
    }
}
