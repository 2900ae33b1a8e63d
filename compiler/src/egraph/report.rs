//! What the e-graph pass did, as text for people.
//!
//! Expects: the report of a pass.
//! Guarantees: one line for each rule that fired, the busiest first, with the equality that it states.
//! Leaves out: which node each rule changed.

use super::{Report, rules};
use std::cmp::Reverse;
use std::fmt::Write;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    _ = writeln!(out, "rounds        {}", report.rounds);
    _ = writeln!(out, "e-nodes       {}", report.e_nodes);
    _ = writeln!(out, "classes       {}", report.classes);
    _ = writeln!(
        out,
        "cost before   {} (estimate for one core, gradient rules expanded)",
        duration(report.cost_before)
    );
    _ = writeln!(out, "cost after    {}", duration(report.cost_after));
    match &report.limits_hit[..] {
        [] => _ = writeln!(out, "limits hit    none"),
        limits => limits.iter().for_each(|limit| _ = writeln!(out, "limit hit     {limit}")),
    }
    let fired = fired(report);
    if fired.is_empty() {
        _ = writeln!(out, "\nno rule fired");
        return out;
    }
    let width = fired.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    _ = writeln!(out, "\n{:>7}  {:width$}  meaning", "times", "rule");
    for (name, count, doc) in fired {
        _ = writeln!(out, "{count:>7}  {name:width$}  {doc}");
    }
    out
}

/// The rules that fired, the busiest first: name, how often, and what it says.
pub fn fired(report: &Report) -> Vec<(&'static str, u64, &'static str)> {
    let mut fired: Vec<(&str, u64, &str)> =
        report.fired.iter().map(|(name, count)| (*name, *count, meaning(name))).collect();
    fired.sort_by_key(|(name, count, _)| (Reverse(*count), *name));
    fired
}

fn meaning(name: &str) -> &'static str {
    match name {
        "expand-vjp" => "a gradient is what its rule computes",
        "expand-ruled" => "a call under a rule is its value",
        "expand-vjps" => "what a loop sends back is what its rule computes",
        "expand-via" => "a loop under a rule is the loop",
        "expand-forms" => "all exact forms of a rule are equal",
        "loops-fused" => "two loops over the same turns are one",
        "expand-stop" => "stop(x) = x once gradients are taken",
        _ => rules::all().find(|rule| rule.name == name).map_or("", |rule| rule.doc),
    }
}

/// Picoseconds in the unit that suits.
pub fn duration(picoseconds: u64) -> String {
    let nanoseconds = picoseconds as f64 / 1e3;
    match nanoseconds {
        value if value < 1e3 => format!("{value:.0} ns"),
        value if value < 1e6 => format!("{:.1} us", value / 1e3),
        value if value < 1e9 => format!("{:.1} ms", value / 1e6),
        value => format!("{:.2} s", value / 1e9),
    }
}
