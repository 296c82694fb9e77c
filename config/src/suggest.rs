//! The nearest of several names, for "did you mean".

/// The candidate nearest to `name` by edit distance, if it is near enough to be a slip: at most a third of
/// the longer name (at least 1, at most 4) insertions, deletions, replacements or swaps. The first wins a
/// tie.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let longer = name.chars().count().max(candidate.chars().count());
        if longer > 256 {
            continue;
        }
        let distance = distance(&name.to_lowercase(), &candidate.to_lowercase());
        if distance <= (longer / 3).clamp(1, 4) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let same = left[i - 1] == right[j - 1];
            let mut cost = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins_and_strangers_do_not() {
        assert_eq!(nearest("brokerss", ["group_id", "brokers"]), Some("brokers"));
        assert_eq!(nearest("reciever", ["exporters", "receiver"]), Some("receiver"));
        assert_eq!(nearest("Batch", ["batch"]), Some("batch"));
        assert_eq!(nearest("xyz", ["brokers", "group_id"]), None);
        assert_eq!(nearest("", ["a"]), Some("a"));
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
