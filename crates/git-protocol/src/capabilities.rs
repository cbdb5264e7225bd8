//! The feature lists of v0: words separated by white space after the first `want` or the first command.

/// The words of a feature list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features<'a>(&'a [u8]);

impl<'a> Features<'a> {
    pub(crate) fn new(list: &'a [u8]) -> Features<'a> {
        Features(list)
    }

    /// Is `name` there, with or without a value?
    pub(crate) fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of `name=value`; `None` if `name` is not there or has none.
    pub(crate) fn value(self, name: &str) -> Option<&'a [u8]> {
        self.find(name)?.strip_prefix(b"=")
    }

    /// What follows `name` in the first word that is `name` or `name=…`.
    fn find(self, name: &str) -> Option<&'a [u8]> {
        self.0
            .split(u8::is_ascii_whitespace)
            .filter_map(|word| word.strip_prefix(name.as_bytes()))
            .find(|rest| rest.is_empty() || rest.starts_with(b"="))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_only() {
        let features = Features::new(b" multi_ack_detailed side-band-64k agent=git/2 empty=\n");
        assert!(features.has("multi_ack_detailed") && !features.has("multi_ack"));
        assert!(!features.has("side-band"));
        assert_eq!(features.value("agent"), Some(&b"git/2"[..]));
        assert_eq!(features.value("empty"), Some(&b""[..]));
        assert_eq!(features.value("side-band-64k"), None);
    }
}
