//! Papers a README refers to.

/// As many as one repository shows.
const PAPERS_MAX: usize = 100;
const LINKS: [&str; 5] =
    ["arxiv.org/abs/", "arxiv.org/pdf/", "arxiv.org/html/", "huggingface.co/papers/", "hf.co/papers/"];

/// The arXiv ids of the links in `text`, in order and without duplicates, at most 100. Only ids of the form since
/// 2007 (`2310.06825`), without a version.
pub fn arxiv_ids(text: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (slash, _) in text.match_indices('/') {
        let link = LINKS.iter().any(|link| text.as_bytes()[..=slash].ends_with(link.as_bytes()));
        let Some(id) = link.then(|| id_at_start(&text[slash + 1..])).flatten() else { continue };
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
        if ids.len() == PAPERS_MAX {
            break;
        }
    }
    ids
}

/// The id that `text` begins with: four digits, a point, four or five digits.
fn id_at_start(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let tail = digits(5);
    let well_formed = digits(0) == 4 && bytes.get(4) == Some(&b'.') && (4..=5).contains(&tail);
    well_formed.then(|| &text[..5 + tail])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_only() {
        let text = "[a](https://arxiv.org/abs/2310.06825v2) https://arxiv.org/pdf/1810.04805.pdf 2401.00001 \
            https://huggingface.co/papers/2401.12345 https://arxiv.org/abs/2310.06825 arxiv.org/abs/123.4 \
            https://arxiv.org/abs/2310.1234567 arxiv.org/abs/\u{e9} arxiv.org/abs/";
        assert_eq!(arxiv_ids(text), ["2310.06825", "1810.04805", "2401.12345"]);
        let many: String = (0..500).map(|n| format!("arxiv.org/abs/2401.{n:05} ")).collect();
        assert_eq!(arxiv_ids(&many).len(), PAPERS_MAX);
    }
}
