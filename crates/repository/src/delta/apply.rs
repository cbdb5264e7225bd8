//! Runs a delta. Every bound is checked: the bytes may come from anyone.

/// Why a delta was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    #[error("the delta ends inside its header")]
    HeaderTruncated,
    #[error("a size in the delta's header does not fit 64 bits")]
    SizeOverflow,
    #[error("the delta is for a base of {expected} bytes, its base has {actual}")]
    BaseSize { expected: u64, actual: u64 },
    #[error("the delta makes {result} bytes, more than the {max} allowed")]
    TooLarge { result: u64, max: u64 },
    #[error("the delta ends inside an instruction, at byte {at}")]
    Truncated { at: usize },
    #[error("reserved instruction 0 at byte {at} of the delta")]
    Reserved { at: usize },
    #[error("the delta copies {length} bytes from offset {offset} of a base of {base} bytes")]
    CopyOutOfBase { offset: usize, length: usize, base: usize },
    #[error("the delta makes more than the {result} bytes it announced")]
    ResultOverrun { result: u64 },
    #[error("the delta makes {actual} bytes where it announced {result}")]
    ResultShort { result: u64, actual: u64 },
}

/// A copy of length 0 means this many bytes.
const COPY_DEFAULT: usize = 0x10000;

/// Replaces the content of `out` by the object that `delta` makes of `base`.
///
/// Nothing is allocated before the announced size of the result has been compared with `size_max` (bytes) and with what
/// the instructions can make at most. After an error the content of `out` is unspecified.
pub fn apply(base: &[u8], delta: &[u8], out: &mut Vec<u8>, size_max: u64) -> Result<(), DeltaError> {
    out.clear();
    let Header { base: base_size, result, length } = header(delta)?;
    if base_size != base.len() as u64 {
        return Err(DeltaError::BaseSize { expected: base_size, actual: base.len() as u64 });
    }
    let size = usize::try_from(result)
        .ok()
        .filter(|_| result <= size_max)
        .ok_or(DeltaError::TooLarge { result, max: size_max })?;

    // An honest header is exact; a dishonest one must not make us reserve what its instructions can never fill.
    out.reserve(size.min((delta.len() - length).saturating_mul(base.len().max(1))));
    let mut at = length;
    while at < delta.len() {
        let piece = instruction(base, delta, &mut at)?;
        if piece.len() > size - out.len() {
            return Err(DeltaError::ResultOverrun { result });
        }
        out.extend_from_slice(piece);
    }
    if out.len() != size {
        return Err(DeltaError::ResultShort { result, actual: out.len() as u64 });
    }
    Ok(())
}

/// The sizes of base and result, in bytes, as the delta's header announces them.
pub fn sizes(delta: &[u8]) -> Result<(u64, u64), DeltaError> {
    header(delta).map(|header| (header.base, header.result))
}

struct Header {
    base: u64,
    result: u64,
    /// Length of the header itself.
    length: usize,
}

fn header(delta: &[u8]) -> Result<Header, DeltaError> {
    let (base, base_length) = size(delta)?;
    let (result, result_length) = size(&delta[base_length..])?;
    Ok(Header { base, result, length: base_length + result_length })
}

/// A number in little-endian base 128, and how many bytes it took.
fn size(bytes: &[u8]) -> Result<(u64, usize), DeltaError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate() {
        let digit = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        if shift > 63 || digit << shift >> shift != digit {
            return Err(DeltaError::SizeOverflow);
        }
        value |= digit << shift;
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(DeltaError::HeaderTruncated)
}

/// The bytes that the instruction at `at` adds to the result; moves `at` behind it.
fn instruction<'a>(base: &'a [u8], delta: &'a [u8], at: &mut usize) -> Result<&'a [u8], DeltaError> {
    let start = *at;
    let truncated = DeltaError::Truncated { at: start };
    let command = *delta.get(start).ok_or(truncated)?;
    let mut next = start + 1;
    if command & 0x80 == 0 {
        if command == 0 {
            return Err(DeltaError::Reserved { at: start });
        }
        *at = next + usize::from(command);
        return delta.get(next..*at).ok_or(truncated);
    }
    let mut operand = |bits: u8| -> Result<usize, DeltaError> {
        let mut value = 0;
        for i in 0..bits.count_ones() {
            let bit = 1 << (bits.trailing_zeros() + i);
            if command & bit != 0 {
                value |= usize::from(*delta.get(next).ok_or(truncated)?) << (8 * i);
                next += 1;
            }
        }
        Ok(value)
    };
    let offset = operand(0x0f)?;
    let length = match operand(0x70)? {
        0 => COPY_DEFAULT,
        length => length,
    };
    *at = next;
    let end = offset.checked_add(length);
    end.and_then(|end| base.get(offset..end)).ok_or(DeltaError::CopyOutOfBase {
        offset,
        length,
        base: base.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &[u8] = b"0123456789";

    fn check(delta: &[u8], expected: Result<&[u8], DeltaError>) {
        let mut out = b"left over".to_vec();
        let result = apply(BASE, delta, &mut out, 100);
        assert_eq!(result.map(|()| out.as_slice()), expected, "{delta:?}");
    }

    #[test]
    fn copies_and_inserts() {
        check(&[10, 5, 0x90, 3, 2, b'a', b'b'], Ok(b"012ab"));
        check(&[10, 4, 0x91, 6, 4], Ok(b"6789"));
        check(&[10, 0], Ok(b""));
        check(&[10, 3, 0xff, 6, 0, 0, 0, 3, 0, 0], Ok(b"678"));
    }

    #[test]
    fn a_copy_of_length_zero_is_64_kibibytes() {
        let base = vec![7; 0x10000];
        let mut out = Vec::new();
        apply(&base, &[0x80, 0x80, 4, 0x80, 0x80, 4, 0x80], &mut out, 0x10000).unwrap();
        assert_eq!(out, base);
    }

    #[test]
    fn refuses_what_breaks_a_bound() {
        use DeltaError::*;
        check(&[], Err(HeaderTruncated));
        check(&[10], Err(HeaderTruncated));
        check(&[10, 0x80], Err(HeaderTruncated));
        check(&[0xff; 12], Err(SizeOverflow));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0], Err(SizeOverflow));
        check(&[9, 1, 1, b'a'], Err(BaseSize { expected: 9, actual: 10 }));
        check(&[10, 101, 1, b'a'], Err(TooLarge { result: 101, max: 100 }));
        check(&[10, 3, 3, b'a', b'b'], Err(Truncated { at: 2 }));
        check(&[10, 3, 0x91, 1], Err(Truncated { at: 2 }));
        check(&[10, 3, 0], Err(Reserved { at: 2 }));
        check(&[10, 11, 0x90, 11], Err(CopyOutOfBase { offset: 0, length: 11, base: 10 }));
        check(
            &[10, 11, 0xff, 255, 255, 255, 255, 1, 0, 0],
            Err(CopyOutOfBase { offset: 0xffff_ffff, length: 1, base: 10 }),
        );
        check(&[10, 3, 0x90, 4], Err(ResultOverrun { result: 3 }));
        check(&[10, 3, 0x90, 2], Err(ResultShort { result: 3, actual: 2 }));
    }

    #[test]
    fn reads_both_sizes() {
        assert_eq!(sizes(&[0x91, 0x2e, 1]), Ok((0x11 | 0x2e << 7, 1)));
        assert_eq!(sizes(&[0x91]), Err(DeltaError::HeaderTruncated));
    }
}
