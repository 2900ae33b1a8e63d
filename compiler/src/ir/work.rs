//! What operations do, in numbers: how many arithmetic operations, and how heavy one of them is.
//!
//! Expects: types that `infer` accepts.
//! Guarantees: the one place that knows it: `bpc explain`, the e-graph's cost model and the choice of what lies in memory ask here; sums saturate.
//! Leaves out: bytes, which follow from the types; time, which is a matter of prices (`egraph`'s cost model); loops, whose turns whoever knows
//! their bodies counts; loop nests (`kernel::schedule` counts what is left after fusion, loads and stores included).

use super::op::{Op, OpClass};
use super::types::{TensorType, Type};

/// Bits that a count of bits takes at once.
const WORD: u64 = 64;

/// Arithmetic operations, as people count them: two for each multiplication with its addition in a product, one for each element of
/// everything elementwise, whatever it is, and for each element that a reduction reads. None for a loop and for what only moves elements.
pub fn operations(op: &Op, operands: &[&Type], result: &Type) -> u64 {
    let result_elements = elements(result);
    let operand = |index: usize| operands.get(index).map_or(0, |ty| elements(ty));
    let size = |index: usize, from_the_last: usize| {
        let shape = operands.get(index).and_then(|ty| ty.tensor()).map_or(&[][..], |ty| &ty.shape);
        shape.len().checked_sub(from_the_last).map_or(1, |axis| shape[axis])
    };
    match op {
        Op::Matmul {} => product(result_elements, size(0, 1)),
        // Each row meets one matrix, whichever its run is.
        Op::SegmentMatmul { .. } => product(result_elements, size(0, 1)),
        Op::SegmentOuter {} => product(operand(0), size(1, 1)),
        Op::BitMatmul { .. } => product(result_elements, size(0, 1)),
        // A gate, a count of bits and an addition for each word.
        Op::BitCount { .. } => result_elements.saturating_mul(size(0, 1).div_ceil(WORD)).saturating_mul(3),
        Op::BlockWht { block, .. } => butterflies(block, result),
        Op::BlockWhtT { block, .. } => operands.first().map_or(0, |coefficients| butterflies(block, coefficients)),
        Op::ScatterAdd { .. } => operand(1),
        // Each key is counted, then put in its place.
        Op::CountingSort { .. } => operand(0).saturating_mul(2),
        Op::Histogram { .. } | Op::Unwindows { .. } => operand(0),
        Op::Scan { .. } | Op::Project { .. } | Op::Take { .. } => 0,
        _ => match op.class() {
            OpClass::Source | OpClass::View | OpClass::Marker => 0,
            OpClass::Reduction => operand(0),
            _ => result_elements,
        },
    }
}

/// The weight of one random number.
pub const RANDOM: u64 = 32;

/// How many simple operations (additions) one elementwise operation takes.
pub fn weight(op: &Op) -> u64 {
    match op {
        Op::Div {} | Op::Sqrt {} => 4,
        Op::Exp {} | Op::Expm1 {} | Op::Log {} | Op::Log1p {} | Op::Tanh {} | Op::Sin {} | Op::Cos {} => 16,
        Op::Erf {} | Op::Pow {} => 32,
        Op::Random { .. } => RANDOM,
        _ => 1,
    }
}

fn elements(ty: &Type) -> u64 {
    ty.tensor().map_or(0, TensorType::elements)
}

fn product(result: u64, inner: u64) -> u64 {
    result.saturating_mul(inner).saturating_mul(2)
}

