//! Linear transforms: one for a sum, none for zeros.

use super::{Match, Rule, apply, number};
use crate::egraph::analysis::is_zero;
use crate::ir::op::Op;
use egg::Id;

/// Rewrites at transforms.
pub const RULES: &[Rule] = &[
    Rule {
        name: "add-transforms",
        doc: "t(x) + t(y) = t(x + y) for one linear transform t, also under a reshape",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3, 3, 2]} : f64[3, 3, 2]
                n1 = input {role = data, name = "y", ty = f64[3, 3, 2]} : f64[3, 3, 2]
                n2 = block_wht(n0) {block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = true} : f64[1, 2, 2, 2]
                n3 = block_wht(n1) {block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = true} : f64[1, 2, 2, 2]
                n4 = add(n2, n3) : f64[1, 2, 2, 2]
                n5 = block_wht_t(n2) {grid = [3, 3], block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = false} : f64[3, 3, 2]
                n6 = block_wht_t(n3) {grid = [3, 3], block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = false} : f64[3, 3, 2]
                n7 = reshape(n5) {shape = [9, 2]} : f64[9, 2]
                n8 = reshape(n6) {shape = [9, 2]} : f64[9, 2]
                n9 = add(n7, n8) : f64[9, 2]
                result value "a" = n4
                result value "b" = n9
            "#,
        at: &["add"],
        rewrite: |m| {
            let (x, y) = m.pair();
            for (op, operand, class) in transforms(m, x) {
                for (other, operand_of_other, _) in transforms(m, y) {
                    if op == other && m.ty(operand) == m.ty(operand_of_other) {
                        let sum = apply(Op::Add {}, [operand.into(), operand_of_other.into()]);
                        let whole = apply(op.clone(), [sum]);
                        let shape = m.result().shape.clone();
                        m.becomes(if m.ty(class).shape == shape {
                            whole
                        } else {
                            apply(Op::Reshape { shape }, [whole])
                        });
                    }
                }
            }
        },
    },
    Rule {
        name: "transform-zero",
        doc: "t(0) = 0 for a linear transform t",
        example: r#"
                n0 = constant {value = f64(0), shape = [2, 2, 1]} : f64[2, 2, 1]
                n1 = block_wht(n0) {block = [2, 2], rows = [0], columns = [0], mirror = false} : f64[1, 1, 1, 1]
                result value "a" = n1
            "#,
        at: &["block_wht", "block_wht_t"],
        rewrite: |m| {
            m.becomes_if(m.literal(m.operand(0)).is_some_and(is_zero), number(0.0, m.result()));
        },
    },
];

/// The transforms in a class, also under a reshape: operation, operand, and the class of the transform itself.
fn transforms<'a>(m: &Match<'a>, class: Id) -> Vec<(&'a Op, Id, Id)> {
    let within = |class: Id| {
        let terms = m.terms(class).filter(|(op, _)| matches!(op, Op::BlockWht { .. } | Op::BlockWhtT { .. }));
        terms.map(move |(op, operands)| (op, operands[0], class))
    };
    let reshaped = m.terms(class).filter(|(op, _)| matches!(op, Op::Reshape { .. }));
    within(class).chain(reshaped.flat_map(|(_, operands)| within(operands[0]))).collect()
}
