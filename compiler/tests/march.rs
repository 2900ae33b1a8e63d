//! Loops in time over small states as straight-line code: random bodies by the interpreter, the evaluator and machine code
//! with one, two and three threads; sums over trajectories; what stays a loop over steps.

#[path = "engines/agree.rs"]
mod agree;
mod engines;

use bpc::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, Literal, TensorType};
use bpc::kernel::build;
use bpc::kernel::ir::{March, Program, Step};
use proptest::prelude::*;

/// Numbers of trajectories around the sizes of vectors and of groups.
const PLACES: [u64; 9] = [0, 1, 2, 7, 8, 9, 16, 33, 64];
const LENGTHS: [u64; 4] = [0, 1, 2, 5];

/// A random body: what each operation is and where its operands are.
#[derive(Clone, Debug)]
struct Choice {
    places: u64,
    length: u64,
    reverse: bool,
    dtype: Dtype,
    /// Components of the state.
    size: u64,
    operations: Vec<(usize, usize, usize)>,
    functions: bool,
}

fn choices() -> impl Strategy<Value = Choice> {
    let operations = proptest::collection::vec((0..100usize, 0..100usize, 0..100usize), 1..14);
    let sizes = (0..PLACES.len(), 0..LENGTHS.len(), 1..4u64);
    (sizes, any::<bool>(), any::<bool>(), any::<bool>(), operations).prop_map(
        |((places, length, size), reverse, double, functions, operations)| Choice {
            places: PLACES[places],
            length: LENGTHS[length],
            reverse,
            dtype: if double { Dtype::F64 } else { Dtype::F32 },
            size,
            operations,
            functions,
        },
    )
}

struct Builder {
    region: Region,
    dtype: Dtype,
}

impl Builder {
    fn push(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.region.push(op, operands, Provenance::default()).expect("an operation that fits")
    }

    fn input(&mut self, role: InputRole, name: &str, shape: &[u64]) -> NodeId {
        let ty = TensorType::new(self.dtype, shape);
        self.region.input(role, name, ty, Provenance::default())
    }

    fn constant(&mut self, value: f64, shape: &[u64]) -> NodeId {
        let value = Literal::new(self.dtype, value);
        self.push(Op::Constant { value, shape: shape.to_vec() }, &[])
    }

    fn shape(&self, node: NodeId) -> Vec<u64> {
        self.region.tensor(node).shape.clone()
    }

    /// A row for every trajectory.
    fn rows(&mut self, row: NodeId, places: u64) -> NodeId {
        let size = self.shape(row)[0];
        let one = self.push(Op::Reshape { shape: vec![1, size] }, &[row]);
        self.push(Op::Broadcast { shape: vec![places, size] }, &[one])
    }
}

