//! Hand-built kernel programs run by the Cranelift backend, against the same arithmetic written in Rust.

mod engines;

use bpc::codegen::backend::Backend;
use bpc::codegen::cranelift::{Jit, asm, clif, object};
use bpc::codegen::jit::{AlignedBytes, Element};
use bpc::ir::graph::Graph;
use bpc::ir::op::{Op, OpClass};
use bpc::ir::text::parse;
use bpc::ir::types::{Dtype, Literal, TensorType};
use bpc::ir::verify::verify_expanded;
use bpc::kernel::build;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::*;
use engines::run_code;

/// A program in the making, with its memory.
struct Case {
    program: Program,
    workspace: AlignedBytes,
}

/// Bit-exact comparison.
trait Bits: Element + std::fmt::Debug {
    fn bits(self) -> u64;
}
impl Bits for f32 {
    fn bits(self) -> u64 {
        // All NaNs are one NaN here.
        if self.is_nan() { u64::MAX } else { u64::from(self.to_bits()) }
    }
}
impl Bits for f64 {
    fn bits(self) -> u64 {
        if self.is_nan() { u64::MAX } else { self.to_bits() }
    }
}
macro_rules! bits {
    ($($ty:ty)*) => { $(impl Bits for $ty { fn bits(self) -> u64 { self as u64 } })* };
}
bits!(i32 i64 u32 u8);

impl Case {
    fn new() -> Case {
        Case { program: Program { name: "case".into(), ..Program::default() }, workspace: AlignedBytes::zeros(1 << 20) }
    }

    fn buffer(&mut self, dtype: Dtype, shape: &[u64]) -> BufferId {
        let ty = TensorType::new(dtype, shape);
        let place = Place::Workspace(self.program.workspace_bytes);
        self.program.workspace_bytes += ty.bytes().next_multiple_of(64);
        assert!(self.program.workspace_bytes <= 1 << 20);
        self.program.buffers.push(Buffer { name: String::new(), ty, role: BufferRole::Temporary, place })
    }

    fn offset(&self, buffer: BufferId) -> (usize, usize) {
        let Place::Workspace(offset) = self.program.buffers[buffer].place else { panic!("not in the workspace") };
        (offset as usize, self.program.buffers[buffer].ty.elements() as usize)
    }

    fn given<E: Element>(&mut self, dtype: Dtype, shape: &[u64], values: &[E]) -> BufferId {
        let buffer = self.buffer(dtype, shape);
        self.set(buffer, values);
        buffer
    }

    fn set<E: Element>(&mut self, buffer: BufferId, values: &[E]) {
        let (offset, count) = self.offset(buffer);
        self.workspace.elements_mut(offset, count).copy_from_slice(values);
    }

    fn get<E: Element>(&self, buffer: BufferId) -> Vec<E> {
        let (offset, count) = self.offset(buffer);
        self.workspace.elements(offset, count).to_vec()
    }

    fn nest(&mut self, outer: &[u64], stages: Vec<Stage>) {
        let nest = Nest { name: "nest".into(), outer: outer.to_vec(), stages, scratch_bytes: 0 };
        self.program.steps.push(Step::Nest(nest));
    }

    fn run(&mut self, threads: usize) {
        let step = Jit.compile(&self.program).expect("compiles");
        let context = step.context(threads);
        step.run(&context, &mut AlignedBytes::zeros(self.program.state_bytes as usize), &mut self.workspace);
    }
}

fn value(stage: &mut Stage, dtype: Dtype, scalar: Scalar) -> ValueId {
    let id = stage.values.push(scalar);
    stage.dtypes[id] = Some(dtype);
    id
}

fn map(strides: &[i64]) -> AffineMap {
    AffineMap { offset: 0, strides: strides.to_vec() }
}

fn load(stage: &mut Stage, case: &Case, buffer: BufferId, strides: &[i64]) -> ValueId {
    let dtype = case.program.buffers[buffer].ty.dtype;
    let otherwise = Literal::new(dtype, 0.0);
    value(stage, dtype, Scalar::Load { buffer, map: map(strides), guards: Vec::new(), otherwise })
}

fn store(stage: &mut Stage, buffer: BufferId, strides: &[i64], value: ValueId) {
    stage.stores.push(Store { buffer, map: map(strides), value });
}

