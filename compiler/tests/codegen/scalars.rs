//! Every operation and cast of each dtype over pairs of telling values, by vectors and element by element.
//!
//! Expects: operations that are computed in line.
//! Guarantees: the bits of the same arithmetic in Rust.
//! Leaves out: heavy functions, which the runtime's tests measure.

use crate::case::{Case, assert_bits, load, store, value};
use bpc::codegen::memory::Element;
use bpc::ir::op::Op;
use bpc::ir::types::Dtype;
use bpc::kernel::ir::{Scalar, Stage, ValueId};

const FLOATS: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.7,
    -3.7,
    1e-3,
    1e30,
    -1e30,
    1e10,
    -1e10,
    2147483648.0,
    -2147483649.0,
    4294967296.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    0.1,
    7.0,
];
const INTEGERS: [i64; 12] = [0, 1, -1, 2, -2, 7, -7, 100, i32::MAX as i64, i32::MIN as i64, 3, -50];

/// Runs a map of one or two operands over all pairs of their values.
fn run_map<A: Element, R: Element>(
    op: impl Fn(&mut Stage, ValueId, ValueId) -> ValueId,
    (from, to): (Dtype, Dtype),
    x: &[A],
    y: &[A],
    vector: bool,
) -> Vec<R> {
    let n = x.len() as u64;
    let mut case = Case::new();
    let (x, y) = (case.given(from, &[n], x), case.given(from, &[n], y));
    let out = case.buffer(to, &[n]);
    let mut stage = Stage { inner: vec![n], vector_axis: vector.then_some(0), ..Stage::default() };
    let (x, y) = (load(&mut stage, &case, x, &[1]), load(&mut stage, &case, y, &[1]));
    let result = op(&mut stage, x, y);
    stage.dtypes[result] = Some(to);
    stage.n_inside = stage.values.len() as u32;
    store(&mut stage, out, &[1], result);
    case.nest(&[], vec![stage]);
    case.run(1);
    case.get(out)
}

fn pairs<E: Copy>(values: &[E]) -> (Vec<E>, Vec<E>) {
    values.iter().flat_map(|x| values.iter().map(move |y| (*x, *y))).unzip()
}

macro_rules! float_ops {
    ($name:ident, $ty:ty, $dtype:expr) => {
        #[test]
        fn $name() {
            let (x, y) = pairs(&FLOATS.map(|x| x as $ty));
            let sign = |x: $ty| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            };
            let unary: [(Op, fn($ty) -> $ty); 6] = [
                (Op::Neg {}, |x| -x),
                (Op::Abs {}, |x| x.abs()),
                (Op::Sign {}, sign),
                (Op::Floor {}, |x| x.floor()),
                (Op::Round {}, |x| x.round_ties_even()),
                (Op::Sqrt {}, |x| x.sqrt()),
            ];
            let binary: [(Op, fn($ty, $ty) -> $ty); 6] = [
                (Op::Add {}, |x, y| x + y),
                (Op::Sub {}, |x, y| x - y),
                (Op::Mul {}, |x, y| x * y),
                (Op::Div {}, |x, y| x / y),
                (Op::Maximum {}, |x, y| if x.is_nan() || x >= y { x } else { y }),
                (Op::Minimum {}, |x, y| if x.is_nan() || x <= y { x } else { y }),
            ];
            let compare: [(Op, fn($ty, $ty) -> bool); 3] =
                [(Op::Equal {}, |x, y| x == y), (Op::Less {}, |x, y| x < y), (Op::LessEqual {}, |x, y| x <= y)];
            for vector in [false, true] {
                for (op, f) in &unary {
                    let expected: Vec<$ty> = x.iter().map(|x| f(*x)).collect();
                    let apply = |s: &mut Stage, x, _| s.values.push(Scalar::Unary(op.clone(), x));
                    let found = run_map::<$ty, $ty>(apply, ($dtype, $dtype), &x, &y, vector);
                    assert_bits(op.name(), &found, &expected);
                }
                for (op, f) in &binary {
                    let expected: Vec<$ty> = x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect();
                    let apply = |s: &mut Stage, x, y| s.values.push(Scalar::Binary(op.clone(), x, y));
                    let found = run_map::<$ty, $ty>(apply, ($dtype, $dtype), &x, &y, vector);
                    assert_bits(op.name(), &found, &expected);
                }
                for (op, f) in &compare {
                    let expected: Vec<u8> = x.iter().zip(&y).map(|(x, y)| u8::from(f(*x, *y))).collect();
                    let apply = |s: &mut Stage, x, y| s.values.push(Scalar::Binary(op.clone(), x, y));
                    let found = run_map::<$ty, u8>(apply, ($dtype, Dtype::Bool), &x, &y, vector);
                    assert_bits(op.name(), &found, &expected);
                    let chosen: Vec<$ty> = x.iter().zip(&y).map(|(x, y)| if f(*x, *y) { *x } else { *y }).collect();
                    let apply = |s: &mut Stage, x, y| {
                        let condition = value(s, Dtype::Bool, Scalar::Binary(op.clone(), x, y));
                        s.values.push(Scalar::Select(condition, x, y))
                    };
                    let found = run_map::<$ty, $ty>(apply, ($dtype, $dtype), &x, &y, vector);
                    assert_bits("select", &found, &chosen);
                }
            }
        }
    };
}
float_ops!(f32_operations, f32, Dtype::F32);
float_ops!(f64_operations, f64, Dtype::F64);

