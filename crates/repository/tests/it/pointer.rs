//! Which blobs git-lfs takes for pointers. The tables say what git-lfs 3.6.1 says (and 3.3.0 as well), asked in three
//! ways about each: `pointer --check`, `ls-files` of a commit that holds it, and the smudge filter.

use repository::pointer;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EXTENSION: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// `{V}` is the version's line, `{O}` the line of an oid, `{S}` and `{E}` oids alone.
#[rustfmt::skip]
const POINTERS: &[(&[u8], u64)] = &[
    (b"{V}\n{O}\nsize 7\n", 7),
    (b"{V}\n{O}\nsize 7", 7),
    (b"{V}\n{O}\nsize 7\n\n", 7),
    (b"{V}\n{O}\nsize 7\n\n \t\n\r\n", 7),
    (b"{V}\r\n{O}\r\nsize 7\r\n", 7),
    (b"{V}\r\n{O}\nsize 7\n", 7),
    (b"{V}\r\next-0-a {E}\r\n{O}\r\nsize 7\r\n", 7),
    (b"\n{V}\n{O}\nsize 7\n", 7),
    (b"  {V}\n{O}\nsize 7\n", 7),
    (b"\t{V}\n{O}\nsize 7\n", 7),
    (b"\xc2\xa0{V}\n{O}\nsize 7\n", 7),
    (b"{V}\n{O}\nsize 7\n\xc2\xa0", 7),
    (b"{V}\n{O}\nsize 7\n\xc2\x85", 7),
    (b"{V}\n{O}\nsize 7\n\xe3\x80\x80", 7),
    (b"{V}\n{O}\nsize 7\n\x0b", 7),
    (b"{V}\n{O}\nsize 7\n\x0c", 7),
    (b"{V}\n{O}\nsize 0\n", 0),
    (b"{V}\noid {EMPTY}\nsize 0\n", 0),
    (b"{V}\n{O}\nsize +7\n", 7),
    (b"{V}\n{O}\nsize 007\n", 7),
    (b"{V}\n{O}\nsize -0\n", 0),
    (b"{V}\n{O}\nsize 7 \n", 7),
    (b"{V}\n{O}\nsize 7 \n\n", 7),
    (b"{V}\n{O}\nsize 7\t\n", 7),
    (b"{V}\n\n{O}\n\nsize 7\n", 7),
    (b"{V}\n\r\n{O}\nsize 7\n", 7),
    (b"version https://hawser.github.com/spec/v1\n{O}\nsize 7\n", 7),
    (b"version http://git-media.io/v/2\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\next-1-b {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-1-b {E}\next-0-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\next-1-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\next-0-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\next-1-b {E}\next-0-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a {E}\next-5-b {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a-b {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a.b {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a_b {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-AB9 {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a+ {E}\n{O}\nsize 7\n", 7),
    (b"ext-0-a {E}\n{V}\n{O}\nsize 7\n", 7),
    (b"{V}\n{O}\next-0-a {E}\nsize 7\n", 7),
    (b"{V}\n{O}\r\nsize 7\r\r\n", 7),
    (b"{V}\next-0-a sha256:zz\next-0-a {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a\xc3\xa4 {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a\xff {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a\xc3( {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-_ {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-1 {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a-- {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-0-a\tb {E}\n{O}\nsize 7\n", 7),
    (b"{V}\next-9-a {E}\n{O}\nsize 7\n", 7),
    (b"\n{V}\n\next-0-a {E}\n\n{O}\n\nsize 7\n", 7),
    (b"\xe2\x80\xa8{V}\n{O}\nsize 7\n", 7),
    (b"\xe2\x80\x8a{V}\n{O}\nsize 7\n", 7),
    (b"\xe2\x80\xaf{V}\n{O}\nsize 7\n", 7),
    (b"\xe2\x81\x9f{V}\n{O}\nsize 7\n", 7),
    (b"\xe1\x9a\x80{V}\n{O}\nsize 7\n", 7),
    (b"{V}\n{O}\nsize 7\xc2\xa0\n", 7),
];

