//! Numbers of four bytes, apart and together again: all first bytes, all second ones, and so on. What is left over of
//! a length that is no multiple of four goes to the first planes.

/// Each plane with the length it has.
fn lens(len: usize) -> [usize; 4] {
    std::array::from_fn(|plane| len / 4 + usize::from(plane < len % 4))
}

/// `raw` has the length of `planes`.
pub(super) fn join(planes: &[u8], raw: &mut [u8]) {
    let [a, b, c, _] = lens(raw.len());
    let (first, rest) = planes.split_at(a);
    let (second, rest) = rest.split_at(b);
    let (third, fourth) = rest.split_at(c);
    let (whole, left_over) = raw.as_chunks_mut();
    let all = first.iter().zip(second).zip(third).zip(fourth);
    for (number, (((&a, &b), &c), &d)) in whole.iter_mut().zip(all) {
        *number = [a, b, c, d];
    }
    let lasts = [first, second, third].into_iter().filter_map(<[u8]>::last);
    for (byte, &last) in left_over.iter_mut().zip(lasts) {
        *byte = last;
    }
}

/// `planes` has the length of `raw`.
pub(super) fn split(raw: &[u8], planes: &mut [u8]) {
    let [a, b, c, _] = lens(raw.len());
    let (first, rest) = planes.split_at_mut(a);
    let (second, rest) = rest.split_at_mut(b);
    let (third, fourth) = rest.split_at_mut(c);
    let (whole, left_over) = raw.as_chunks();
    let all = first.iter_mut().zip(second.iter_mut()).zip(third.iter_mut()).zip(fourth);
    for (&[a, b, c, d], (((first, second), third), fourth)) in whole.iter().zip(all) {
        (*first, *second, *third, *fourth) = (a, b, c, d);
    }
    let lasts = [first, second, third].into_iter().filter_map(<[u8]>::last_mut);
    for (&byte, last) in left_over.iter().zip(lasts) {
        *last = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fourth_byte_goes_to_the_same_plane() {
        for len in (0..70).chain([4095, 4096, 4097, 4098, 131_072]) {
            let raw: Vec<u8> = (0..len).map(|at: usize| (at * 7 + at / 256) as u8).collect();
            let expected: Vec<u8> =
                (0..4).flat_map(|plane| raw.iter().skip(plane).step_by(4)).copied().collect();
            let mut planes = vec![0; len];
            split(&raw, &mut planes);
            assert_eq!(planes, expected, "{len}");
            let mut joined = vec![0; len];
            join(&planes, &mut joined);
            assert_eq!(joined, raw, "{len}");
        }
    }
}
