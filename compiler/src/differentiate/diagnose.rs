//! What differentiation tells the author of a program.
//!
//! Expects: nodes with provenance; without a span the message has no place to point at and says so by the node's operation.
//! Guarantees: every message names the operation, the trained value it concerns, and the remedy.
//! Leaves out: when to complain; that is the sweep's business.

use super::DerivativeTable;
use super::activity::Activity;
use crate::ir::graph::{NodeId, Provenance, Region};
use crate::ir::op::Op;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::{FileId, Span};

/// A discrete operation lies between a trained value and the loss.
pub fn discrete(region: &Region, guilty: NodeId, activity: &Activity, table: &dyn DerivativeTable) -> Diagnostic {
    let first = first_discrete(region, guilty, activity);
    let node = &region.nodes[first];
    let name = match &node.op {
        Op::Opaque { of } => of.as_str(),
        op => op.name(),
    };
    let title = match &node.op {
        Op::Input { .. } => "a discrete value inside this loop depends on what a gradient is wanted for".to_string(),
        _ => format!("`{name}` has no derivative and lies on a trained path"),
    };
    let mut diagnostic = error_at("BP0411", title, &node.provenance, "the gradient would be lost here");
    if let Some(source) = source_of(region, first, activity) {
        diagnostic = diagnostic.with_note(format!("it depends on `{source}`, which a gradient is wanted for"));
    }
    let choices = table.choices(name);
    let help = match choices.first() {
        Some(rule) => format!(
            "choose a rule (`{name}(..) via {rule}`; there are: {}), or write `stop(..)` around it if no gradient is meant to flow",
            choices.join(", ")
        ),
        None => {
            "write `stop(..)` around it if no gradient is meant to flow, or call a function that has a rule".to_string()
        }
    };
    diagnostic.with_help(help)
}

/// No gradient reaches a target.
pub fn unreached(region: &Region, loss: NodeId, target: NodeId, asked: &Provenance) -> Diagnostic {
    let name = match &region.nodes[target].op {
        Op::Input { name, .. } => format!("`{name}`"),
        op => format!("this `{}`", op.name()),
    };
    error_at(
        "BP0410",
        format!("no gradient reaches {name}"),
        &region.nodes[target].provenance,
        "is trained, and the loss does not depend on it through anything that has a derivative",
    )
    .with_label(
        place(if region.nodes[loss].provenance.span.is_some() { &region.nodes[loss].provenance } else { asked }),
        "this loss",
    )
    .with_help("use it on the way to the loss, remove it, or name the trained parameters with `minimize .. over ..`")
}

/// The derivative of an estimator.
pub fn second_derivative(provenance: &Provenance, of: &str, rule: &str) -> Diagnostic {
    error_at(
        "BP0412",
        format!("`{rule}` estimates the gradient of `{of}`; the derivative of an estimate means nothing"),
        provenance,
        "a second derivative is wanted through this call",
    )
    .with_help("use an exact rule here, or take only first derivatives")
}

/// The discrete operation nearest to the targets that `guilty` depends on; a function that is `opaque` speaks for what it is
/// made of.
fn first_discrete(region: &Region, guilty: NodeId, activity: &Activity) -> NodeId {
    let mut current = guilty;
    while !matches!(region.nodes[current].op, Op::Opaque { .. })
        && let Some(before) = region.nodes[current].operands.iter().find(|operand| activity.discrete.contains(operand))
    {
        current = *before;
    }
    current
}

/// The name of an input that a node depends on through active nodes.
fn source_of(region: &Region, node: NodeId, activity: &Activity) -> Option<String> {
    let mut pending = vec![node];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(current) = pending.pop() {
        if !seen.insert(current) {
            continue;
        }
        if let Op::Input { name, .. } = &region.nodes[current].op
            && activity.active.contains(&current)
        {
            return Some(name.clone());
        }
        pending.extend(
            region.nodes[current]
                .operands
                .iter()
                .filter(|operand| activity.active.contains(operand) || activity.discrete.contains(operand)),
        );
    }
    None
}

/// An error at a node. What lies in the text of the library is shown first at the call that the user wrote.
fn error_at(code: &'static str, title: String, provenance: &Provenance, label: &str) -> Diagnostic {
    match provenance.call {
        Some(call) => Diagnostic::error(code, title, call, "in this call").with_label(place(provenance), label),
        None => Diagnostic::error(code, title, place(provenance), label),
    }
}

/// The span of a node; nodes without one (built from text) point at the start of the first file.
fn place(provenance: &Provenance) -> Span {
    provenance.span.unwrap_or(Span { file: FileId(0), start: 0, end: 0 })
}