#[rustfmt::skip]
const ORDINARY: &[&[u8]] = &[
    b"{V}\r{O}\rsize 7\r",
    b"{V}\n{O}\nsize 7\n\xe2\x80\x8b",
    b"{V}\n{O}\nsize 7\n\x85",
    b"{V}\n{O}\nsize 7\n\xa0",
    b"{V}\n{O}\nsize 7\n\x00",
    b"{V}\n{O}\nsize 7\n\x1c",
    b"{V}\n{O}\nx\xff 1\nsize 7\n",
    b"\xef\xbb\xbf{V}\n{O}\nsize 7\n",
    b"{V}\n{O}\nsize -7\n",
    b"{V}\n{O}\nsize \n",
    b"{V}\n{O}\nsize\n",
    b"{V}\n{O}\nsize 1_000\n",
    b"{V}\n{O}\nsize 0x7\n",
    b"{V}\n{O}\nsize 7.0\n",
    b"{V}\n{O}\nsize  7\n",
    b"{V}\n{O}\nsize 9223372036854775808\n",
    b"{V}\n{O}\nsize 99999999999999999999\n",
    b"{V}\n{O}\nsize \xd9\xa7\n",
    b"{V}\n{O}\nsize 7\nzzz 1\n",
    b"{V}\n{O}\nmore 1\nsize 7\n",
    b"{V}\nabc 1\n{O}\nsize 7\n",
    b"{V}\nabc\n{O}\nsize 7\n",
    b"{V}\n{O}\nsize 7\nzzz\n",
    b"{V}\n{O}\nsize 7\nsize 7\n",
    b"{V}\n{O}\n{O}\nsize 7\n",
    b"{V}\n{V}\n{O}\nsize 7\n",
    b"{V}\nsize 7\n{O}\n",
    b"{O}\n{V}\nsize 7\n",
    b"{O}\nsize 7\n",
    b"{V}\n{O}\n",
    b"{V}\nsize 7\n",
    b"{V}\n",
    b"{V}\n  \n{O}\nsize 7\n",
    b"version https://git-media.io/v/2\n{O}\nsize 7\n",
    b"version http://git-lfs.github.com/spec/v1\n{O}\nsize 7\n",
    b"version https://git-lfs.github.com/spec/v2\n{O}\nsize 7\n",
    b"{V}/\n{O}\nsize 7\n",
    b"{V} \n{O}\nsize 7\n",
    b"version  https://git-lfs.github.com/spec/v1\n{O}\nsize 7\n",
    b"version\thttps://git-lfs.github.com/spec/v1\n{O}\nsize 7\n",
    b"Version https://git-lfs.github.com/spec/v1\n{O}\nsize 7\n",
    b"# git-media\n{SHA}\n",
    b"# external\n{SHA}\n",
    b"[git-media]\nversion=\"http://git-media.io/v/2\"\noid={S}\nsize=7\n",
    b"{V}\noid sha256:4D7A214614AB2935C943F9E0FF69D22EADBB8F32B1258DAAA5E2CA24D17E2393\nsize 7\n",
    b"{V}\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e239\nsize 7\n",
    b"{V}\n{O}0\nsize 7\n",
    b"{V}\noid sha1:{SHA}\nsize 7\n",
    b"{V}\noid SHA256:{SHA}\nsize 7\n",
    b"{V}\noid {SHA}\nsize 7\n",
    b"{V}\n{O} \nsize 7\n",
    b"{V}\noid  {S}\nsize 7\n",
    b"{V}\noid\t{S}\nsize 7\n",
    b"{V}\noid sha256::{SHA}\nsize 7\n",
    b"{V}\noid sha256:gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg\nsize 7\n",
    b"{V}\n{O} x\nsize 7\n",
    b"{V}\n{O}\nsize 7 x\n",
    b"{V}\next-0-a {E}\next-0-b {E}\n{O}\nsize 7\n",
    b"{V}\next-0-b {E}\next-0-a {E}\n{O}\nsize 7\n",
    b"{V}\next-0-a {E}\next-1-b {E}\next-0-c {E}\n{O}\nsize 7\n",
    b"{V}\next-10-a {E}\n{O}\nsize 7\n",
    b"{V}\next-x-a {E}\n{O}\nsize 7\n",
    b"{V}\next--1-a {E}\n{O}\nsize 7\n",
    b"{V}\next-0- {E}\n{O}\nsize 7\n",
    b"{V}\next-0 {E}\n{O}\nsize 7\n",
    b"{V}\next-0-\xc3\xa4 {E}\n{O}\nsize 7\n",
    b"{V}\next-0-.a {E}\n{O}\nsize 7\n",
    b"{V}\next- {E}\n{O}\nsize 7\n",
    b"{V}\next-x 1\n{O}\nsize 7\n",
    b"{V}\nextra-0-a {E}\n{O}\nsize 7\n",
    b"{V}\nxext-0-a {E}\n{O}\nsize 7\n",
    b"{V}\n{O}\nsize 7\next-0-a {E}\n",
    b"{V}\next-0-a sha256:zz\n{O}\nsize 7\n",
    b"{V}\next-0-a sha1:{EXT}\n{O}\nsize 7\n",
    b"{V}\next-0-a sha256:4D7A214614AB2935C943F9E0FF69D22EADBB8F32B1258DAAA5E2CA24D17E2393\n{O}\nsize 7\n",
    b"{V}\next-0-a\n{O}\nsize 7\n",
    b"{V}\next-0-a \n{O}\nsize 7\n",
    b"{V}\next-0-a {E}0\n{O}\nsize 7\n",
    b"{V}\next-0-a {E} x\n{O}\nsize 7\n",
    b"{V}\n ext-0-a {E}\n{O}\nsize 7\n",
    b"{V}\n {O}\nsize 7\n",
    b"\n\n",
    b"weights\n",
    b"   ",
    b"git-media\n",
    b"hawser git-lfs\n",
    b"{V}\n{O}\nsize 7\x00\n",
    b"{V}\x0c\n{O}\nsize 7\n",
    b"{V}\xe2\x80\xa8{O}\xe2\x80\xa8size 7\n",
    b"{V}\next-0-a {E}\next-0-a sha256:zz\n{O}\nsize 7\n",
    b"{V}\next-\xd9\xa3-a {E}\n{O}\nsize 7\n",
    b"{V}\next-0-a {E}:\n{O}\nsize 7\n",
    b"{V}\r\next-0-a {E}\r\r\n{O}\r\nsize 7\r\n",
    b"{V}\next-0-a {E} \r\n{O}\nsize 7\n",
    b"{V}\n{O}\r\r\nsize 7\n",
    b"{V}\r\r\n{O}\nsize 7\n",
    b"{V}\next-0-a sha256:gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg\n{O}\nsize 7\n",
    b"{V}\next-0-a :{EXT}\n{O}\nsize 7\n",
    b"{V}\n{O}\nsize 7\n\xef\xbb\xbf",
    b"\xe1\xa0\x8e{V}\n{O}\nsize 7\n",
    b"\x1f{V}\n{O}\nsize 7\n",
    b"{V}\n{O}\nsize --0\n",
    b"{V}\n{O}\nsize +\n",
    b"{V}\n{O}\nsize +-7\n",
    b"{V}\next-0-a  {E}\n{O}\nsize 7\n",
    b"{V}\noid \nsize 7\n",
    b"see https://git-lfs.github.com/spec/v1\n",
];

