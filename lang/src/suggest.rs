//! "Did you mean": the closest known name.
//!
//! Expects: candidates in any order.
//! Guarantees: depends on the names alone; of two equally close ones the alphabetically first is taken.
//! Leaves out: phrasing.

/// The candidate that `name` most likely was meant to be; none if nothing is close.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = name.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters are to be added, removed, changed, or exchanged with their neighbour; case alone counts nothing.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = above[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn nearest_name_is_found() {
        let names = ["relu", "gelu", "softmax", "log_softmax", "dense"];
        assert_eq!(closest("rleu", names), Some("relu"));
        assert_eq!(closest("sofmax", names), Some("softmax"));
        assert_eq!(closest("Dense", names), Some("dense"));
        assert_eq!(closest("attention", names), None);
        assert_eq!(closest("x", ["y"]), None);
    }
}