fn assert_bits<E: Bits>(what: &str, found: &[E], expected: &[E]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.bits(), expected.bits(), "{what} at {place}: {found:?} is not {expected:?}");
    }
}

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

#[test]
fn listings_and_object() {
    let mut case = Case::new();
    let (x, out) = (case.buffer(Dtype::F32, &[5]), case.buffer(Dtype::F32, &[5]));
    let mut stage = Stage { inner: vec![5], vector_axis: Some(0), ..Stage::default() };
    let x = load(&mut stage, &case, x, &[1]);
    let y = value(&mut stage, Dtype::F32, Scalar::Unary(Op::Exp {}, x));
    store(&mut stage, out, &[1], y);
    stage.n_inside = 2;
    case.nest(&[], vec![stage]);
    case.program.name = "two words".into();
    let clif = clif(&case.program).unwrap();
    assert!(clif.contains("; bpc_two_words_0_nest") && clif.contains("; bpc_step_two_words"), "{clif}");
    let asm = asm(&case.program).unwrap();
    assert!(asm.contains("; bpc_step_two_words") && asm.contains("ret"), "{asm}");
    let object = object(&case.program).unwrap();
    let has = |name: &str| object.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("bpc_step_two_words") && has("bpc_exp_f32") && has("bpc_scratch"));
}

/// Sums rows and columns of a matrix, and finds the largest place of each row.
#[test]
fn reductions_in_their_order() {
    for n in [0u64, 1, 2, 5, 15, 16, 17, 31, 33, 64, 70, 530] {
        let x: Vec<f32> = (0..3 * n).map(|i| (i as f32 * 0.7).sin() * 10f32.powi(i as i32 % 7 - 3)).collect();
        let mut case = Case::new();
        let buffer = case.given(Dtype::F32, &[3, n], &x);
        let (interleaved, serial, columns) =
            (case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[n]));
        let (largest, smallest, place) =
            (case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::I32, &[3]));
        let rows = |case: &Case, out: BufferId, kind: ReductionKind, vector_axis: Option<u32>| {
            let mut stage = Stage { inner: vec![3], reduced: vec![n], vector_axis, n_inside: 1, ..Stage::default() };
            let x = load(&mut stage, case, buffer, &[n as i64, 1]);
            stage.reductions.push(Reduction { kind, value: x });
            let dtype = case.program.buffers[out].ty.dtype;
            let sum = value(&mut stage, dtype, Scalar::Reduced(0));
            store(&mut stage, out, &[1, 0], sum);
            stage
        };
        let mut column = Stage { inner: vec![n], reduced: vec![3], n_inside: 1, ..Stage::default() };
        column.vector_axis = Some(0);
        let value_of = load(&mut column, &case, buffer, &[1, n as i64]);
        column.reductions.push(Reduction { kind: ReductionKind::Sum, value: value_of });
        let sum = value(&mut column, Dtype::F32, Scalar::Reduced(0));
        store(&mut column, columns, &[1, 0], sum);
        for (stage, _) in [
            (rows(&case, interleaved, ReductionKind::Sum, Some(1)), 0),
            (rows(&case, serial, ReductionKind::Sum, None), 0),
            (rows(&case, largest, ReductionKind::Max, Some(1)), 0),
            (rows(&case, smallest, ReductionKind::Min, Some(1)), 0),
            (rows(&case, place, ReductionKind::Argmax, None), 0),
            (column, 0),
        ] {
            case.nest(&[], vec![stage]);
        }
        case.run(1);
        let n = n as usize;
        let row = |r: usize| &x[r * n..(r + 1) * n];
        let lanes = |r: usize| {
            let mut lanes = [0f32; 16];
            row(r).iter().enumerate().for_each(|(i, x)| lanes[i % 16] += x);
            for half in [8, 4, 2, 1] {
                (0..half).for_each(|lane| lanes[lane] += lanes[lane + half]);
            }
            lanes[0]
        };
        let every = |f: &dyn Fn(usize) -> f32| (0..3).map(f).collect::<Vec<f32>>();
        assert_bits("interleaved sum", &case.get(interleaved), &every(&lanes));
        assert_bits("serial sum", &case.get(serial), &every(&|r| row(r).iter().fold(0.0, |sum, x| sum + x)));
        assert_bits(
            "largest",
            &case.get(largest),
            &every(&|r| row(r).iter().copied().fold(f32::NEG_INFINITY, f32::max)),
        );
        assert_bits("smallest", &case.get(smallest), &every(&|r| row(r).iter().copied().fold(f32::INFINITY, f32::min)));
        let first_largest = |r: usize| (0..n).fold(0, |best, i| if row(r)[i] > row(r)[best] { i } else { best }) as i32;
        assert_bits("argmax", &case.get(place), &(0..3).map(first_largest).collect::<Vec<i32>>());
        let column = |c: usize| (0..3).fold(0f32, |sum, r| sum + x[r * n + c]);
        assert_bits("column sum", &case.get(columns), &(0..n).map(column).collect::<Vec<f32>>());
    }
}

