//! Which names an expression or statement reads.
//!
//! Expects: nothing.
//! Guarantees: `x.shape`, `x.dtype` and `x.rank` do not count as reading `x`: they are known without its value.
//! Leaves out: scopes; a name that the statement itself binds may be in the answer.

use bpc_lang::tree::{Block, Expr, ExprKind, IndexItem, Statement};
use std::collections::BTreeSet;

/// Adds the names that a statement reads.
pub(super) fn mentions(statement: &Statement, names: &mut BTreeSet<String>) {
    match statement {
        Statement::Let { value, .. }
        | Statement::Next { value, .. }
        | Statement::Yield { value, .. }
        | Statement::Output { value, .. }
        | Statement::Minimize { value, .. }
        | Statement::Grad { value, .. }
        | Statement::Result { value, .. }
        | Statement::State { init: value, .. } => expression(value, names),
        Statement::Keep { name, value, .. } => match value {
            Some(value) => expression(value, names),
            None => {
                names.insert(name.text.clone());
            }
        },
        Statement::Param { constraint, init, .. } => {
            constraint.iter().chain(init).for_each(|value| expression(value, names));
        }
        Statement::Form { body, .. } => block(body, names),
        Statement::Repeat { count, body, .. } => {
            expression(count, names);
            block(body, names);
        }
        Statement::If { condition, then, otherwise, .. } => {
            expression(condition, names);
            block(then, names);
            otherwise.iter().for_each(|otherwise| block(otherwise, names));
        }
        Statement::Input { .. } | Statement::GradScope { .. } => {}
    }
}

fn block(block: &Block, names: &mut BTreeSet<String>) {
    block.statements.iter().for_each(|statement| mentions(statement, names));
}

fn expression(expr: &Expr, names: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Name(name) => {
            names.insert(name.clone());
        }
        ExprKind::Field(base, field) => {
            if !matches!(field.text.as_str(), "shape" | "dtype" | "rank") {
                expression(base, names);
            }
        }
        ExprKind::Call(callee, args) => {
            expression(callee, names);
            args.iter().for_each(|arg| expression(&arg.value, names));
        }
        ExprKind::Via(call, rule) => {
            expression(call, names);
            rule.args.iter().for_each(|arg| expression(&arg.value, names));
        }
        ExprKind::Unary(_, inner) | ExprKind::Spread(inner) => expression(inner, names),
        ExprKind::Binary(_, left, right) => {
            expression(left, names);
            expression(right, names);
        }
        ExprKind::Index(base, items) => {
            expression(base, names);
            for item in items {
                match item {
                    IndexItem::At(place) => expression(place, names),
                    IndexItem::Range { start, stop, step, .. } => {
                        [start, stop, step].into_iter().flatten().for_each(|part| expression(part, names));
                    }
                    IndexItem::Rest(_) => {}
                }
            }
        }
        ExprKind::List(parts) | ExprKind::Tuple(parts) => parts.iter().for_each(|part| expression(part, names)),
        ExprKind::If(condition, then, otherwise) => {
            expression(condition, names);
            block(then, names);
            block(otherwise, names);
        }
        ExprKind::Scan(scan) => {
            scan.carries.iter().chain(&scan.sequences).for_each(|(_, value)| expression(value, names));
            block(&scan.body, names);
        }
        ExprKind::Integer(_) | ExprKind::Real(_) | ExprKind::String(_) | ExprKind::Bool(_) | ExprKind::Cotangent(_) => {
        }
    }
}
