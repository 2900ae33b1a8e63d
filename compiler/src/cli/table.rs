//! Tables and units for people.
//!
//! Expects: rows of equal length.
//! Guarantees: columns line up; no line ends in blanks.
//! Leaves out: colours.

/// Rows as lines with two blanks before each; columns whose letter in `align` is `r` stand at the right.
pub fn table(align: &str, rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..align.len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(&widths).zip(align.chars()) {
            line += &if align == 'r' { format!("  {cell:>width$}") } else { format!("  {cell:width$}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// A row of cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_string).to_vec()
}

/// `33.3 kB`: powers of ten.
pub fn bytes(count: u64) -> String {
    scaled(count, ["B", "kB", "MB", "GB"])
}

/// `1.25 MFLOP`
pub fn operations(count: u64) -> String {
    scaled(count, ["FLOP", "kFLOP", "MFLOP", "GFLOP"])
}

/// `20.5 kop`: simple operations of a loop nest, memory traffic included.
pub fn steps(count: u64) -> String {
    scaled(count, ["op", "kop", "Mop", "Gop"])
}

/// What is saved, in a unit; negative for what is spent.
pub fn difference(before: u64, after: u64, unit: fn(u64) -> String) -> String {
    match (before.checked_sub(after), after.checked_sub(before)) {
        (Some(0), _) => "0".to_string(),
        (Some(saved), _) => unit(saved),
        (None, lost) => format!("-{}", unit(lost.unwrap_or(0))),
    }
}

fn scaled(count: u64, units: [&str; 4]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}