/// A scan that carries a state and a sum over the trajectories, with a sequence for each trajectory and one for all.
fn graph(choice: &Choice) -> Graph {
    let Choice { places, length, size, dtype, .. } = *choice;
    let state = [places, size];
    let mut body = Builder { region: Region::new("body"), dtype };
    let role = InputRole::Argument;
    let x = body.input(role, "x", &state);
    let sum = body.input(role, "sum", &[size]);
    let time = body.input(role, "time", &[]);
    let own = body.input(role, "own", &state);
    let common = body.input(role, "common", &[size]);
    let weight = body.input(role, "weight", &[size, size]);
    let scale = body.input(role, "scale", &[size]);
    let common_rows = body.rows(common, places);
    let mut pool = vec![x, own, common_rows];
    let mut sums = vec![sum];
    for (operation, first, second) in &choice.operations {
        let (a, b) = (pool[first % pool.len()], pool[second % pool.len()]);
        let half = body.constant(0.5, &state);
        let node = match operation % 15 {
            0 => body.push(Op::Add {}, &[a, b]),
            1 => body.push(Op::Sub {}, &[a, b]),
            2 => {
                let product = body.push(Op::Mul {}, &[a, b]);
                body.push(Op::Mul {}, &[product, half])
            }
            3 => {
                let square = body.push(Op::Mul {}, &[b, b]);
                let one = body.constant(1.0, &state);
                let below = body.push(Op::Add {}, &[one, square]);
                body.push(Op::Div {}, &[a, below])
            }
            4 => body.push(Op::Maximum {}, &[a, b]),
            5 => {
                let less = body.push(Op::Less {}, &[a, b]);
                let other = body.push(Op::Neg {}, &[b]);
                body.push(Op::Select {}, &[less, a, other])
            }
            6 => {
                let row = body.rows(scale, places);
                body.push(Op::Mul {}, &[a, row])
            }
            7 if size > 1 => {
                let front = body.push(Op::Slice { starts: vec![0, 1], stops: vec![places, size] }, &[a]);
                let back = body.push(Op::Slice { starts: vec![0, 0], stops: vec![places, 1] }, &[a]);
                body.push(Op::Concat { axis: 1 }, &[front, back])
            }
            8 => {
                let total = body.push(Op::ReduceSum { axes: vec![1] }, &[a]);
                body.push(Op::Broadcast { shape: state.to_vec() }, &[total])
            }
            9 => {
                let product = body.push(Op::Matmul {}, &[a, weight]);
                body.push(Op::Mul {}, &[product, half])
            }
            10 => {
                // Into the sum, behind linear operations.
                let product = body.push(Op::Mul {}, &[a, b]);
                let total = body.push(Op::ReduceSum { axes: vec![0] }, &[product]);
                let total = body.push(Op::Reshape { shape: vec![size] }, &[total]);
                let total = body.push(Op::Mul {}, &[total, scale]);
                let total = body.push(Op::Neg {}, &[total]);
                let last = *sums.last().expect("the carry is the first");
                sums.push(body.push(Op::Add {}, &[last, total]));
                continue;
            }
            14 if size > 1 => {
                // Into one element of the sum, so that padding and indices stand around it.
                let first = body.push(Op::Slice { starts: vec![0, 1], stops: vec![places, 2] }, &[a]);
                let total = body.push(Op::ReduceSum { axes: vec![0] }, &[first]);
                let total = body.push(Op::Reshape { shape: vec![1] }, &[total]);
                let zero = Literal::new(dtype, 0.0);
                let total = body.push(Op::Neg {}, &[total]);
                let total = body.push(Op::Pad { low: vec![1], high: vec![size - 2], value: zero }, &[total]);
                let last = *sums.last().expect("the carry is the first");
                sums.push(body.push(Op::Add {}, &[last, total]));
                continue;
            }
            11 if size > 1 => {
                let first = body.push(Op::Slice { starts: vec![0, 0], stops: vec![places, 1] }, &[a]);
                let zero = Literal::new(dtype, 0.0);
                let padded = body.push(Op::Pad { low: vec![0, 1], high: vec![0, size - 2], value: zero }, &[first]);
                body.push(Op::Add {}, &[b, padded])
            }
            12 if choice.functions => {
                let sine = body.push(Op::Sin {}, &[a]);
                body.push(Op::Mul {}, &[sine, half])
            }
            13 => {
                let one = body.push(Op::Reshape { shape: vec![1, 1] }, &[time]);
                let all = body.push(Op::Broadcast { shape: state.to_vec() }, &[one]);
                let moved = body.push(Op::Add {}, &[all, a]);
                body.push(Op::Mul {}, &[moved, half])
            }
            _ => body.push(Op::Abs {}, &[a]),
        };
        pool.push(node);
    }
    let quarter = body.constant(0.25, &[]);
    let later = body.push(Op::Add {}, &[time, quarter]);
    let last = *pool.last().expect("the state is the first");
    let half = body.constant(0.5, &state);
    let next = body.push(Op::Mul {}, &[last, half]);
    let total = body.push(Op::ReduceSum { axes: vec![0] }, &[last]);
    let stacks = [x, last, total, time];
    for (name, node) in [("x", next), ("sum", *sums.last().expect("the carry")), ("time", later)] {
        body.region.result(OutputRole::Value, name, node);
    }
    let stack_types = stacks.map(|stack| {
        let shape = [&[length], body.region.tensor(stack).shape.as_slice()].concat();
        TensorType::new(dtype, shape)
    });
    for (index, node) in stacks.into_iter().enumerate() {
        body.region.result(OutputRole::Value, format!("stack{index}"), node);
    }
    let mut graph = Graph::default();
    let body = graph.add(body.region);
    let mut main = Builder { region: Region::new("main"), dtype };
    let data = InputRole::Data;
    let operands = [
        main.input(data, "x", &state),
        main.input(data, "sum", &[size]),
        main.input(data, "time", &[]),
        main.input(data, "own", &[length, places, size]),
        main.input(data, "common", &[length, size]),
        main.input(data, "weight", &[size, size]),
        main.input(data, "scale", &[size]),
    ];
    let op = Op::Scan { carries: 3, sequences: 2, length, reverse: choice.reverse, stacks: stack_types.to_vec(), body };
    let scan = main.push(op, &operands);
    for index in 0..7 {
        let part = main.push(Op::Project { index }, &[scan]);
        main.region.result(OutputRole::Value, format!("part{index}"), part);
    }
    graph.add(main.region);
    graph
}

