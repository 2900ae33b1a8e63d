//! Functions and layers that call themselves, directly or by way of others.
//!
//! Expects: which declaration speaks of which.
//! Guarantees: each circle is reported once, at its first declaration in the order of modules and text.
//! Leaves out: rules may call their target; that is no recursion, because a rule is expanded once.

use crate::diagnostics::Diagnostic;
use crate::program::{ItemId, Program};
use crate::tree::{Item, Name};
use std::collections::{BTreeMap, BTreeSet};

/// For each declaration the ones it speaks of.
pub type Calls = BTreeMap<ItemId, BTreeSet<ItemId>>;

/// Reports the circles.
pub fn cycles(program: &Program, calls: &Calls) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut done = BTreeSet::new();
    for start in calls.keys() {
        let mut trail = Vec::new();
        visit(program, calls, *start, &mut trail, &mut done, &mut diagnostics);
    }
    diagnostics
}

fn visit(
    program: &Program,
    calls: &Calls,
    id: ItemId,
    trail: &mut Vec<ItemId>,
    done: &mut BTreeSet<ItemId>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if let Some(from) = trail.iter().position(|open| *open == id) {
        diagnostics.extend(recursion(program, &trail[from..]));
        return;
    }
    if called(program, id).is_none() {
        return;
    }
    if done.contains(&id) {
        return;
    }
    trail.push(id);
    for next in calls.get(&id).into_iter().flatten() {
        visit(program, calls, *next, trail, done, diagnostics);
    }
    trail.pop();
    done.insert(id);
}

/// The name of a function or layer.
fn called(program: &Program, id: ItemId) -> Option<&Name> {
    match program.item(id) {
        Item::Function(function) | Item::Layer(function) => Some(&function.name),
        _ => None,
    }
}

fn recursion(program: &Program, circle: &[ItemId]) -> Option<Diagnostic> {
    let first = called(program, *circle.first()?)?;
    let names: Vec<String> = circle
        .iter()
        .chain(circle.first())
        .filter_map(|id| Some(format!("`{}`", called(program, *id)?.text)))
        .collect();
    let title = format!("`{}` calls itself", first.text);
    let diagnostic = Diagnostic::error(
        "BP0111",
        title,
        first.span,
        "bodies are written out where they are called; this would never end",
    )
    .with_help("repeat by `repeat n { next x = .. }` or by `scan`");
    Some(if names.len() > 2 {
        diagnostic.with_note(format!("the circle is {}", names.join(", then ")))
    } else {
        diagnostic
    })
}
