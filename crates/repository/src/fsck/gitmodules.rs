//! The content of `.gitmodules`: settings that make `git clone --recurse-submodules` write or run what it must not.

use std::borrow::Cow;

use super::Problem;

/// Checks the content of a `.gitmodules` blob. What is no valid configuration is accepted from there on, as git does:
/// it reads no setting behind an error either.
pub fn check_gitmodules(data: &[u8]) -> Result<(), Problem> {
    let mut parser = Parser { rest: data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data), section: Vec::new() };
    while let Some(setting) = parser.next_setting() {
        check_setting(&parser.section, &setting)?;
    }
    Ok(())
}

/// A key, in lower case, and its value, if there is an equals sign.
struct Setting {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

fn check_setting(section: &[u8], setting: &Setting) -> Result<(), Problem> {
    let Some(name) = section.strip_prefix(b"submodule.") else { return Ok(()) };
    if !is_safe_name(name) {
        return Err(disallowed("gitmodulesName", "name", name));
    }
    let Some(value) = &setting.value else { return Ok(()) };
    match setting.key.as_slice() {
        b"url" if !is_safe_url(value) => Err(disallowed("gitmodulesUrl", "url", value)),
        b"path" if value.starts_with(b"-") => Err(disallowed("gitmodulesPath", "path", value)),
        b"update" if value.starts_with(b"!") => Err(disallowed("gitmodulesUpdate", "update setting", value)),
        _ => Ok(()),
    }
}

fn disallowed(id: &'static str, what: &str, value: &[u8]) -> Problem {
    // The value ends up on a terminal.
    let value = value[..value.len().min(200)].escape_ascii();
    Problem { id, message: Cow::Owned(format!("disallowed submodule {what}: {value}")) }
}

/// The name becomes a directory below `.git/modules`.
fn is_safe_name(name: &[u8]) -> bool {
    !name.is_empty() && name.split(|&byte| matches!(byte, b'/' | b'\\')).all(|component| component != b"..")
}

/// An URL must not be an option of a command, and must not smuggle a line feed or another host into the credential
/// protocol (CVE-2020-5260, CVE-2020-11008).
fn is_safe_url(url: &[u8]) -> bool {
    if url.starts_with(b"-") {
        return false;
    }
    let is_relative = matches!(url, [b'.', b'/' | b'\\', ..] | [b'.', b'.', b'/' | b'\\', ..]);
    if is_relative || url.starts_with(b"git://") {
        return !percent_decode(url).contains(&b'\n') && !replaces_host(url);
    }
    match [&b"http"[..], b"https", b"ftp", b"ftps"].iter().find_map(|scheme| strip_scheme(url, scheme)) {
        Some(rest) => is_sound_http_url(rest),
        None => true,
    }
}

/// `../` often enough to leave the path of the remote, followed by what becomes its host.
fn replaces_host(url: &[u8]) -> bool {
    let (mut rest, mut ups) = (url, 0);
    loop {
        match rest {
            [b'.', b'.', b'/' | b'\\', after @ ..] => (rest, ups) = (after, ups + 1),
            [b'.', b'/' | b'\\', after @ ..] => rest = after,
            _ => return ups > 0 && matches!(rest.first(), Some(b':' | b'/')),
        }
    }
}

/// What follows `http://`, also written `http::http://`: `None` if `url` is of another scheme. `Some` of nothing if it
/// names the helper but no URL.
fn strip_scheme<'a>(url: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let rest = url.strip_prefix(scheme)?;
    if let Some(rest) = rest.strip_prefix(b"://") {
        return Some(rest);
    }
    let url = rest.strip_prefix(b"::")?;
    let separator = url.windows(3).position(|window| window == b"://");
    Some(separator.map_or(&[], |at| &url[at + 3..]))
}

