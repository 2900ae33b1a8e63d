//! Linear transforms: one for a sum, none for zeros.

use super::{Rule, apply, number};
use crate::egraph::analysis::is_zero;
use crate::ir::op::Op;

/// Rewrites at transforms.
pub const RULES: &[Rule] = &[
    Rule {
        name: "add-transforms",
        doc: "t(x) + t(y) = t(x + y) for one linear transform t",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3, 3, 2]} : f64[3, 3, 2]
                n1 = input {role = data, name = "y", ty = f64[3, 3, 2]} : f64[3, 3, 2]
                n2 = block_wht(n0) {block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = true} : f64[1, 2, 2, 2]
                n3 = block_wht(n1) {block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = true} : f64[1, 2, 2, 2]
                n4 = add(n2, n3) : f64[1, 2, 2, 2]
                n5 = block_wht_t(n2) {grid = [3, 3], block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = false} : f64[3, 3, 2]
                n6 = block_wht_t(n3) {grid = [3, 3], block = [4, 2], rows = [0, 1], columns = [0, 1], mirror = false} : f64[3, 3, 2]
                n7 = add(n5, n6) : f64[3, 3, 2]
                result value "a" = n4
                result value "b" = n7
            "#,
        at: &["add"],
        rewrite: |m| {
            let (x, y) = m.pair();
            for (op, operands) in m.terms(x).filter(|(op, _)| op.name().starts_with("block_wht")) {
                for (_, others) in m.terms(y).filter(|(other, _)| *other == op) {
                    let same = m.ty(operands[0]) == m.ty(others[0]);
                    let sum = apply(Op::Add {}, [operands[0].into(), others[0].into()]);
                    m.becomes_if(same, apply(op.clone(), [sum]));
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