fn written_out(short: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    let mut rest = short;
    while let Some((&byte, behind)) = rest.split_first() {
        let (text, behind) = match rest {
            [b'{', b'V', b'}', behind @ ..] => (VERSION.to_owned(), behind),
            [b'{', b'O', b'}', behind @ ..] => (format!("oid sha256:{OID}"), behind),
            [b'{', b'S', b'}', behind @ ..] => (format!("sha256:{OID}"), behind),
            [b'{', b'E', b'}', behind @ ..] => (format!("sha256:{EXTENSION}"), behind),
            [b'{', b'E', b'M', b'P', b'T', b'Y', b'}', behind @ ..] => (format!("sha256:{EMPTY}"), behind),
            _ => {
                blob.push(byte);
                rest = behind;
                continue;
            }
        };
        blob.extend(text.into_bytes());
        rest = behind;
    }
    blob
}

fn size_of(blob: &[u8]) -> Option<u64> {
    pointer::parse(blob).map(|target| target.size)
}

#[test]
fn pointers_are_those_of_git_lfs() {
    for (short, size) in POINTERS {
        assert_eq!(size_of(&written_out(short)), Some(*size), "{}", short.escape_ascii());
    }
    for short in ORDINARY {
        assert_eq!(size_of(&written_out(short)), None, "{}", short.escape_ascii());
    }
}

/// For the command `pointer --check` the empty blob is a pointer, of no object; nothing is fetched or pushed for it.
#[test]
fn the_empty_blob_points_at_nothing() {
    assert_eq!(size_of(b""), None);
}

#[test]
fn white_space_counts_for_the_bound_and_many_extensions_fit() {
    let canonical = written_out(b"{V}\n{O}\nsize 7\n");
    let padding = |length: usize| vec![b'\n'; length - canonical.len()];
    for (length, expected) in [(1023, Some(7)), (1024, None), (1025, None)] {
        assert_eq!(size_of(&[canonical.clone(), padding(length)].concat()), expected, "{length} behind");
        assert_eq!(size_of(&[padding(length), canonical.clone()].concat()), expected, "{length} before");
    }
    let extensions: String = (0..9).map(|n| format!("ext-{n}-a sha256:{EXTENSION}\n")).collect();
    let pointer = format!("{VERSION}\n{extensions}oid sha256:{OID}\nsize {}7\n", "0".repeat(100));
    assert_eq!(size_of(pointer.as_bytes()), Some(7));
}