/// A small generator of numbers, so that cases are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn floats(&mut self, n: u64) -> Vec<f64> {
        (0..n).map(|_| (self.below(4001) as f64 - 2000.0) / 300.0).collect()
    }
}

/// A stage with every kind of scalar over loops of the given sizes; `apart` adds a value of another width, which makes
/// the backend go element by element.
fn random_case(seed: u64, apart: bool) -> (Case, Vec<BufferId>) {
    let mut numbers = Numbers(seed);
    let mut case = Case::new();
    let double = numbers.below(3) == 0;
    let (float, whole) =
        if double { (Dtype::F64, Dtype::I64) } else { (Dtype::F32, numbers.pick(&[Dtype::I32, Dtype::U32])) };
    let long = numbers.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 65, 70, 512, 513, 700, 1100]);
    let short = numbers.pick(&[1, 2, 3]);
    let outer = if numbers.below(2) == 0 { vec![] } else { vec![2] };
    let shape = numbers.below(4);
    let (inner, reduced) = match shape {
        0 => (vec![long], vec![]),
        1 => (vec![short, long], vec![]),
        2 => (vec![short], vec![2, long]),
        _ => (vec![short, long], vec![3]),
    };
    let axis = match shape {
        0 => outer.len(),
        1 | 3 => outer.len() + 1,
        _ => outer.len() + 2,
    };
    let sizes: Vec<u64> = outer.iter().chain(&inner).chain(&reduced).copied().collect();
    let mut stage = Stage { inner, reduced, vector_axis: Some(axis as u32), ..Stage::default() };
    let table_rows = 5;
    let elements = sizes.iter().product::<u64>().max(1) * 3 + 64;
    let values = numbers.floats(elements);
    let data = if double {
        case.given(float, &[elements], &values)
    } else {
        case.given(float, &[elements], &values.iter().map(|x| *x as f32).collect::<Vec<f32>>())
    };
    let wholes: Vec<i64> =
        (0..elements).map(|_| numbers.below(20) as i64 - if whole == Dtype::U32 { 0 } else { 5 }).collect();
    let counts = if double {
        case.given(whole, &[elements], &wholes)
    } else {
        case.given(whole, &[elements], &wholes.iter().map(|x| *x as i32).collect::<Vec<i32>>())
    };
    let flags =
        case.given(Dtype::Bool, &[elements], &(0..elements).map(|_| numbers.below(2) as u8).collect::<Vec<u8>>());
    let rows: Vec<i32> = (0..elements).map(|_| numbers.below(table_rows + 2) as i32 - 1).collect();
    let rows = case.given(Dtype::I32, &[elements], &rows);
    let seed_buffer = case.given(Dtype::U32, &[2], &[7u32, 9]);
    let step = case.given(Dtype::I32, &[], &[3i32]);

    // Row-major, column-major, every second, backwards, or the same along the vector axis.
    let dense: Vec<i64> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product::<u64>() as i64).collect();
    let affine = |numbers: &mut Numbers| {
        let mut map = AffineMap { offset: 0, strides: dense.clone() };
        match numbers.below(6) {
            0 => map.strides[axis] = 0,
            1 => map.strides.iter_mut().for_each(|stride| *stride *= 2),
            2 => {
                map.offset = map.strides.iter().zip(&sizes).map(|(s, n)| s * (n.max(&1) - 1) as i64).sum();
                map.strides.iter_mut().for_each(|stride| *stride = -*stride);
            }
            3 => map.offset = 5,
            _ => {}
        }
        map
    };
    let mut floats = Vec::new();
    let mut integers = Vec::new();
    let mut bools = Vec::new();
    for _ in 0..3 {
        let map = affine(&mut numbers);
        let mut guards = Vec::new();
        if numbers.below(3) == 0 {
            let along = numbers.below(sizes.len() as u64) as usize;
            let mut guard = AffineMap { offset: -1, strides: vec![0; sizes.len()] };
            guard.strides[along] = 1;
            guards.push(Guard { map: guard, low: 1, high: (sizes[along] as i64 - 2).max(1) });
        }
        let load = |buffer, dtype, guards: &Vec<Guard>| Scalar::Load {
            buffer,
            map: map.clone(),
            guards: guards.clone(),
            otherwise: Literal::new(dtype, 1.0),
        };
        floats.push(value(&mut stage, float, load(data, float, &guards)));
        integers.push(value(&mut stage, whole, load(counts, whole, &guards)));
        bools.push(value(&mut stage, Dtype::Bool, load(flags, Dtype::Bool, &guards)));
    }
    floats.push(value(&mut stage, float, Scalar::Literal(Literal::new(float, 0.75))));
    let map = affine(&mut numbers);
    integers.push(value(&mut stage, whole, Scalar::Index { map: map.clone(), dtype: whole }));
    floats.push(value(&mut stage, float, Scalar::Index { map, dtype: float }));
    if numbers.below(2) == 0 {
        let normal = numbers.below(2) == 0;
        let map = AffineMap { offset: 3, strides: dense.clone() };
        let random = Scalar::Random { normal, site: 11, seed: seed_buffer, step, map, dtype: float };
        floats.push(value(&mut stage, float, random));
    }
    if numbers.below(2) == 0 {
        let mut map = affine(&mut numbers);
        if double {
            map.strides[axis] = 0;
        }
        let otherwise = Literal::new(Dtype::I32, 0.0);
        let index = value(&mut stage, Dtype::I32, Scalar::Load { buffer: rows, map, guards: vec![], otherwise });
        let mut map = AffineMap { offset: 1, strides: vec![0; sizes.len()] };
        map.strides[axis] = numbers.pick(&[0, 1]);
        let gather = Scalar::Gather { buffer: data, index, rows: table_rows, row_stride: 10, map };
        floats.push(value(&mut stage, float, gather));
    }
    for _ in 0..numbers.below(25) {
        let (x, y) = (numbers.pick(&floats), numbers.pick(&floats));
        let (i, j) = (numbers.pick(&integers), numbers.pick(&integers));
        let (p, q) = (numbers.pick(&bools), numbers.pick(&bools));
        let unary = [Op::Neg {}, Op::Abs {}, Op::Sign {}, Op::Floor {}, Op::Round {}, Op::Sqrt {}];
        let heavy =
            [Op::Exp {}, Op::Expm1 {}, Op::Log {}, Op::Log1p {}, Op::Sin {}, Op::Cos {}, Op::Tanh {}, Op::Erf {}];
        let binary = [Op::Add {}, Op::Sub {}, Op::Mul {}, Op::Div {}, Op::Maximum {}, Op::Minimum {}];
        let compare = [Op::Equal {}, Op::Less {}, Op::LessEqual {}];
        let logic = [Op::And {}, Op::Or {}, Op::Xor {}];
        let any = |numbers: &mut Numbers, ops: &[Op]| ops[numbers.below(ops.len() as u64) as usize].clone();
        match numbers.below(14) {
            0 | 1 => floats.push(value(&mut stage, float, Scalar::Unary(any(&mut numbers, &unary), x))),
            2 | 3 => floats.push(value(&mut stage, float, Scalar::Unary(any(&mut numbers, &heavy), x))),
            4 | 5 => floats.push(value(&mut stage, float, Scalar::Binary(any(&mut numbers, &binary), x, y))),
            6 => floats.push(value(&mut stage, float, Scalar::Binary(Op::Pow {}, x, y))),
            7 => integers.push(value(&mut stage, whole, Scalar::Binary(any(&mut numbers, &binary), i, j))),
            8 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &compare), x, y))),
            9 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &compare), i, j))),
            10 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &logic), p, q))),
            11 => floats.push(value(&mut stage, float, Scalar::Select(p, x, y))),
            12 => floats.push(value(&mut stage, float, Scalar::Cast(numbers.pick(&[i, p]), float))),
            _ => integers.push(value(&mut stage, whole, Scalar::Cast(numbers.pick(&[x, p]), whole))),
        }
    }
    let mut results = vec![
        (*floats.last().unwrap(), float),
        (numbers.pick(&floats), float),
        (*integers.last().unwrap(), whole),
        (*bools.last().unwrap(), Dtype::Bool),
    ];
    let other = if double { Dtype::F32 } else { Dtype::F64 };
    let apart = apart.then(|| (value(&mut stage, other, Scalar::Literal(Literal::new(other, 1.0))), other));
    stage.n_inside = stage.values.len() as u32;
    if !stage.reduced.is_empty() {
        let kinds = [ReductionKind::Sum, ReductionKind::Max, ReductionKind::Min];
        let mut after = Vec::new();
        for (result, dtype) in results.iter().take(3) {
            let index = stage.reductions.len() as u32;
            stage.reductions.push(Reduction { kind: numbers.pick(&kinds), value: *result });
            after.push((value(&mut stage, *dtype, Scalar::Reduced(index)), *dtype));
        }
        let tanh = value(&mut stage, float, Scalar::Unary(Op::Tanh {}, after[0].0));
        after.push((value(&mut stage, float, Scalar::Binary(Op::Mul {}, tanh, after[1].0)), float));
        results = after;
    }
    if let Some((constant, other)) = apart {
        if stage.reductions.is_empty() {
            results.push((constant, other));
        } else {
            let index = stage.reductions.len() as u32;
            stage.reductions.push(Reduction { kind: ReductionKind::Sum, value: constant });
            results.push((value(&mut stage, other, Scalar::Reduced(index)), other));
        }
    }
    let n_kept = outer.len() + stage.inner.len();
    let mut outputs = Vec::new();
    let by_row = numbers.below(4) > 0;
    for (result, dtype) in results {
        let mut strides: Vec<i64> =
            (0..n_kept).map(|axis| sizes[axis + 1..n_kept].iter().product::<u64>() as i64).collect();
        if !by_row {
            // Transposed: the first axis is the fastest.
            strides = (0..n_kept).map(|axis| sizes[..axis].iter().product::<u64>() as i64).collect();
        }
        strides.resize(sizes.len(), 0);
        let buffer = case.buffer(dtype, &sizes[..n_kept]);
        store(&mut stage, buffer, &strides, result);
        outputs.push(buffer);
    }
    case.nest(&outer, vec![stage]);
    (case, outputs)
}

