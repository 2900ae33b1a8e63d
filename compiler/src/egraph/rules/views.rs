//! Views: compositions, identities, and work done before a view repeats its elements.

use super::{Expression, Match, Rule, apply, broadcast, number, reshape, splat};
use crate::egraph::analysis::is_zero;
use crate::ir::op::Op;
use egg::Id;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "view-identity",
        doc: "a reshape, permute, broadcast, slice, pad or reverse that changes nothing",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 1]} : f64[2, 1]
                n1 = reshape(n0) {shape = [2, 1]} : f64[2, 1]
                n2 = permute(n0) {axes = [0, 1]} : f64[2, 1]
                n3 = broadcast(n0) {shape = [2, 1]} : f64[2, 1]
                n4 = slice(n0) {starts = [0, 0], stops = [2, 1]} : f64[2, 1]
                n5 = pad(n0) {low = [0, 0], high = [0, 0], value = f64(1)} : f64[2, 1]
                n6 = reverse(n0) {axis = 1} : f64[2, 1]
                result value "a" = n1
                result value "b" = n2
                result value "c" = n3
                result value "d" = n4
                result value "e" = n5
                result value "f" = n6
            "#,
        at: &["reshape", "permute", "broadcast", "slice", "pad", "reverse"],
        rewrite: |m| {
            let x = m.operand(0);
            let same_shape = m.ty(x).shape == m.result().shape;
            let identity = match m.op() {
                Op::Permute { axes } => axes.iter().enumerate().all(|(place, axis)| place == *axis as usize),
                Op::Reverse { axis } => m.result().shape[*axis as usize] <= 1,
                _ => same_shape,
            };
            m.becomes_if(identity, x);
        },
    },
    Rule {
        name: "reshape-reshape",
        doc: "reshape(reshape(x)) = reshape(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = reshape(n0) {shape = [6]} : f64[6]
                n2 = reshape(n1) {shape = [3, 2]} : f64[3, 2]
                result value "b" = n2
            "#,
        at: &["reshape"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                if let Op::Reshape { .. } = op {
                    m.becomes(reshape(m, operands[0], &m.result().shape));
                }
            }
        },
    },
    Rule {
        name: "permute-permute",
        doc: "permute(permute(x, a), b) = permute(x, a[b])",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3, 4]} : f64[2, 3, 4]
                n1 = permute(n0) {axes = [1, 2, 0]} : f64[3, 4, 2]
                n2 = permute(n1) {axes = [0, 2, 1]} : f64[3, 2, 4]
                result value "b" = n2
            "#,
        at: &["permute"],
        rewrite: |m| {
            let Op::Permute { axes: outer } = m.op() else { return };
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Permute { axes: inner } = op else { continue };
                let axes: Vec<u32> = outer.iter().map(|axis| inner[*axis as usize]).collect();
                m.becomes(apply(Op::Permute { axes }, [operands[0].into()]));
            }
        },
    },
    Rule {
        name: "permute-moves-ones",
        doc: "permute(x) = reshape(x) where only axes of size 1 change places",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 1, 3]} : f64[2, 1, 3]
                n1 = permute(n0) {axes = [1, 0, 2]} : f64[1, 2, 3]
                result value "a" = n1
            "#,
        at: &["permute"],
        rewrite: |m| {
            let Op::Permute { axes } = m.op() else { return };
            let x = m.operand(0);
            let shape = &m.ty(x).shape;
            let moved: Vec<u32> = axes.iter().copied().filter(|axis| shape[*axis as usize] != 1).collect();
            m.becomes_if(moved.is_sorted(), reshape(m, x, &m.result().shape));
        },
    },
    Rule {
        name: "broadcast-broadcast",
        doc: "broadcast(broadcast(x)) = broadcast(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 1, 3]} : f64[1, 1, 3]
                n1 = broadcast(n0) {shape = [1, 2, 3]} : f64[1, 2, 3]
                n2 = broadcast(n1) {shape = [4, 2, 3]} : f64[4, 2, 3]
                result value "b" = n2
            "#,
        at: &["broadcast"],
        rewrite: |m| {
            for x in m.broadcasts(m.operand(0)) {
                m.becomes(broadcast(m, x, &m.result().shape));
            }
        },
    },
    Rule {
        name: "permute-broadcast",
        doc: "permute(broadcast(x)) = broadcast(permute(x))",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 1, 3]} : f64[2, 1, 3]
                n1 = broadcast(n0) {shape = [2, 4, 3]} : f64[2, 4, 3]
                n2 = permute(n1) {axes = [2, 0, 1]} : f64[3, 2, 4]
                result value "b" = n2
            "#,
        at: &["permute"],
        rewrite: |m| {
            for x in m.broadcasts(m.operand(0)) {
                let permuted = apply(m.op().clone(), [x.into()]);
                m.becomes(apply(Op::Broadcast { shape: m.result().shape.clone() }, [permuted]));
            }
        },
    },
    Rule {
        name: "slice-broadcast",
        doc: "slice(broadcast(x)) = broadcast(slice(x))",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3]} : f64[1, 3]
                n1 = broadcast(n0) {shape = [4, 3]} : f64[4, 3]
                n2 = slice(n1) {starts = [1, 1], stops = [3, 3]} : f64[2, 2]
                result value "b" = n2
            "#,
        at: &["slice"],
        rewrite: |m| {
            let Op::Slice { starts, stops } = m.op() else { return };
            for x in m.broadcasts(m.operand(0)) {
                let (mut starts, mut stops) = (starts.clone(), stops.clone());
                let (small, large) = (&m.ty(x).shape, &m.ty(m.operand(0)).shape);
                if m.result().elements() == 0 {
                    continue;
                }
                for axis in (0..small.len()).filter(|axis| small[*axis] != large[*axis]) {
                    (starts[axis], stops[axis]) = (0, 1);
                }
                let sliced = apply(Op::Slice { starts, stops }, [x.into()]);
                m.becomes(apply(Op::Broadcast { shape: m.result().shape.clone() }, [sliced]));
            }
        },
    },
    Rule {
        name: "unary-broadcast",
        doc: "f(broadcast(x)) = broadcast(f(x)) for elementwise f",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3]} : f64[1, 3]
                n1 = broadcast(n0) {shape = [4, 3]} : f64[4, 3]
                n2 = exp(n1) : f64[4, 3]
                result value "b" = n2
            "#,
        at: &[
            "neg", "abs", "sign", "floor", "round", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh",
            "erf", "not", "cast",
        ],
        rewrite: |m| {
            for x in m.broadcasts(m.operand(0)) {
                let small = apply(m.op().clone(), [x.into()]);
                m.becomes(apply(Op::Broadcast { shape: m.result().shape.clone() }, [small]));
            }
        },
    },
    Rule {
        name: "binary-broadcast",
        doc: "f(broadcast(x), broadcast(y)) = broadcast(f(x, y)) for x and y of one shape; a number is a broadcast too",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 3]} : f64[1, 3]
                n1 = input {role = data, name = "y", ty = f64[1, 3]} : f64[1, 3]
                n2 = constant {value = f64(2), shape = [4, 3]} : f64[4, 3]
                n3 = broadcast(n0) {shape = [4, 3]} : f64[4, 3]
                n4 = broadcast(n1) {shape = [4, 3]} : f64[4, 3]
                n5 = mul(n3, n4) : f64[4, 3]
                n6 = sub(n3, n2) : f64[4, 3]
                n7 = less(n2, n4) : bool[4, 3]
                result value "d" = n5
                result value "e" = n6
                result value "f" = n7
            "#,
        at: &[
            "add",
            "sub",
            "mul",
            "div",
            "pow",
            "maximum",
            "minimum",
            "equal",
            "less",
            "less_equal",
            "and",
            "or",
            "xor",
        ],
        rewrite: |m| {
            let (x, y) = m.pair();
            let repeat = |x: Expression, y: Expression| {
                let small = apply(m.op().clone(), [x, y]);
                m.becomes(apply(Op::Broadcast { shape: m.ty(m.operand(0)).shape.clone() }, [small]));
            };
            for small_x in m.broadcasts(x) {
                for small_y in m.broadcasts(y).filter(|small_y| m.ty(*small_y).shape == m.ty(small_x).shape) {
                    repeat(small_x.into(), small_y.into());
                }
                if let Some(number) = m.literal(y) {
                    repeat(small_x.into(), splat(number, m.ty(small_x)));
                }
            }
            if let Some(number) = m.literal(x) {
                for small_y in m.broadcasts(y) {
                    repeat(splat(number, m.ty(small_y)), small_y.into());
                }
            }
        },
    },
    Rule {
        name: "slice-slice",
        doc: "slice(slice(x)) = slice(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[9]} : f64[9]
                n1 = slice(n0) {starts = [1], stops = [8]} : f64[7]
                n2 = slice(n1) {starts = [2], stops = [5]} : f64[3]
                result value "b" = n2
            "#,
        at: &["slice"],
        rewrite: |m| {
            let Op::Slice { starts, stops } = m.op() else { return };
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Slice { starts: inner, .. } = op else { continue };
                let moved = |places: &[u64]| places.iter().zip(inner).map(|(place, start)| place + start).collect();
                m.becomes(apply(Op::Slice { starts: moved(starts), stops: moved(stops) }, [operands[0].into()]));
            }
        },
    },
    Rule {
        name: "slice-pad",
        doc: "slice(pad(x)) = slice(x) where it lies within x, and the padding where it lies beside x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[4]} : f64[4]
                n1 = pad(n0) {low = [2], high = [3], value = f64(7)} : f64[9]
                n2 = slice(n1) {starts = [3], stops = [6]} : f64[3]
                n3 = slice(n1) {starts = [6], stops = [9]} : f64[3]
                n4 = slice(n1) {starts = [0], stops = [2]} : f64[2]
                result value "b" = n2
                result value "c" = n3
                result value "d" = n4
            "#,
        at: &["slice"],
        rewrite: |m| {
            let Op::Slice { starts, stops } = m.op() else { return };
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Pad { low, value, .. } = op else { continue };
                let shape = &m.ty(operands[0]).shape;
                let axes = 0..shape.len();
                if axes.clone().any(|axis| stops[axis] <= low[axis] || starts[axis] >= low[axis] + shape[axis]) {
                    m.becomes(splat(*value, m.result()));
                } else if axes.clone().all(|axis| starts[axis] >= low[axis] && stops[axis] <= low[axis] + shape[axis]) {
                    let moved = |places: &[u64]| places.iter().zip(low).map(|(place, low)| place - low).collect();
                    m.becomes(apply(Op::Slice { starts: moved(starts), stops: moved(stops) }, [operands[0].into()]));
                }
            }
        },
    },
    Rule {
        name: "slice-concat",
        doc: "slice(concat(x, y)) = slice(x) or slice(y) where it lies within one of them",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[4]} : f64[4]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = concat(n0, n1) {axis = 0} : f64[7]
                n3 = slice(n2) {starts = [1], stops = [4]} : f64[3]
                n4 = slice(n2) {starts = [4], stops = [6]} : f64[2]
                result value "b" = n3
                result value "c" = n4
            "#,
        at: &["slice"],
        rewrite: |m| {
            let Op::Slice { starts, stops } = m.op() else { return };
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Concat { axis } = op else { continue };
                let axis = *axis as usize;
                let length = m.ty(operands[0]).shape[axis];
                if stops[axis] <= length {
                    m.becomes(apply(m.op().clone(), [operands[0].into()]));
                } else if starts[axis] >= length {
                    let (mut starts, mut stops) = (starts.clone(), stops.clone());
                    starts[axis] -= length;
                    stops[axis] -= length;
                    m.becomes(apply(Op::Slice { starts, stops }, [operands[1].into()]));
                }
            }
        },
    },
    Rule {
        name: "concat-slices",
        doc: "concat(slice(x, a..b), slice(x, b..c)) = slice(x, a..c)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 6]} : f64[2, 6]
                n1 = slice(n0) {starts = [0, 1], stops = [2, 3]} : f64[2, 2]
                n2 = slice(n0) {starts = [0, 3], stops = [2, 5]} : f64[2, 2]
                n3 = concat(n1, n2) {axis = 1} : f64[2, 4]
                result value "c" = n3
            "#,
        at: &["concat"],
        rewrite: |m| {
            let Op::Concat { axis } = m.op() else { return };
            let axis = *axis as usize;
            let slices = |class: Id| {
                m.terms(class).filter_map(|(op, operands)| match op {
                    Op::Slice { starts, stops } => Some((operands[0], starts, stops)),
                    _ => None,
                })
            };
            for (x, starts, stops) in slices(m.operand(0)) {
                for (y, later_starts, later_stops) in slices(m.operand(1)) {
                    let beside = (0..starts.len()).all(|other| {
                        other == axis || (starts[other], stops[other]) == (later_starts[other], later_stops[other])
                    });
                    if x == y && beside && stops[axis] == later_starts[axis] {
                        m.becomes(apply(Op::Slice { starts: starts.clone(), stops: later_stops.clone() }, [x.into()]));
                    }
                }
            }
        },
    },
    Rule {
        name: "pad-pad",
        doc: "pad(pad(x)) = pad(x) with one value",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2]} : f64[2]
                n1 = pad(n0) {low = [1], high = [0], value = f64(0)} : f64[3]
                n2 = pad(n1) {low = [2], high = [1], value = f64(0)} : f64[6]
                result value "b" = n2
            "#,
        at: &["pad"],
        rewrite: |m| {
            let Op::Pad { low, high, value } = m.op() else { return };
            for (op, operands) in m.terms(m.operand(0)) {
                let Op::Pad { low: inner_low, high: inner_high, value: inner } = op else { continue };
                let sum = |x: &[u64], y: &[u64]| x.iter().zip(y).map(|(x, y)| x + y).collect();
                let both = Op::Pad { low: sum(low, inner_low), high: sum(high, inner_high), value: *value };
                m.becomes_if(value == inner, apply(both, [operands[0].into()]));
            }
        },
    },
    Rule {
        name: "add-pads",
        doc: "pad(x, 0) + pad(y, 0) = pad(concat(x, y), 0) where y begins where x ends",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2]} : f64[2]
                n1 = input {role = data, name = "y", ty = f64[3]} : f64[3]
                n2 = pad(n0) {low = [1], high = [4], value = f64(0)} : f64[7]
                n3 = pad(n1) {low = [3], high = [1], value = f64(0)} : f64[7]
                n4 = add(n2, n3) : f64[7]
                n5 = add(n3, n2) : f64[7]
                result value "c" = n4
                result value "d" = n5
            "#,
        at: &["add"],
        rewrite: |m| {
            let (x, y) = m.pair();
            add_pads(m, x, y);
            add_pads(m, y, x);
        },
    },
    Rule {
        name: "reverse-reverse",
        doc: "reverse(reverse(x)) = x along one axis",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[2, 3]} : f64[2, 3]
                n1 = reverse(n0) {axis = 1} : f64[2, 3]
                n2 = reverse(n1) {axis = 1} : f64[2, 3]
                result value "b" = n2
            "#,
        at: &["reverse"],
        rewrite: |m| {
            for (op, operands) in m.terms(m.operand(0)) {
                if op == m.op() {
                    m.becomes(operands[0]);
                }
            }
        },
    },
    Rule {
        name: "windows-disjoint",
        doc: "windows(x) that lie side by side and leave nothing out = reshape(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[4, 2]} : f64[4, 2]
                n1 = windows(n0) {axis = 0, size = 1, stride = 1} : f64[4, 1, 2]
                n2 = windows(n0) {axis = 0, size = 2, stride = 2} : f64[2, 2, 2]
                result value "a" = n1
                result value "b" = n2
            "#,
        at: &["windows"],
        rewrite: |m| {
            let Op::Windows { size, stride, .. } = m.op() else { return };
            let x = m.operand(0);
            let covers = size == stride && m.ty(x).elements() == m.result().elements();
            m.becomes_if(covers, reshape(m, x, &m.result().shape));
        },
    },
    Rule {
        name: "unwindows-disjoint",
        doc: "unwindows(x) of windows that lie side by side and leave nothing out = reshape(x)",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[3, 2, 2]} : f64[3, 2, 2]
                n1 = unwindows(n0) {axis = 0, length = 6, stride = 2} : f64[6, 2]
                result value "a" = n1
            "#,
        at: &["unwindows"],
        rewrite: |m| {
            let Op::Unwindows { axis, stride, .. } = m.op() else { return };
            let x = m.operand(0);
            let size = m.ty(x).shape[*axis as usize + 1];
            let covers = size == *stride && m.ty(x).elements() == m.result().elements();
            m.becomes_if(covers, reshape(m, x, &m.result().shape));
        },
    },
    Rule {
        name: "reshape-broadcast",
        doc: "reshape(broadcast(x)) = broadcast(reshape(x)) for one element x",
        example: r#"
                n0 = input {role = data, name = "x", ty = f64[1, 1]} : f64[1, 1]
                n1 = broadcast(n0) {shape = [2, 3]} : f64[2, 3]
                n2 = reshape(n1) {shape = [6]} : f64[6]
                result value "b" = n2
            "#,
        at: &["reshape"],
        rewrite: |m| {
            for x in m.broadcasts(m.operand(0)).filter(|x| m.ty(*x).elements() == 1) {
                let small = reshape(m, x, &vec![1; m.result().rank()]);
                m.becomes_if(m.result().rank() > 0, apply(Op::Broadcast { shape: m.result().shape.clone() }, [small]));
            }
        },
    },
    Rule {
        name: "scatter-zero",
        doc: "scatter_add of zeros = 0",
        example: r#"
                n0 = input {role = data, name = "i", ty = i32[3]} : i32[3]
                n1 = constant {value = f64(0), shape = [3, 2]} : f64[3, 2]
                n2 = scatter_add(n0, n1) {rows = 4} : f64[4, 2]
                result value "a" = n2
            "#,
        at: &["scatter_add"],
        rewrite: |m| {
            m.becomes_if(m.literal(m.operand(1)).is_some_and(is_zero), number(0.0, m.result()));
        },
    },
];

fn add_pads(m: &Match, x: Id, y: Id) {
    let pads = |class: Id| {
        m.terms(class).filter_map(|(op, operands)| match op {
            Op::Pad { low, high, value } if is_zero(*value) => Some((operands[0], low, high, *value)),
            _ => None,
        })
    };
    for (first, low, high, value) in pads(x) {
        for (second, second_low, second_high, _) in pads(y) {
            let (from, to) = (&m.ty(first).shape, &m.ty(second).shape);
            let differing: Vec<usize> = (0..low.len())
                .filter(|axis| {
                    (low[*axis], high[*axis], from[*axis]) != (second_low[*axis], second_high[*axis], to[*axis])
                })
                .collect();
            let [axis] = differing[..] else { continue };
            if low[axis] + from[axis] == second_low[axis] {
                let joined = apply(Op::Concat { axis: axis as u32 }, [first.into(), second.into()]);
                let mut high = high.clone();
                high[axis] = second_high[axis];
                m.becomes(apply(Op::Pad { low: low.clone(), high, value }, [joined]));
            }
        }
    }
}
