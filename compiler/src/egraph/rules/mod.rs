//! The directed rewrites: tables of rows, each a few lines that look at one term and say what it is equal to.
//!
//! Expects: a clean e-graph (rebuilt).
//! Guarantees: a rule only reads; what it found is added afterwards, in the order of classes, terms and rows.
//! Leaves out: commutativity and associativity; rules that are no equality of real numbers. Rounding may change in the
//! last bits, and a zero that a program or its derivative states wins over NaN and infinity (`0 * x` is 0), as in every
//! automatic differentiation that leaves out zero cotangents.

mod arithmetic;
mod bits;
mod products;
mod reductions;
mod segments;
mod transforms;
mod views;

use super::analysis::EGraph;
use super::language::Term;
use crate::ir::op::Op;
use crate::ir::types::{Literal, TensorType};
use egg::Id;
use std::cell::RefCell;

/// One rewrite.
pub struct Rule {
    /// Its name in reports.
    pub name: &'static str,
    /// The equality in one line.
    pub doc: &'static str,
    /// The nodes and results of a region on which it fires, in the text form.
    pub example: &'static str,
    /// The names of the operations that it looks at.
    pub at: &'static [&'static str],
    /// Says what the term is equal to.
    pub rewrite: fn(&Match),
}

/// All rules, in the order in which they are tried.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let tables = [
        arithmetic::RULES,
        views::RULES,
        reductions::RULES,
        products::RULES,
        transforms::RULES,
        segments::RULES,
        bits::RULES,
    ];
    tables.into_iter().flatten()
}

/// An expression over classes that a rule builds.
#[derive(Clone, Debug)]
pub enum Expression {
    /// A class that is there.
    Class(Id),
    /// An operation on others.
    Apply(Op, Vec<Expression>),
}

impl From<Id> for Expression {
    fn from(class: Id) -> Self {
        Expression::Class(class)
    }
}

/// An operation on others.
pub fn apply<const N: usize>(op: Op, operands: [Expression; N]) -> Expression {
    Expression::Apply(op, operands.into())
}

/// A term that a rule looks at, and what it has found to be equal to it.
pub struct Match<'a> {
    egraph: &'a EGraph,
    class: Id,
    term: &'a Term,
    found: RefCell<Vec<Expression>>,
}

impl<'a> Match<'a> {
    /// What `rule` finds equal to a term of a class.
    pub fn run(rule: &Rule, egraph: &'a EGraph, class: Id, term: &'a Term) -> Vec<Expression> {
        let site = Match { egraph, class, term, found: RefCell::default() };
        (rule.rewrite)(&site);
        site.found.into_inner()
    }

    /// The operation.
    fn op(&self) -> &'a Op {
        &self.egraph.analysis.ops[self.term.op]
    }

    /// The class of an operand.
    fn operand(&self, index: usize) -> Id {
        self.term.children[index]
    }

    /// Both operands.
    fn pair(&self) -> (Id, Id) {
        (self.term.children[0], self.term.children[1])
    }

    /// The type of the term.
    fn result(&self) -> &'a TensorType {
        self.ty(self.class)
    }

    /// The type of a class.
    fn ty(&self, class: Id) -> &'a TensorType {
        self.egraph[class].data.ty.tensor().expect("bug in bpc: a rule looks at a tuple")
    }

    /// The number that a class is in every place.
    fn literal(&self, class: Id) -> Option<Literal> {
        self.egraph[class].data.literal
    }

    /// Whether a class is this number in every place.
    fn is(&self, class: Id, value: f64) -> bool {
        self.literal(class).is_some_and(|literal| literal.as_f64() == value)
    }

    /// The terms of a class.
    fn terms(&self, class: Id) -> impl Iterator<Item = (&'a Op, &'a [Id])> + use<'a> {
        let egraph = self.egraph;
        egraph[class].nodes.iter().map(|term| (&egraph.analysis.ops[term.op], term.children.as_slice()))
    }

    /// The operand of the first negation in a class.
    fn negated(&self, class: Id) -> Option<Id> {
        self.terms(class).find(|(op, _)| matches!(op, Op::Neg {})).map(|(_, operands)| operands[0])
    }

    /// The operands of the broadcasts in a class.
    fn broadcasts(&self, class: Id) -> impl Iterator<Item = Id> + use<'a> {
        self.terms(class).filter(|(op, _)| matches!(op, Op::Broadcast { .. })).map(|(_, operands)| operands[0])
    }

    /// Says that the term is equal to this.
    pub(super) fn becomes(&self, expression: impl Into<Expression>) {
        self.found.borrow_mut().push(expression.into());
    }

    /// Says it where the condition holds.
    fn becomes_if(&self, condition: bool, expression: impl Into<Expression>) {
        if condition {
            self.becomes(expression);
        }
    }
}

/// A number in every place of a type.
fn number(value: f64, ty: &TensorType) -> Expression {
    splat(Literal::new(ty.dtype, value), ty)
}

/// The same for a literal of that dtype.
fn splat(value: Literal, ty: &TensorType) -> Expression {
    apply(Op::Constant { value, shape: ty.shape.clone() }, [])
}

/// `reshape`, left out where it changes nothing.
fn reshape(m: &Match, x: Id, shape: &[u64]) -> Expression {
    if m.ty(x).shape == shape { x.into() } else { apply(Op::Reshape { shape: shape.to_vec() }, [x.into()]) }
}

/// `broadcast`, left out where it changes nothing.
fn broadcast(m: &Match, x: Id, shape: &[u64]) -> Expression {
    if m.ty(x).shape == shape { x.into() } else { apply(Op::Broadcast { shape: shape.to_vec() }, [x.into()]) }
}

/// `reduce_sum`, left out without axes.
fn reduce_sum(x: impl Into<Expression>, axes: Vec<u32>) -> Expression {
    if axes.is_empty() { x.into() } else { apply(Op::ReduceSum { axes }, [x.into()]) }
}

/// The shape with size 1 in these axes.
fn reduced_shape(shape: &[u64], axes: &[u32]) -> Vec<u64> {
    let mut shape = shape.to_vec();
    axes.iter().for_each(|axis| shape[*axis as usize] = 1);
    shape
}