/// The bits of the first outputs; those of a NaN are one.
fn outputs(case: &Case, outputs: &[BufferId]) -> Vec<Vec<u64>> {
    let bits = |buffer: &BufferId| match case.program.buffers[*buffer].ty.dtype {
        Dtype::F32 => case.get::<f32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::F64 => case.get::<f64>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::I32 => case.get::<i32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::I64 => case.get::<i64>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::U32 => case.get::<u32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::Bool => case.get::<u8>(*buffer).into_iter().map(Bits::bits).collect(),
    };
    outputs.iter().take(4).map(bits).collect()
}

#[test]
fn vectors_give_the_bits_of_single_elements() {
    let mut by_vectors = 0;
    for seed in 0..200 {
        let (mut vectors, found) = random_case(seed, false);
        vectors.run(1);
        let (mut single, expected) = random_case(seed, true);
        single.run(1);
        let (found, expected) = (outputs(&vectors, &found), outputs(&single, &expected));
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let place = found.iter().zip(expected).position(|(x, y)| x != y);
            assert_eq!(place, None, "case {seed}, output {number}: {:#?}", vectors.program.steps);
        }
        let is_vector = |case: &Case| clif(&case.program).is_ok_and(|text| text.contains("splat"));
        by_vectors += usize::from(is_vector(&vectors));
        assert!(!is_vector(&single), "case {seed} was meant to go element by element");
        // Nothing but the outputs changed.
        let (untouched, _) = random_case(seed, false);
        let end =
            untouched.program.buffers.values().take(6).map(|b| b.ty.bytes().next_multiple_of(64)).sum::<u64>() as usize;
        assert!(untouched.workspace.elements::<u8>(0, end) == vectors.workspace.elements::<u8>(0, end), "case {seed}");
    }
    assert!(by_vectors > 150, "{by_vectors} of 200 cases used vectors");
}