/// There is a host, the port is a number, escapes are hexadecimal and hide no line feed, `..` stays below the root.
fn is_sound_http_url(rest: &[u8]) -> bool {
    let decoded = percent_decode(rest);
    let escapes_are_sound = rest.split(|&byte| byte == b'%').skip(1).all(|after| hex_pair(after).is_some());
    if decoded.contains(&b'\n') || !escapes_are_sound {
        return false;
    }
    let authority_len = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    let host_port = authority.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
    let port_at = match host_port.iter().rposition(|&byte| byte == b':') {
        Some(at) if !host_port[at..].contains(&b']') => at,
        _ => host_port.len(),
    };
    let port = host_port.get(port_at + 1..).unwrap_or_default();
    let port_is_sound = port.is_empty()
        || port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|digits| digits.parse::<u16>().is_ok_and(|port| port > 0));
    let path_end = path.iter().position(|byte| b"?#".contains(byte)).unwrap_or(path.len());
    let path = percent_decode(&path[..path_end]);
    let mut depth = 0i64;
    let stays_below = path.split(|&byte| byte == b'/').all(|component| {
        depth += match component {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        };
        depth >= 0
    });
    port_at > 0 && port_is_sound && stays_below
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match hex_pair(after).filter(|_| byte == b'%') {
            Some(value) => {
                decoded.push(value);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

/// Reads the syntax of git-config(1).
struct Parser<'a> {
    rest: &'a [u8],
    /// Of the settings that follow: `submodule.<name>`; the part in quotes keeps its case.
    section: Vec<u8>,
}

impl Parser<'_> {
    /// `None` at the end and at the first error.
    fn next_setting(&mut self) -> Option<Setting> {
        loop {
            match self.next()? {
                b'#' | b';' => while self.next()? != b'\n' {},
                b'[' => self.section = self.section_header()?,
                byte if byte.is_ascii_whitespace() => {}
                byte if byte.is_ascii_alphabetic() => return self.setting(byte),
                _ => return None,
            }
        }
    }

    /// The next byte, with CRLF read as a line feed.
    fn next(&mut self) -> Option<u8> {
        if self.rest.starts_with(b"\r\n") {
            self.rest = &self.rest[1..];
        }
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn section_header(&mut self) -> Option<Vec<u8>> {
        let mut section = Vec::new();
        loop {
            match self.next()? {
                b']' => return Some(section),
                byte if byte.is_ascii_whitespace() => break self.subsection(byte, section),
                byte if is_key_byte(byte) || byte == b'.' => section.push(byte.to_ascii_lowercase()),
                _ => return None,
            }
        }
    }

    /// `"name"]` behind the white space that starts with `byte`.
    fn subsection(&mut self, mut byte: u8, mut section: Vec<u8>) -> Option<Vec<u8>> {
        while byte.is_ascii_whitespace() {
            if byte == b'\n' {
                return None;
            }
            byte = self.next()?;
        }
        if byte != b'"' {
            return None;
        }
        section.push(b'.');
        loop {
            match self.next()? {
                b'\n' => return None,
                b'"' => break,
                b'\\' => section.push(self.next().filter(|&byte| byte != b'\n')?),
                byte => section.push(byte),
            }
        }
        (self.next()? == b']').then_some(section)
    }

    fn setting(&mut self, first: u8) -> Option<Setting> {
        let mut key = vec![first.to_ascii_lowercase()];
        // The end of the file ends a line.
        let mut byte = self.next().unwrap_or(b'\n');
        while is_key_byte(byte) {
            key.push(byte.to_ascii_lowercase());
            byte = self.next().unwrap_or(b'\n');
        }
        while matches!(byte, b' ' | b'\t') {
            byte = self.next().unwrap_or(b'\n');
        }
        match byte {
            b'\n' => Some(Setting { key, value: None }),
            b'=' => Some(Setting { key, value: Some(self.value()?) }),
            _ => None,
        }
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        // Up to here the value is more than white space at its end.
        let mut kept = 0;
        let (mut quoted, mut comment) = (false, false);
        loop {
            match self.next().unwrap_or(b'\n') {
                b'\n' if quoted => return None,
                b'\n' => break,
                _ if comment => continue,
                byte if byte.is_ascii_whitespace() && !quoted => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                b'#' | b';' if !quoted => {
                    comment = true;
                    continue;
                }
                b'"' => quoted = !quoted,
                b'\\' => match self.next()? {
                    b'\n' => continue,
                    b't' => value.push(b'\t'),
                    b'b' => value.push(8),
                    b'n' => value.push(b'\n'),
                    byte @ (b'\\' | b'"') => value.push(byte),
                    _ => return None,
                },
                byte => value.push(byte),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> &'static str {
        check_gitmodules(text.as_bytes()).err().map_or("", |problem| problem.id)
    }

    fn url(url: &str) -> &'static str {
        id(&format!("[submodule \"a\"]\n\tpath = a\n\turl = \"{url}\"\n"))
    }

    #[test]
    fn names_paths_and_updates() {
        let name = |name: &str| id(&format!("[submodule \"{name}\"]\npath = x\n"));
        for bad in ["..", "../a", "a/..", "a/../b", r"..\\a", r"a\\..", ""] {
            assert_eq!(name(bad), "gitmodulesName", "{bad}");
        }
        for fine in ["a", "a..b", "...", "a/.b", "dir/sub"] {
            assert_eq!(name(fine), "", "{fine}");
        }
        assert_eq!(id("[submodule.../x]\nurl=y"), "", "a slash is no section syntax, reading ends there");
        assert_eq!(id("[submodule \"a\"] path = -x"), "gitmodulesPath");
        assert_eq!(id("[submodule \"a\"]\nupdate = !rm -rf /"), "gitmodulesUpdate");
        assert_eq!(id("[submodule \"a\"]\nupdate = merge\nignore\nbranch = -b\n"), "");
        assert_eq!(id("[other \"..\"]\npath = -x\n[submodule]\nurl = -x\n"), "");
    }

    #[test]
    fn urls() {
        for bad in [
            "-oProxy",
            "./%0ahost=x",
            "git://h/%0Ax",
            "../:x",
            "../../:8080/x",
            "./..//x",
            "https://h/%0ax",
            "https:///x",
            "https::///x",
            "http::https:///x",
            "https://h:x/y",
            "https://h/../x",
            "https://h/a/%2e%2e/../x",
            "https://h/%zz",
            "https://user@/x",
            "http::x",
            "https://h\\nx/",
        ] {
            assert_eq!(url(bad), "gitmodulesUrl", "{bad}");
        }
        for fine in [
            "https://example.com/a.git",
            "http://u:p@h:80/x",
            "https://[::1]:443/a",
            "../a.git",
            "./a",
            "git@h:a/b.git",
            "ssh://h/x",
            "/local/path",
            "file:///x",
            "https::https://h/x",
            "../a:b",
            "git://h/x",
            "https://h/a/../b?x=..",
        ] {
            assert_eq!(url(fine), "", "{fine}");
        }
    }

    #[test]
    fn reads_the_syntax_git_reads() {
        assert_eq!(id("\u{feff}[SubModule \"a\"]\r\n  URL = -x # comment\r\n"), "gitmodulesUrl");
        assert_eq!(id("[submodule \"a\"]\nurl = \\\n-x"), "gitmodulesUrl", "continued line");
        assert_eq!(id("[submodule \"a\"]\nurl = \"\"-x"), "gitmodulesUrl", "quotes");
        assert_eq!(id("[submodule \"a\"]\n# url = -x\n; url = -x\nurl = a;-x"), "", "comments");
        assert_eq!(id("[submodule \"a\"]\nurl = \"open\nurl = -x"), "", "nothing is read behind an error");
        assert_eq!(id("[submodule \"a\"]\nurl = -x\n]["), "gitmodulesUrl", "what stands before an error is");
        assert_eq!(id("[submodule \"\\..\"]\nurl"), "gitmodulesName", "an escape in the name");
        assert_eq!(id("[submodule.a]\npath = -"), "gitmodulesPath", "old section syntax");
        for broken in [
            "[",
            "[submodule",
            "[submodule \"",
            "[submodule \"a",
            "[submodule \"a\"",
            "[submodule \"a\"]\nurl =\\",
            "=",
        ] {
            assert_eq!(id(broken), "", "{broken}");
        }
    }
}