macro_rules! integer_ops {
    ($name:ident, $ty:ty, $dtype:expr) => {
        #[test]
        fn $name() {
            let mut values = INTEGERS.map(|x| x as $ty).to_vec();
            values.extend([<$ty>::MAX, <$ty>::MIN]);
            let (x, y) = pairs(&values);
            let binary: [(Op, fn($ty, $ty) -> $ty); 6] = [
                (Op::Add {}, |x, y| x.wrapping_add(y)),
                (Op::Sub {}, |x, y| x.wrapping_sub(y)),
                (Op::Mul {}, |x, y| x.wrapping_mul(y)),
                (Op::Div {}, |x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
                (Op::Maximum {}, |x, y| x.max(y)),
                (Op::Minimum {}, |x, y| x.min(y)),
            ];
            let compare: [(Op, fn($ty, $ty) -> bool); 3] =
                [(Op::Equal {}, |x, y| x == y), (Op::Less {}, |x, y| x < y), (Op::LessEqual {}, |x, y| x <= y)];
            for vector in [false, true] {
                for (op, f) in &binary {
                    let expected: Vec<$ty> = x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect();
                    let apply = |s: &mut Stage, x, y| s.values.push(Scalar::Binary(op.clone(), x, y));
                    let found = run_map::<$ty, $ty>(apply, ($dtype, $dtype), &x, &y, vector);
                    assert_bits(op.name(), &found, &expected);
                }
                for (op, f) in &compare {
                    let expected: Vec<u8> = x.iter().zip(&y).map(|(x, y)| u8::from(f(*x, *y))).collect();
                    let apply = |s: &mut Stage, x, y| s.values.push(Scalar::Binary(op.clone(), x, y));
                    let found = run_map::<$ty, u8>(apply, ($dtype, Dtype::Bool), &x, &y, vector);
                    assert_bits(op.name(), &found, &expected);
                }
            }
        }
    };
}
integer_ops!(i32_operations, i32, Dtype::I32);
integer_ops!(i64_operations, i64, Dtype::I64);
integer_ops!(u32_operations, u32, Dtype::U32);

#[test]
fn unary_operations_of_whole_numbers() {
    let x = [i32::MIN, -7, -1, 0, 1, 7, i32::MAX];
    for vector in [false, true] {
        let run = |op: Op| {
            let apply = |s: &mut Stage, x, _| s.values.push(Scalar::Unary(op.clone(), x));
            run_map::<i32, i32>(apply, (Dtype::I32, Dtype::I32), &x, &x, vector)
        };
        assert_bits("neg", &run(Op::Neg {}), &x.map(i32::wrapping_neg));
        assert_bits("abs", &run(Op::Abs {}), &x.map(i32::wrapping_abs));
        assert_bits("sign", &run(Op::Sign {}), &x.map(i32::signum));
    }
}

#[test]
fn bool_operations() {
    let (x, y): (Vec<u8>, Vec<u8>) = (0..70u8).map(|i| (i / 2 % 2, i / 3 % 2)).unzip();
    type Meaning = fn(u8, u8) -> u8;
    let binary: [(Op, Meaning); 6] = [
        (Op::And {}, |x, y| x & y),
        (Op::Or {}, |x, y| x | y),
        (Op::Xor {}, |x, y| x ^ y),
        (Op::Equal {}, |x, y| u8::from(x == y)),
        (Op::Less {}, |x, y| u8::from(x < y)),
        (Op::LessEqual {}, |x, y| u8::from(x <= y)),
    ];
    for vector in [false, true] {
        for (op, f) in &binary {
            let expected: Vec<u8> = x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect();
            let apply = |s: &mut Stage, x, y| s.values.push(Scalar::Binary(op.clone(), x, y));
            let found = run_map::<u8, u8>(apply, (Dtype::Bool, Dtype::Bool), &x, &y, vector);
            assert_bits(op.name(), &found, &expected);
        }
        let expected: Vec<u8> = x.iter().map(|x| 1 - x).collect();
        let apply = |s: &mut Stage, x, _| s.values.push(Scalar::Unary(Op::Not {}, x));
        assert_bits("not", &run_map::<u8, u8>(apply, (Dtype::Bool, Dtype::Bool), &x, &y, vector), &expected);
    }
}

macro_rules! casts {
    ($values:expr, $from:ty, $from_dtype:expr, $($to:ty, $to_dtype:expr, $f:expr);*) => {{
        let x: Vec<$from> = $values;
        $(for vector in [false, true] {
            let f: fn($from) -> $to = $f;
            let expected: Vec<$to> = x.iter().map(|x| f(*x)).collect();
            let apply = |s: &mut Stage, x, _| s.values.push(Scalar::Cast(x, $to_dtype));
            let found = run_map::<$from, $to>(apply, ($from_dtype, $to_dtype), &x, &x, vector);
            assert_bits(&format!("{} to {}", $from_dtype, $to_dtype), &found, &expected);
        })*
    }};
}

#[test]
fn casts_between_all_dtypes() {
    use Dtype::{Bool, F32, F64, I32, I64, U32};
    let integers = || INTEGERS.to_vec();
    casts!(FLOATS.map(|x| x as f32).to_vec(), f32, F32, f64, F64, f64::from; i32, I32, |x| x as i32;
        i64, I64, |x| x as i64; u32, U32, |x| x as u32; u8, Bool, |x| u8::from(x != 0.0));
    casts!(FLOATS.to_vec(), f64, F64, f32, F32, |x| x as f32; i32, I32, |x| x as i32;
        i64, I64, |x| x as i64; u32, U32, |x| x as u32; u8, Bool, |x| u8::from(x != 0.0));
    casts!(integers().iter().map(|x| *x as i32).collect(), i32, I32, f32, F32, |x| x as f32; f64, F64, f64::from;
        i64, I64, i64::from; u32, U32, |x| x as u32; u8, Bool, |x| u8::from(x != 0));
    casts!(integers().iter().map(|x| x.wrapping_mul(0x1_0000_0001)).collect(), i64, I64, f32, F32, |x| x as f32;
        f64, F64, |x| x as f64; i32, I32, |x| x as i32; u32, U32, |x| x as u32; u8, Bool, |x| u8::from(x != 0));
    casts!(integers().iter().map(|x| *x as u32).collect(), u32, U32, f32, F32, |x| x as f32; f64, F64, f64::from;
        i64, I64, i64::from; i32, I32, |x| x as i32; u8, Bool, |x| u8::from(x != 0));
    casts!(vec![0, 1, 1, 0, 1, 0, 0], u8, Bool, f32, F32, f32::from; f64, F64, f64::from; i32, I32, i32::from;
        i64, I64, i64::from; u32, U32, u32::from);
}
