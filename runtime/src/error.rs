//! The one error of everything that reads or writes data: where, what, and what to do about it.
//!
//! Expects: nothing.
//! Guarantees: the shown text has the place first and the remedy on a line of its own.
//! Leaves out: errors of programs; those are diagnostics of the compiler.

use std::fmt;
use std::path::Path;

/// Why data could not be read, written or used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataError {
    /// Where: a file, then what inside it, outermost first. May be empty until a caller knows the file.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// What the user can do. May be empty.
    pub remedy: String,
}

impl DataError {
    /// An error at `place`.
    pub fn new(place: impl fmt::Display, problem: impl Into<String>, remedy: impl Into<String>) -> DataError {
        DataError { place: place.to_string(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An error somewhere in a file.
    pub fn in_file(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> DataError {
        DataError::new(path.display(), problem, remedy)
    }

    /// The same error, told from one level further out.
    pub fn within(self, outer: impl fmt::Display) -> DataError {
        let place = if self.place.is_empty() { outer.to_string() } else { format!("{outer}: {}", self.place) };
        DataError { place, ..self }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(formatter, "{}: ", self.place)?;
        }
        formatter.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(formatter, "\n  help: {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for DataError {}

/// "did you mean `x`? " if a candidate is close to `name`, then the list of all candidates: a remedy for an unknown name.
pub fn known_names<'a>(what: &str, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 24;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let closest = candidates.iter().map(|candidate| (edit_distance(name, candidate), candidate)).min();
    let mut text = match closest {
        Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
            format!("did you mean `{candidate}`? ")
        }
        _ => String::new(),
    };
    if candidates.is_empty() {
        text += &format!("there are no {what}");
    } else {
        let shown: Vec<&str> = candidates.iter().copied().take(SHOWN).collect();
        let more = candidates.len() - shown.len();
        text += &format!("the {what} are: {}", shown.join(", "));
        if more > 0 {
            text += &format!(" and {more} more");
        }
    }
    text
}

/// Fewest single-character insertions, deletions and replacements between two words (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (left, right, distance) in [("", "", 0), ("abc", "", 3), ("label", "lable", 2), ("kitten", "sitting", 3)] {
            assert_eq!(edit_distance(left, right), distance, "{left} {right}");
            assert_eq!(edit_distance(right, left), distance, "{right} {left}");
        }
    }

    #[test]
    fn text_has_place_and_remedy() {
        let error = DataError::new("line 3", "cell `x` is not a number", "write one").within("a.csv");
        assert_eq!(error.to_string(), "a.csv: line 3: cell `x` is not a number\n  help: write one");
        assert_eq!(known_names("columns", "labl", ["p0", "label"]), "did you mean `label`? the columns are: p0, label");
        assert_eq!(known_names("columns", "time", ["p0", "label"]), "the columns are: p0, label");
    }
}
