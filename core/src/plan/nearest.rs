//! The known word that a misspelt one most likely meant.

/// The nearest of `known` within two slips (one for short words), if any.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let slips_max = if word.chars().count() <= 3 { 1 } else { 2 };
    known
        .into_iter()
        .map(|candidate| (slips(word, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Letters to put in, leave out, change or swap with their neighbour; `-` and
/// `_` are the same letter, and so are capitals.
fn slips(a: &str, b: &str) -> usize {
    let letters =
        |text: &str| text.to_lowercase().chars().map(|c| if c == '_' { '-' } else { c }).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_or_two_finds_the_word() {
        let known = ["failed", "silent", "like"];
        assert_eq!(nearest("failled", known), Some("failed"));
        assert_eq!(nearest("Silnet", known), Some("silent"));
        assert_eq!(nearest("lik", known), Some("like"));
        assert_eq!(nearest("notify", known), None);
        assert_eq!(nearest("cut-off", ["cut_off"]), Some("cut_off"));
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }
}
