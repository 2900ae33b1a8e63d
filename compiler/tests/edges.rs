//! What functions and derivatives give at the edges of their domain, and loops inside of loops, where a wrong number would pass
//! unseen: as machine code and by the interpreter.

use bpc::{State, Tensors, compile_text};
use bpc_runtime::tensor::HostTensor;

/// The outputs of a model without parameters, by both engines.
fn outputs(text: &str, inputs: &Tensors) -> [Tensors; 2] {
    let model = compile_text("edges.bp", text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let interpreted = model.interpret(&mut State::new(0), inputs).unwrap();
    let compiled = model.jit().unwrap().evaluate(&mut State::new(0), inputs).unwrap();
    [interpreted, compiled]
}

fn tensor<T: bpc_runtime::tensor::Number>(values: &[T]) -> HostTensor {
    HostTensor::from_slice([values.len() as u64], values).unwrap()
}

fn assert_gives(outputs: &Tensors, name: &str, wanted: &[f64]) {
    let found = outputs.get(name).unwrap_or_else(|| panic!("no output {name}")).to_f64();
    let same = |(found, wanted): (&f64, &f64)| found == wanted || found.is_nan() && wanted.is_nan();
    let agrees = found.len() == wanted.len() && found.iter().zip(wanted).all(same);
    assert!(agrees, "{name} is {found:?} and should be {wanted:?}");
}

/// A wrong label is seen as NaN, never as the loss of some other class.
#[test]
fn labels_outside_the_range_are_no_number() {
    let text = "
use std.nn { cross_entropy }
model labels {
    in x: f64[B, 3]
    in label: i32[B]
    let table = reshape(x, [B, 3])
    out picked = pick(table, label)
    out loss = cross_entropy(table, label)
    out first = cross_entropy(table[:2], label[:2])
}";
    let x = HostTensor::from_slice([5, 3], &[1.0, 2.0, 3.0].repeat(5)).unwrap();
    let nan = f64::NAN;
    for (labels, wanted) in [
        ([0, 2, 3, 1, 1], [1.0, 3.0, nan, 2.0, 2.0]),
        ([0, 2, -1, 1, 1], [1.0, 3.0, nan, 2.0, 2.0]),
        ([0, 2, i32::MAX, i32::MIN, 1], [1.0, 3.0, nan, nan, 2.0]),
    ] {
        let inputs = Tensors::new().with_tensor("x", x.clone()).with_tensor("label", tensor(&labels));
        for outputs in outputs(text, &inputs) {
            assert_gives(&outputs, "picked", &wanted);
            assert_gives(&outputs, "loss", &[nan]);
            assert!(outputs.scalar("first").unwrap().is_finite());
        }
    }
}

/// 0 ^ b and its derivatives, with exponents that are numbers and exponents that are tensors.
#[test]
fn powers_of_zero_have_the_derivatives_of_the_limit() {
    let text = "
model powers {
    in a: f64[N]
    in b: f64[N]
    let y = pow(a, b)
    out value = y
    out by_a = grad(sum(y), a)
    out by_b = grad(sum(y), b)
    out second = grad(sum(grad(sum(y), a)), a)
    out by_exponent = grad(sum(grad(sum(pow(a + 1, b)), a)), b)
    out square = grad(sum(a ^ 2), a)
    out line = grad(sum(a ^ 1), a)
    out one = grad(sum(a ^ 0), a)
}";
    let exponents = [0.0, 1.0, 2.0, 3.0];
    let inputs = Tensors::new().with_tensor("a", tensor(&[0.0; 4])).with_tensor("b", tensor(&exponents));
    for outputs in outputs(text, &inputs) {
        assert_gives(&outputs, "value", &[1.0, 0.0, 0.0, 0.0]);
        assert_gives(&outputs, "by_a", &[0.0, 1.0, 0.0, 0.0]);
        assert_gives(&outputs, "by_b", &[0.0; 4]);
        assert_gives(&outputs, "second", &[0.0, 0.0, 2.0, 0.0]);
        // (1 + b log 1) 1 ^ (b - 1)
        assert_gives(&outputs, "by_exponent", &[1.0; 4]);
        assert_gives(&outputs, "square", &[0.0; 4]);
        assert_gives(&outputs, "line", &[1.0; 4]);
        assert_gives(&outputs, "one", &[0.0; 4]);
    }
}

/// What an inner loop walks through becomes a carry or a stack of the outer one.
#[test]
fn loops_inside_of_loops_hand_on_what_they_walk_through() {
    let text = "
model nested {
    in x: f64[2]
    let stacked = scan u = x over k in range(2) {
        let v = 2 * u
        let (s, sums) = scan s = zeros([], f64) over e in v { next s = s + e; yield s + e }
        next u = sums
    }
    let (grown, walked) = scan u = x over k in range(2) {
        let v = 2 * u
        let s = scan s = zeros([], f64) over e in v { next s = s + e }
        next u = u + s
        yield v
    }
    let (doubled, total) = scan u = x, t = zeros([], f64) over k in range(2) {
        let v = 2 * u
        let s = scan s = zeros([], f64) over e in v { next s = s + e }
        next u = v
        next t = t + s
    }
    out stacked = stacked
    out grown = grown
    out walked = reshape(walked, [4])
    out doubled = doubled
    out total = reshape(total, [1])
}";
    let inputs = Tensors::new().with_tensor("x", tensor(&[1.0, 2.0]));
    for outputs in outputs(text, &inputs) {
        // 2 u = (2, 4), sums (2, 6); 2 u = (4, 12), sums (4, 16).
        assert_gives(&outputs, "stacked", &[4.0, 16.0]);
        // (2, 4) sums to 6, so that u = (7, 8); (14, 16) to 30.
        assert_gives(&outputs, "grown", &[37.0, 38.0]);
        assert_gives(&outputs, "walked", &[2.0, 4.0, 14.0, 16.0]);
        assert_gives(&outputs, "doubled", &[4.0, 8.0]);
        assert_gives(&outputs, "total", &[18.0]);
    }
}

/// The gradient by a table that is looked up under another shape is the sum of rows under its own.
#[test]
fn rows_are_added_under_the_shape_of_the_look_up() {
    let text = "
model rows {
    in table: f64[2, 3]
    in k: i32[3]
    in weight: f64[3]
    let loss = sum(take(reshape(table, [6]), k) * weight)
    out slope = reshape(grad(loss, table), [2, 3])
}";
    let table = HostTensor::from_slice([2, 3], &[0.0f64; 6]).unwrap();
    let inputs = Tensors::new().with_tensor("table", table).with_tensor("k", tensor(&[1, 1, 5]));
    for outputs in outputs(text, &inputs.with_tensor("weight", tensor(&[1.0, 2.0, 4.0]))) {
        assert_gives(&outputs, "slope", &[0.0, 3.0, 0.0, 0.0, 0.0, 4.0]);
    }
}

/// The memory of results is used again only when the caller has dropped them.
#[test]
fn results_of_earlier_steps_stay() {
    let text = "
model twice {
    in x: f64[B]
    out y = x * 2
}";
    let mut step = compile_text("twice.bp", text, &mut |_| None).unwrap().jit().unwrap();
    let mut state = State::new(0);
    let mut run = |x: &HostTensor| step.evaluate(&mut state, &Tensors::new().with_tensor("x", x.clone())).unwrap();
    let first = run(&tensor(&[1.0, 2.0]));
    assert_gives(&run(&tensor(&[10.0, 20.0])), "y", &[20.0, 40.0]);
    let third = run(first.get("y").unwrap());
    assert_gives(&third, "y", &[4.0, 8.0]);
    assert_gives(&run(third.get("y").unwrap()), "y", &[8.0, 16.0]);
    assert_gives(&first, "y", &[2.0, 4.0]);
    assert_gives(&third, "y", &[4.0, 8.0]);
}

/// The numbers are NumPy's, which rounds quotients down and gives 0 for a divisor of 0.
#[test]
fn quotients_of_whole_numbers_round_down_and_are_0_for_0() {
    let text = "
model quotients {
    in a: i32[N]
    in b: i32[N]
    out quotient = a // b
    out rest = a % b
    out by_zero = a // 0
    out by_two = a // -2
}";
    let inputs = Tensors::new()
        .with_tensor("a", tensor(&[7, -7, 7, -7, 5, -5, 0, i32::MIN, -1]))
        .with_tensor("b", tensor(&[2, 2, -2, -2, 0, 0, 0, -1, 3]));
    for outputs in outputs(text, &inputs) {
        assert_gives(&outputs, "quotient", &[3.0, -4.0, -4.0, 3.0, 0.0, 0.0, 0.0, f64::from(i32::MIN), -1.0]);
        assert_gives(&outputs, "rest", &[1.0, 1.0, -1.0, -1.0, 5.0, -5.0, 0.0, 0.0, 2.0]);
        assert_gives(&outputs, "by_zero", &[0.0; 9]);
        assert_gives(&outputs, "by_two", &[-4.0, 3.0, -4.0, 3.0, -3.0, 2.0, 0.0, 1_073_741_824.0, 0.0]);
    }
}

/// Whole numbers that no double holds, found while the program is compiled. The interpreter rounds them to doubles.
#[test]
fn large_whole_numbers_are_folded_exactly() {
    let text = "
model large {
    in x: i64[N]
    let odd = full([1], 9007199254740993, i64)
    out negated = x + -(-odd)
    out whole = x + odd // 1
    out least = x + abs(full([1], -9223372036854775807, i64) - 1)
    out wrapped = x + sum(full([3], 4000000000000000000, i64))
    out narrow = i32(x) + i32(odd)
    out none = sum(full([0], 1, f32) / 0) + f32(sum(x))
}";
    let inputs = Tensors::new().with_tensor("x", tensor(&[0i64]));
    let model = compile_text("edges.bp", text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let outputs = model.jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap();
    let wrapped = 4_000_000_000_000_000_000i64.wrapping_mul(3);
    for (name, wanted) in
        [("negated", (1 << 53) + 1), ("whole", (1 << 53) + 1), ("least", i64::MIN), ("wrapped", wrapped)]
    {
        assert_eq!(outputs.get(name).unwrap().to_vec::<i64>().unwrap(), [wanted], "{name}");
    }
    assert_gives(&outputs, "narrow", &[1.0]);
    assert_gives(&outputs, "none", &[0.0]);
}
