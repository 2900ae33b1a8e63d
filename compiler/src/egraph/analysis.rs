//! What every class of the e-graph knows: its type, the number that it is in every place, and where it comes from.
//!
//! Expects: terms whose operands fit (a rule that builds another term is a bug of bpc and panics).
//! Guarantees: all terms of a class have one type; a class whose value is one known number holds a `constant` term and no
//! other.
//! Leaves out: facts about values that are not constant.
//!
//! Elementwise operations are folded to the bits that generated code gives (`ir::rounded`). So a program means the same whether or not
//! a constant was found, and the same text gives the same program on every machine.

use super::language::{OpTable, Term};
use crate::ir::graph::Provenance;
use crate::ir::op::{Op, OpClass};
use crate::ir::rounded;
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
        let (before, other) = (into.literal, from.literal);
        if let (Some(one), Some(two)) = (before, other) {
            assert!(agree(one, two), "bug in bpc: a rule made the numbers {one:?} and {two:?} equal");
        }
        // Of two roundings of one number the smaller literal wins, so that order does not matter.
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

/// The most that two roundings of one number may differ, in units of the last place.
const ROUNDINGS: f64 = 16.0;

/// Whether two numbers that were found for one class can be roundings of one number.
///
/// Whole numbers and bools must be equal: rules and folding both wrap. Floats may differ
/// - by some units in the last place: rules take products, and sums of equal terms, in another order (`mul-constants`, `sum-factor`,
///   `matmul-order`), and each order rounds elsewhere. No rule moves a term between a sum and a difference, so no digits cancel;
/// - in any way where one of them is infinite or NaN: a product may overflow in one order alone, and a zero wins over both (`0 * x` is 0);
/// - below the square root of the least normal number: a product may underflow in one order alone.
fn agree(one: Literal, two: Literal) -> bool {
    let (epsilon, least) = match one.dtype {
        Dtype::F32 => (f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE)),
        Dtype::F64 => (f64::EPSILON, f64::MIN_POSITIVE),
        _ => return one == two,
    };
    let (x, y) = (one.as_f64(), two.as_f64());
    let largest = x.abs().max(y.abs());
    !x.is_finite() || !y.is_finite() || (x - y).abs() <= ROUNDINGS * epsilon * largest || largest < least.sqrt()
}

/// The number that a term is in every place, where all its operands are such numbers.
fn fold(op: &Op, types: &[&Type], literals: &[Literal], ty: &Type) -> Option<Literal> {
    let ty = ty.tensor()?;
    match (op, literals) {
        (Op::Constant { value, .. }, _) => Some(*value),
        (Op::Select { .. }, [condition, x, y]) => Some(if condition.as_f64() != 0.0 { *x } else { *y }),
        (Op::Cast { dtype }, [x]) => Some(rounded::cast(*x, *dtype)),
        (Op::Pad { value, .. }, [x]) if value == x => Some(*x),
        (Op::Concat { .. }, [x, y]) if x == y => Some(*x),
        (Op::Pad { .. } | Op::Concat { .. }, _) => None,
        (Op::ReduceMax { .. } | Op::ReduceMin { .. }, [x]) => Some(*x),
        (Op::Argmax { .. }, [_]) => Some(Literal::new(Dtype::I32, 0.0)),
        (Op::ReduceSum { axes }, [x]) => {
            let shape = &types[0].tensor()?.shape;
            Some(repeated(*x, axes.iter().map(|axis| shape[*axis as usize]).product()))
        }
        (Op::Matmul { .. }, [x, y]) => {
            let inner = *types[0].tensor()?.shape.last()?;
            Some(repeated(rounded::binary(&Op::Mul {}, *x, *y), inner))
        }
        (Op::Unwindows { .. }, [x]) if is_zero(*x) => Some(*x),
        (Op::Iota { axis, .. }, []) if ty.shape[*axis as usize] == 1 => Some(Literal::new(ty.dtype, 0.0)),
        (_, [x]) => match op.class() {
            OpClass::Unary(_) => Some(rounded::unary(op, *x)),
            OpClass::View => Some(*x),
            _ => None,
        },
        (_, [x, y]) => match op.class() {
            OpClass::Binary(_) => Some(rounded::binary(op, *x, *y)),
            _ => None,
        },
        _ => None,
    }
}

/// The sum of a number of equal terms: 0 for none, of infinities too. It is rounded once, where a loop rounds at each step.
fn repeated(term: Literal, count: u64) -> Literal {
    if count == 0 {
        Literal::new(term.dtype, 0.0)
    } else if term.dtype.is_float() {
        Literal::new(term.dtype, term.as_f64() * count as f64)
    } else {
        rounded::binary(&Op::Mul {}, term, rounded::whole(term.dtype, count as i64))
    }
}

/// Whether a literal is 0, of either sign.
pub fn is_zero(literal: Literal) -> bool {
    literal.as_f64() == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says in an e-graph that two constants are equal.
    fn unite(one: Literal, two: Literal) -> Literal {
        let mut egraph = EGraph::default();
        let [one, two] = [one, two].map(|value| {
            let op = egraph.analysis.ops.intern(Op::Constant { value, shape: vec![3] });
            egraph.add(Term { op, children: Vec::new() })
        });
        egraph.union(one, two);
        egraph.rebuild();
        egraph[one].data.literal.unwrap()
    }

    #[test]
    fn roundings_of_one_number_are_one() {
        for dtype in [Dtype::F32, Dtype::F64] {
            let epsilon = if dtype == Dtype::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
            let (one, near) = (Literal::new(dtype, 1.0), Literal::new(dtype, 1.0 + 3.0 * epsilon));
            assert_eq!((unite(one, near), unite(near, one)), (one, one), "{dtype}");
            for special in [f64::NAN, f64::INFINITY] {
                unite(Literal::new(dtype, special), Literal::new(dtype, 0.0));
            }
            unite(Literal::new(dtype, 1e-300), Literal::new(dtype, 0.0));
        }
    }

    #[test]
    #[should_panic(expected = "bug in bpc: a rule made the numbers f32:1.0 and f32:1.00001 equal")]
    fn floats_that_differ_are_caught() {
        unite(Literal::new(Dtype::F32, 1.0), Literal::new(Dtype::F32, 1.00001));
    }

    #[test]
    #[should_panic(
        expected = "bug in bpc: a rule made the numbers i64:9007199254740993 and i64:9007199254740992 equal"
    )]
    fn whole_numbers_that_differ_are_caught() {
        unite(Literal::integer(Dtype::I64, (1 << 53) + 1), Literal::integer(Dtype::I64, 1 << 53));
    }

    #[test]
    #[should_panic(expected = "bug in bpc: a rule made values of two types equal")]
    fn types_that_differ_are_caught() {
        unite(Literal::new(Dtype::F32, 1.0), Literal::new(Dtype::F64, 1.0));
    }
}