/// The additions of a fast transform of all blocks with these coefficients, padding included.
fn butterflies(block: &[u64], coefficients: &Type) -> u64 {
    let Some(ty) = coefficients.tensor() else { return 0 };
    let kept = ty.shape[ty.rank() - 2].max(1);
    let places: u64 = block.iter().product();
    (ty.elements() / kept).saturating_mul(places).saturating_mul(u64::from(places.max(1).ilog2()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::parse;

    /// The operations of the one node that is computed from the inputs.
    fn of(inputs: &[&str], node: &str, ty: &str) -> u64 {
        let mut text = String::from("region r0 \"main\" {\n");
        for (index, input) in inputs.iter().enumerate() {
            text += &format!("  n{index} = input {{role = data, name = \"x{index}\", ty = {input}}} : {input}\n");
        }
        let operands: Vec<String> = (0..inputs.len()).map(|index| format!("n{index}")).collect();
        let node = node.replacen("..", &operands.join(", "), 1);
        text += &format!("  n{0} = {node} : {ty}\n  result value \"y\" = n{0}\n}}\n", inputs.len());
        let graph = parse(&text).unwrap();
        let node = graph.main().nodes.values().last().unwrap();
        let operands: Vec<&Type> = node.operands.iter().map(|operand| &graph.main().nodes[*operand].ty).collect();
        operations(&node.op, &operands, &node.ty)
    }

    #[test]
    fn products_count_a_multiplication_and_an_addition() {
        assert_eq!(of(&["f32[2, 5, 3]", "f32[2, 3, 4]"], "matmul(..)", "f32[2, 5, 4]"), 2 * 2 * 5 * 3 * 4);
        let rows = ["f32[10, 3]", "f32[2, 4, 3]", "i32[2]"];
        assert_eq!(of(&rows, "segment_matmul(..) {transposed = false}", "f32[10, 4]"), 2 * 10 * 3 * 4);
        let rows = ["f32[10, 3]", "f32[2, 3, 4]", "i32[2]"];
        assert_eq!(of(&rows, "segment_matmul(..) {transposed = true}", "f32[10, 4]"), 2 * 10 * 3 * 4);
        let outer = ["f32[10, 4]", "f32[10, 3]", "i32[2]"];
        assert_eq!(of(&outer, "segment_outer(..)", "f32[2, 4, 3]"), 2 * 10 * 3 * 4);
        assert_eq!(of(&["f32[5, 3]", "bool[3, 4]"], "bit_matmul(..) {on = 1, off = -1}", "f32[5, 4]"), 2 * 5 * 3 * 4);
    }

    #[test]
    fn bits_count_by_words() {
        assert_eq!(of(&["bool[5, 64]", "bool[4, 64]"], "bit_count(..) {gate = xor}", "i32[5, 4]"), 5 * 4 * 3);
        assert_eq!(of(&["bool[5, 65]", "bool[4, 65]"], "bit_count(..) {gate = xor}", "i32[5, 4]"), 5 * 4 * 3 * 2);
    }

    #[test]
    fn transforms_count_the_butterflies_of_whole_blocks() {
        // 3 x 4 places are two blocks of 4 x 2 (the fourth row is padding): 8 places, 3 halvings, 7 channels.
        let additions = 2 * 8 * 3 * 7;
        let kept = "block = [4, 2], rows = [0, 1], columns = [0, 0], mirror = true";
        assert_eq!(of(&["f32[3, 4, 7]"], &format!("block_wht(..) {{{kept}}}"), "f32[1, 2, 2, 7]"), additions);
        let adjoint = format!("block_wht_t(..) {{grid = [3, 4], {kept}}}");
        assert_eq!(of(&["f32[1, 2, 2, 7]"], &adjoint, "f32[3, 4, 7]"), additions);
    }

    #[test]
    fn scattering_counts_updates_and_moving_counts_nothing() {
        assert_eq!(of(&["i32[6]", "f32[6, 2]"], "scatter_add(..) {rows = 1000}", "f32[1000, 2]"), 6 * 2);
        assert_eq!(of(&["i32[6]"], "histogram(..) {bins = 9}", "i32[9]"), 6);
        assert_eq!(of(&["i32[6]"], "counting_sort(..) {bins = 9}", "i32[6]"), 2 * 6);
        assert_eq!(of(&["f32[1000, 2]", "i32[6]"], "take(..)", "f32[6, 2]"), 0);
        assert_eq!(of(&["f32[6, 2]"], "permute(..) {axes = [1, 0]}", "f32[2, 6]"), 0);
    }

    #[test]
    fn elements_count_once_whatever_is_done_to_them() {
        assert_eq!(of(&["f32[6, 2]"], "exp(..)", "f32[6, 2]"), 12);
        assert_eq!(of(&["f32[6, 2]", "f32[6, 2]"], "add(..)", "f32[6, 2]"), 12);
        assert_eq!(of(&["f32[6, 2]"], "cast(..) {dtype = f64}", "f64[6, 2]"), 12);
        assert_eq!(of(&["f32[6, 2]"], "reduce_sum(..) {axes = [0]}", "f32[1, 2]"), 12);
        assert_eq!(of(&["f32[4, 3]"], "unwindows(..) {axis = 0, length = 6, stride = 1}", "f32[6]"), 12);
    }
}
