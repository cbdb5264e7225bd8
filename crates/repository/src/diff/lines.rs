//! Two texts compared line by line, as hunks in the format of `git diff`.

use imara_diff::{Algorithm, Diff, Hunk, InternedInput, Token};

const CONTEXT: u32 = 3;
/// Of the line that a hunk's header repeats.
const HEADING_BYTES_MAX: usize = 80;

/// Appends the hunks; nothing if both are equal.
pub(super) fn write(old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    let input = InternedInput::new(old, new);
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    diff.postprocess_lines(&input);
    let mut writer = Writer { input: &input, heading: &[], searched: 0, out };
    let mut group: Vec<Hunk> = Vec::new();
    for hunk in diff.hunks() {
        // What would share a line of context, or touch, is one hunk.
        let joins = group.last().is_some_and(|last| hunk.before.start - last.before.end <= 2 * CONTEXT);
        if !joins && !group.is_empty() {
            writer.hunk(&group);
            group.clear();
        }
        group.push(hunk);
    }
    if !group.is_empty() {
        writer.hunk(&group);
    }
}

struct Writer<'a, 'o> {
    input: &'a InternedInput<&'a [u8]>,
    /// The last line before this hunk that looks like the head of something.
    heading: &'a [u8],
    /// Up to this line of the old text it was looked for.
    searched: u32,
    out: &'o mut Vec<u8>,
}

impl<'a> Writer<'a, '_> {
    fn hunk(&mut self, group: &[Hunk]) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
        let (old_lines, new_lines) = (self.input.before.len() as u32, self.input.after.len() as u32);
        let before = CONTEXT.min(first.before.start).min(first.after.start);
        let behind = CONTEXT.min(old_lines - last.before.end).min(new_lines - last.after.end);
        let old = first.before.start - before..last.before.end + behind;
        let new = first.after.start - before..last.after.end + behind;
        self.find_heading(old.start);
        self.out.extend_from_slice(b"@@ -");
        self.range(&old);
        self.out.extend_from_slice(b" +");
        self.range(&new);
        self.out.extend_from_slice(b" @@");
        if !self.heading.is_empty() {
            self.out.push(b' ');
            self.out.extend_from_slice(self.heading);
        }
        self.out.push(b'\n');
        let input = self.input;
        let mut at = old.start;
        for hunk in group {
            self.lines(b' ', &input.before[at as usize..hunk.before.start as usize]);
            self.lines(b'-', &input.before[hunk.before.start as usize..hunk.before.end as usize]);
            self.lines(b'+', &input.after[hunk.after.start as usize..hunk.after.end as usize]);
            at = hunk.before.end;
        }
        self.lines(b' ', &input.before[at as usize..old.end as usize]);
    }

    fn range(&mut self, range: &std::ops::Range<u32>) {
        let count = range.end - range.start;
        // Of no lines, that behind which they would stand.
        let first = if count == 0 { range.start } else { range.start + 1 };
        let text = if count == 1 { first.to_string() } else { format!("{first},{count}") };
        self.out.extend_from_slice(text.as_bytes());
    }

    fn lines(&mut self, sign: u8, tokens: &[Token]) {
        for &token in tokens {
            let line = self.input.interner[token];
            self.out.push(sign);
            self.out.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                self.out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    }

    /// As git does for files of no known language: a line that begins with a letter, `_` or `$`.
    fn find_heading(&mut self, start: u32) {
        let input = self.input;
        let lines = input.before[self.searched as usize..start as usize].iter().rev();
        let mut lines = lines.map(|&token| input.interner[token]);
        let is_heading =
            |line: &&[u8]| line.first().is_some_and(|b| b.is_ascii_alphabetic() || b"_$".contains(b));
        if let Some(line) = lines.find(is_heading) {
            let line = &line[..line.len().min(HEADING_BYTES_MAX)];
            let is_space = |byte: &u8| b" \t\r\n".contains(byte);
            let end = line.iter().rposition(|byte| !is_space(byte)).map_or(0, |at| at + 1);
            // Not half of a character.
            self.heading = line[..end].utf8_chunks().next().map_or(&[], |chunk| chunk.valid().as_bytes());
        }
        self.searched = start;
    }
}
