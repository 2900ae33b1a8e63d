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
        // Declarations on the way, each with what it speaks of and is still to be looked at; no recursion here either,
        // because a program may be a long chain of calls.
        if done.contains(start) {
            continue;
        }
        let mut trail = vec![(*start, callees(program, calls, *start))];
        while let Some((id, rest)) = trail.last_mut() {
            let Some(next) = rest.pop() else {
                done.insert(*id);
                trail.pop();
                continue;
            };
            if let Some(from) = trail.iter().position(|(open, _)| *open == next) {
                let circle: Vec<ItemId> = trail[from..].iter().map(|(id, _)| *id).collect();
                diagnostics.extend(recursion(program, &circle));
            } else if !done.contains(&next) {
                let callees = callees(program, calls, next);
                trail.push((next, callees));
            }
        }
    }
    diagnostics
}

/// The functions and layers that a function or layer speaks of, last first.
fn callees(program: &Program, calls: &Calls, id: ItemId) -> Vec<ItemId> {
    match called(program, id) {
        Some(_) => calls.get(&id).into_iter().flatten().rev().copied().collect(),
        None => Vec::new(),
    }
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