/// Runs the program of a graph by both engines on the same numbers; the bound is 0 where both compute alike.
fn compare_engines(name: &str, graph: &Graph) {
    let program = build(graph).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut blocks = Blocks::new(&program);
    let mut numbers = Numbers(1);
    for (id, buffer) in &program.buffers {
        if matches!(buffer.role, BufferRole::Parameter | BufferRole::State | BufferRole::Data) {
            let elements = buffer.ty.elements();
            let data = if buffer.ty.dtype.is_float() {
                numbers.floats(elements)
            } else {
                (0..elements).map(|_| numbers.below(2) as f64).collect()
            };
            blocks.set(&program, id, &data);
        }
    }
    let differs = |op: &Op| {
        !matches!(op, Op::Sqrt {} | Op::Neg {} | Op::Abs {} | Op::Sign {} | Op::Floor {} | Op::Round {} | Op::Not {})
    };
    let nodes = || graph.regions.values().flat_map(|region| region.nodes.values());
    let inexact = nodes().any(|node| {
        matches!(node.op, Op::Matmul {} | Op::Pow {})
            || matches!(node.op.class(), OpClass::Unary(_)) && differs(&node.op)
    });
    let mut code = run_code(&program, &blocks);
    evaluate(&program, &mut blocks);
    for (id, buffer) in &program.buffers {
        if !matches!(buffer.role, BufferRole::Parameter | BufferRole::State | BufferRole::Output) {
            continue;
        }
        let (found, expected) = (code.get(&program, id), blocks.get(&program, id));
        let largest = expected.iter().filter(|x| x.is_finite()).fold(1.0f64, |most, x| most.max(x.abs()));
        let bound = match (inexact, buffer.ty.dtype) {
            (false, _) => 0.0,
            (true, Dtype::F32) => 1e-5 * largest,
            (true, _) => 1e-12 * largest,
        };
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found == expected || found.is_nan() && expected.is_nan() || (found - expected).abs() <= bound;
            assert!(same, "{name}: {} at {place}: {found} and not {expected}", buffer.name);
        }
    }
}

