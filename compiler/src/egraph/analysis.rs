//! What every class of the e-graph knows: its type, the number that it is in every place, and where it comes from.
//!
//! Expects: terms whose operands fit (a rule that builds another term is a bug of bpc and panics).
//! Guarantees: all terms of a class have one type; a class whose value is one known number holds a `constant` term and no
//! other.
//! Leaves out: facts about values that are not constant. Folding works on doubles and rounds once to the dtype, as the
//! op table defines; it is left undone where a whole number could be inexact.

use super::language::{OpTable, Term};
use crate::ir::graph::Provenance;
use crate::ir::op::{Op, OpClass};
use crate::ir::types::{Dtype, Literal, Type};
use egg::{DidMerge, Id};

/// The e-graph of this compiler.
pub type EGraph = egg::EGraph<Term, Analysis>;

/// What is shared by all classes.
#[derive(Debug, Default)]
pub struct Analysis {
    /// The operations of the terms.
    pub ops: OpTable,
    /// What the terms that are added now come from.
    pub origin: Origin,
}

/// Where a class comes from: the place of a node in the region that was read, and its provenance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The position in the region.
    pub place: u32,
    /// Its provenance.
    pub provenance: Provenance,
}

/// What a class knows.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The type of its value.
    pub ty: Type,
    /// The number that stands in every place.
    pub literal: Option<Literal>,
    /// Of the earliest term.
    pub origin: Origin,
}

impl egg::Analysis<Term> for Analysis {
    type Data = Facts;

    fn make(egraph: &mut EGraph, term: &Term, _: Id) -> Facts {
        let op = &egraph.analysis.ops[term.op];
        let types: Vec<&Type> = term.children.iter().map(|child| &egraph[*child].data.ty).collect();
        let ty =
            op.infer(&types).unwrap_or_else(|error| panic!("bug in bpc: an ill-typed term in the e-graph: {error}"));
        let literals: Option<Vec<Literal>> = term.children.iter().map(|child| egraph[*child].data.literal).collect();
        let literal = literals.and_then(|literals| fold(op, &types, &literals, &ty));
        Facts { ty, literal, origin: egraph.analysis.origin }
    }

    fn merge(&mut self, into: &mut Facts, from: Facts) -> DidMerge {
        assert_eq!(into.ty, from.ty, "bug in bpc: a rule made values of two types equal");
        if from.origin.place < into.origin.place {
            into.origin = from.origin;
        }
        // Two roundings of one number may differ in the last bit; the smaller literal wins, so that order does not matter.
        let (before, other) = (into.literal, from.literal);
        into.literal = match (before, other) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        DidMerge(into.literal != before, into.literal != other)
    }

    fn modify(egraph: &mut EGraph, class: Id) {
        let Facts { literal: Some(value), ty: Type::Tensor(ty), .. } = &egraph[class].data else { return };
        let op = Op::Constant { value: *value, shape: ty.shape.clone() };
        let op = egraph.analysis.ops.intern(op);
        let constant = Term { op, children: Vec::new() };
        if !egraph[class].nodes.contains(&constant) {
            let added = egraph.add(constant.clone());
            egraph.union(class, added);
        }
        // Nothing is cheaper or says more; rules need not look at the many ways to write a zero. Where the union brought another
        // rounding of the number, that one stands alone already.
        let terms = &mut egraph[class].nodes;
        if terms.contains(&constant) {
            terms.retain(|term| *term == constant);
        }
    }
}

/// The number that a term is in every place, where all its operands are such numbers.
fn fold(op: &Op, types: &[&Type], literals: &[Literal], ty: &Type) -> Option<Literal> {
    let ty = ty.tensor()?;
    match (op, literals) {
        (Op::Constant { value, .. }, _) => Some(*value),
        (Op::Select { .. }, [condition, x, y]) => Some(if condition.as_f64() != 0.0 { *x } else { *y }),
        (Op::Cast { dtype }, [x]) => fold_cast(*x, *dtype),
        (Op::Pad { value, .. }, [x]) if value == x => Some(*x),
        (Op::Concat { .. }, [x, y]) if x == y => Some(*x),
        (Op::Pad { .. } | Op::Concat { .. }, _) => None,
        (Op::ReduceMax { .. } | Op::ReduceMin { .. }, [x]) => Some(*x),
        (Op::Argmax { .. }, [_]) => Some(Literal::new(Dtype::I32, 0.0)),
        (Op::ReduceSum { axes }, [x]) => {
            let shape = &types[0].tensor()?.shape;
            let count: u64 = axes.iter().map(|axis| shape[*axis as usize]).product();
            exact(ty.dtype, x.as_f64() * count as f64)
        }
        (Op::Matmul { .. }, [x, y]) => {
            let inner = *types[0].tensor()?.shape.last()?;
            exact(ty.dtype, x.as_f64() * y.as_f64() * inner as f64)
        }
        (Op::Unwindows { .. }, [x]) if is_zero(*x) => Some(*x),
        (Op::Iota { axis, .. }, []) if ty.shape[*axis as usize] == 1 => Some(Literal::new(ty.dtype, 0.0)),
        // Division of whole numbers by 0 gives 0.
        (Op::Div { .. }, [x, y]) if ty.dtype.is_integer() => {
            if y.as_f64() == 0.0 {
                Some(Literal::integer(ty.dtype, 0))
            } else {
                exact(ty.dtype, (x.as_f64() / y.as_f64()).trunc())
            }
        }
        (_, [x]) => match op.class() {
            OpClass::Unary(meaning) => exact(ty.dtype, meaning(x.as_f64())),
            OpClass::View => Some(*x),
            _ => None,
        },
        (_, [x, y]) => match op.class() {
            OpClass::Binary(meaning) if small(*x) && small(*y) => exact(ty.dtype, meaning(x.as_f64(), y.as_f64())),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a literal is 0, of either sign.
pub fn is_zero(literal: Literal) -> bool {
    literal.as_f64() == 0.0
}

fn fold_cast(x: Literal, dtype: Dtype) -> Option<Literal> {
    // Whole numbers wrap when they become narrower: only values that fit are folded.
    if x.dtype.is_integer() && dtype.is_integer() {
        let value = Literal::integer(dtype, x.as_i64());
        return (value.as_i64() == x.as_i64()).then_some(value);
    }
    small(x).then(|| Literal::new(dtype, x.as_f64()))
}

/// Whether a double holds the literal and products of two such literals exactly enough.
fn small(x: Literal) -> bool {
    !x.dtype.is_integer() || x.as_i64().unsigned_abs() <= 1 << 32
}

/// The value in the dtype; `None` for whole numbers that are out of range or no longer exact as doubles.
fn exact(dtype: Dtype, value: f64) -> Option<Literal> {
    let literal = Literal::new(dtype, value);
    (!dtype.is_integer() || (literal.as_f64() == value && value.abs() <= 9_007_199_254_740_992.0)).then_some(literal)
}