fn marches(program: &Program) -> Vec<&March> {
    program
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::March(march) => Some(march),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]
    #[test]
    fn random_bodies_become_marches(choice in choices()) {
        let graph = graph(&choice);
        let (program, same_bits) = agree::check(&graph);
        prop_assert!(same_bits || choice.functions, "machine code and evaluator differ");
        let found = marches(&program);
        prop_assert_eq!(found.len(), 1);
        // Where the state has as many components as there are trajectories, the axes cannot be told apart.
        if choice.places > choice.size {
            prop_assert_eq!(&found[0].stage.inner, &[choice.length, choice.places]);
        }
    }
}

/// A choice of these operations, each on the last two nodes.
fn body_of(operations: &[usize], places: u64) -> Choice {
    let operations = operations.iter().map(|operation| (*operation, 0, 0)).collect();
    Choice { places, length: 3, reverse: false, dtype: Dtype::F64, size: 2, operations, functions: true }
}

#[test]
fn a_sum_that_is_used_within_the_turn_is_no_march_of_places() {
    let mut body = Builder { region: Region::new("body"), dtype: Dtype::F64 };
    let x = body.input(InputRole::Argument, "x", &[8]);
    let total = body.push(Op::ReduceSum { axes: vec![0] }, &[x]);
    let all = body.push(Op::Broadcast { shape: vec![8] }, &[total]);
    let half = body.constant(0.125, &[8]);
    let mean = body.push(Op::Mul {}, &[all, half]);
    let next = body.push(Op::Sub {}, &[x, mean]);
    body.region.result(OutputRole::Value, "x", next);
    let mut graph = Graph::default();
    let body = graph.add(body.region);
    let mut main = Builder { region: Region::new("main"), dtype: Dtype::F64 };
    let x = main.input(InputRole::Data, "x", &[8]);
    let op = Op::Scan { carries: 1, sequences: 0, length: 4, reverse: false, stacks: vec![], body };
    let scan = main.push(op, &[x]);
    let last = main.push(Op::Project { index: 0 }, &[scan]);
    main.region.result(OutputRole::Value, "last", last);
    graph.add(main.region);
    let (program, same_bits) = agree::check(&graph);
    assert!(same_bits);
    // All eight numbers are the state of the one trajectory there is.
    assert_eq!(marches(&program)[0].stage.inner, [4, 1]);
    assert_eq!(marches(&program)[0].carries.len(), 8);
}

#[test]
fn a_wide_body_stays_a_loop_over_steps() {
    let choice = Choice { size: 1024, places: 1, ..body_of(&[9], 1) };
    let program = build(&graph(&choice)).expect("builds");
    assert!(marches(&program).is_empty());
    assert!(program.steps.iter().any(|step| matches!(step, Step::Repeat(_))));
}

#[test]
fn functions_are_called_for_the_lanes_of_a_vector() {
    for places in [1, 3, 9] {
        let (program, _) = agree::check(&graph(&body_of(&[12, 10, 12], places)));
        assert_eq!(marches(&program)[0].stage.inner, [3, places]);
    }
}

#[test]
fn what_does_not_depend_on_the_turn_needs_no_carry() {
    let (program, same_bits) = agree::check(&graph(&body_of(&[6, 0], 9)));
    assert!(same_bits);
    // Two components of the state, two sums, the time.
    assert_eq!(marches(&program)[0].carries.len(), 5);
}