/// Every graph of the file tests that can run.
#[test]
fn graphs_of_the_file_tests() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut graphs = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("; test run") {
            continue;
        }
        for case in text.split("; case:").filter(|case| case.contains("region ")) {
            let name = format!("{}: {}", path.display(), case.lines().next().unwrap_or(""));
            let graph = parse(&format!("; {case}")).unwrap_or_else(|error| panic!("{name}: {error}"));
            if verify_expanded(&graph).is_ok() {
                compare_engines(&name, &graph);
                graphs += 1;
            }
        }
    }
    assert!(graphs > 20, "{graphs} graphs ran");
}

#[test]
fn whole_numbers_are_scattered() {
    let mut case = Case::new();
    let indices = case.given(Dtype::I32, &[5], &[1i32, -1, 0, 1, 2]);
    let updates = case.given(Dtype::I32, &[5, 2], &[1i32, 2, 3, 4, i32::MAX, 6, 7, 8, 9, 10]);
    let narrow = case.given(Dtype::I32, &[2, 2], &[-1i32; 4]);
    let wide_updates = case.given(Dtype::I64, &[5], &[1i64 << 40, 5, -3, 1, 9]);
    let wide = case.given(Dtype::I64, &[3], &[-1i64; 3]);
    case.program.steps.push(Step::ScatterAdd { indices, updates, target: narrow });
    case.program.steps.push(Step::ScatterAdd { indices, updates: wide_updates, target: wide });
    case.run(1);
    assert_bits("i32", &case.get(narrow), &[i32::MAX, 6, 8, 10]);
    assert_bits("i64", &case.get(wide), &[-3i64, (1 << 40) + 1, 9]);
}
