//! Laws of the graph IR on random graphs: printing and reading, verifying, pruning, inlining and running agree.

use bpc::ir::copy::{inline, prune};
use bpc::ir::dot::dot;
use bpc::ir::graph::{Graph, InputRole, NodeId, OutputRole, Provenance, Region};
use bpc::ir::interpret::{Tensor, run};
use bpc::ir::op::Op;
use bpc::ir::text::{parse, print};
use bpc::ir::types::{Dtype, Literal, TensorType, Type};
use bpc::ir::verify::verify;
use bpc::ir::view::View;
use petgraph::visit::{EdgeRef, IntoEdgeReferences};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What one random node is made of: an operation, two or three operands, and numbers for attributes.
type Choice = (usize, [usize; 3], [u64; 4]);

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    proptest::collection::vec((0..1000usize, [0..1000usize, 0..1000, 0..1000], [0..8u64, 0..8, 0..8, 0..8]), 1..60)
}

const TYPES: [(Dtype, &[u64]); 8] = [
    (Dtype::F64, &[2, 3]),
    (Dtype::F64, &[3, 2]),
    (Dtype::F32, &[3]),
    (Dtype::I32, &[2, 3]),
    (Dtype::U32, &[2]),
    (Dtype::I64, &[]),
    (Dtype::Bool, &[2, 3]),
    (Dtype::F32, &[0, 2]),
];

/// An operation that may fit operands of which the first has this type.
fn operation(choice: usize, ty: &TensorType, numbers: [u64; 4]) -> Op {
    let rank = ty.rank().max(1) as u64;
    let axis = (numbers[0] % rank) as u32;
    let each = |number: u64| vec![number; ty.rank()];
    let number = numbers[1] as f64 - 3.5;
    let table = [
        Op::Constant { value: Literal::new(ty.dtype, number), shape: ty.shape.clone() },
        Op::Iota { axis, ty: ty.clone() },
        Op::Random { normal: numbers[1] > 3, site: "a.b".to_string(), ty: TensorType::new(Dtype::F32, [numbers[0]]) },
        Op::Neg {},
        Op::Abs {},
        Op::Sign {},
        Op::Floor {},
        Op::Exp {},
        Op::Tanh {},
        Op::Not {},
        Op::Add {},
        Op::Sub {},
        Op::Mul {},
        Op::Div {},
        Op::Maximum {},
        Op::Less {},
        Op::Equal {},
        Op::Xor {},
        Op::Select {},
        Op::Cast { dtype: Dtype::ALL[numbers[0] as usize % 6] },
        Op::Reshape { shape: vec![ty.elements(), 1] },
        Op::Permute { axes: (0..ty.rank() as u32).rev().collect() },
        Op::Broadcast { shape: ty.shape.iter().map(|size| if *size == 1 { numbers[0] } else { *size }).collect() },
        Op::Slice {
            starts: each(numbers[0] % 2),
            stops: ty.shape.iter().map(|size| size.saturating_sub(numbers[1] % 2)).collect(),
        },
        Op::Pad { low: each(numbers[0] % 2), high: each(numbers[2] % 3), value: Literal::new(ty.dtype, number) },
        Op::Concat { axis },
        Op::Reverse { axis },
        Op::Windows { axis, size: numbers[1] % 3, stride: numbers[2] % 3 },
        // Overlapping, touching or apart.
        Op::Unwindows {
            axis: 0,
            length: (ty.shape.first().map_or(0, |windows| windows.saturating_sub(1)) * (1 + numbers[2] % 3))
                + ty.shape.get(1).map_or(0, |size| *size),
            stride: 1 + numbers[2] % 3,
        },
        Op::ReduceSum { axes: vec![axis] },
        Op::ReduceMax { axes: (0..ty.rank() as u32).collect() },
        Op::ReduceMin { axes: vec![axis] },
        Op::Argmax { axis },
        Op::Matmul {},
        Op::Take {},
        Op::ScatterAdd { rows: numbers[0] },
        Op::Stop {},
        Op::Opaque { of: "f".to_string() },
    ];
    table[choice % table.len()].clone()
}

/// Adds what fits of the choices; the inputs have all types, and every third node is a result.
fn build(choices: &[Choice]) -> Graph {
    let mut region = Region::new("main");
    let nowhere = Provenance::default;
    for (index, (dtype, shape)) in TYPES.into_iter().enumerate() {
        region.input(InputRole::Data, format!("x{index}"), TensorType::new(dtype, shape), nowhere());
    }
    let seed = region.input(InputRole::Seed, "seed", TensorType::new(Dtype::U32, [2]), nowhere());
    let step = region.input(InputRole::Step, "step", TensorType::scalar(Dtype::I32), nowhere());
    for (choice, picks, numbers) in choices {
        let node = |pick: usize| NodeId::from_u32((pick % region.nodes.len()) as u32);
        let first = node(picks[0]);
        let op = operation(*choice, region.tensor(first), *numbers);
        // The other operands are of the first one's type if there is one, so that most choices fit.
        let like = |pick: usize, ty: &Type| {
            let candidates: Vec<NodeId> = region.nodes.keys().filter(|id| region.nodes[*id].ty == *ty).collect();
            if candidates.is_empty() { first } else { candidates[pick % candidates.len()] }
        };
        let same = &region.nodes[first].ty;
        let operands = match &op {
            Op::Constant { .. } | Op::Iota { .. } => vec![],
            Op::Random { .. } => vec![seed, step],
            Op::Select {} => {
                let condition = Type::Tensor(TensorType::new(Dtype::Bool, region.tensor(first).shape.clone()));
                vec![like(picks[1], &condition), first, like(picks[2], same)]
            }
            Op::Matmul {} | Op::Take {} | Op::ScatterAdd { .. } => {
                let fits = |id: &NodeId| op.infer(&[same, &region.nodes[*id].ty]).is_ok();
                let candidates: Vec<NodeId> = region.nodes.keys().filter(fits).collect();
                vec![first, candidates.get(picks[1] % candidates.len().max(1)).copied().unwrap_or(first)]
            }
            op if op.arity() == bpc::ir::op::Arity::Fixed(&["x", "y"]) => vec![first, like(picks[1], same)],
            _ => vec![first],
        };
        let types: Vec<&Type> = operands.iter().map(|operand| &region.nodes[*operand].ty).collect();
        let small = op.infer(&types).is_ok_and(|ty| ty.tensor().is_some_and(|ty| ty.elements() <= 2000));
        if small {
            region.push(op, &operands, nowhere()).unwrap();
        }
    }
    for node in region.nodes.keys().filter(|node| node.as_u32() % 3 == 2).collect::<Vec<_>>() {
        region.result(OutputRole::Value, node.to_string(), node);
    }
    let mut graph = Graph::default();
    graph.add(region);
    graph
}

fn inputs(graph: &Graph) -> BTreeMap<String, Tensor> {
    let main = graph.main();
    let tensor = |id: &NodeId| {
        let ty = main.tensor(*id).clone();
        let element = |index: u64| match ty.dtype {
            Dtype::Bool => (index % 2) as f64,
            Dtype::U32 => index as f64,
            Dtype::I32 | Dtype::I64 => index as f64 - 1.0,
            Dtype::F32 | Dtype::F64 => index as f64 * 0.75 - 1.5,
        };
        let Op::Input { name, .. } = &main.nodes[*id].op else { panic!("no input") };
        (name.clone(), Tensor::new(ty.clone(), (0..ty.elements()).map(element).collect()).unwrap())
    };
    main.inputs.iter().map(tensor).collect()
}

/// Names, types and bits of all results.
fn bits(graph: &Graph) -> Vec<(String, TensorType, Vec<u64>)> {
    let results = run(graph, &inputs(graph)).unwrap();
    results
        .into_iter()
        .map(|(output, tensor)| {
            let bits = tensor.data.iter().map(|value| if value.is_nan() { f64::NAN } else { *value }.to_bits());
            (output.name, tensor.ty, bits.collect())
        })
        .collect()
}

proptest! {
    #[test]
    fn random_graphs_obey_the_laws(choices in choices()) {
        let graph = build(&choices);
        prop_assert_eq!(verify(&graph), Ok(()));
        let main = graph.main();

        let text = print(&graph);
        let back = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert!(back.same(&graph), "{}", text);

        // Every result is made of values of its dtype.
        let results = run(&graph, &inputs(&graph)).map_err(TestCaseError::fail)?;
        for (output, tensor) in results {
            prop_assert_eq!(&tensor.ty, main.tensor(output.node));
            prop_assert!(Tensor::new(tensor.ty.clone(), tensor.data).is_ok(), "{}: {}", output.node, text);
        }

        let pruned = prune(&graph);
        prop_assert_eq!(verify(&pruned), Ok(()));
        prop_assert!(prune(&pruned).same(&pruned));
        prop_assert_eq!(bits(&pruned), bits(&graph));

        // Inlined into a region with inputs of its own, a body still means the same.
        let mut target = Region::new("target");
        let arguments: Vec<NodeId> = main.inputs.iter().map(|input| {
            let Op::Input { role, name, ty } = &main.nodes[*input].op else { panic!("no input") };
            target.input(*role, name.clone(), ty.clone(), Provenance::default())
        }).collect();
        let nodes = inline(&mut target, main, &arguments);
        for (output, node) in main.results.iter().zip(nodes) {
            target.result(output.role, output.name.clone(), node);
        }
        let mut inlined = Graph::default();
        inlined.add(target);
        prop_assert_eq!(verify(&inlined), Ok(()));
        prop_assert_eq!(bits(&inlined), bits(&graph));

        let view = View::new(main);
        let order = petgraph::algo::toposort(&view, None).unwrap();
        prop_assert_eq!(order.len(), main.nodes.len());
        let place: BTreeMap<NodeId, usize> = order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        prop_assert!(view.edge_references().all(|edge| place[&edge.source()] < place[&edge.target()]));
        let lines = dot(&graph).lines().filter(|line| line.contains("[ label = ")).count();
        prop_assert!(lines >= main.nodes.len());
    }

    /// A damaged text gives an error or another graph, and never a panic.
    #[test]
    fn damaged_texts_are_refused(choices in choices(), place in 0..10_000usize, damage in "[ -~\n]{0,3}", removed in 0..4usize) {
        let text: Vec<char> = print(&build(&choices)).chars().collect();
        let place = place % text.len();
        let rest = text.get(place + removed..).unwrap_or_default();
        let damaged: String = text[..place].iter().copied().chain(damage.chars()).chain(rest.iter().copied()).collect();
        if let Ok(graph) = parse(&damaged) {
            let _ = verify(&graph);
            prop_assert!(parse(&print(&graph)).is_ok_and(|back| back.same(&graph)));
        }
    }
}

/// The laws are worth something only if graphs are large and hold every operation of the generator's table.
#[test]
fn random_graphs_are_rich() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nodes = 0;
    for _ in 0..300 {
        let graph = build(&choices().new_tree(&mut runner).unwrap().current());
        for node in graph.main().nodes.values() {
            *counts.entry(node.op.name()).or_default() += 1;
            nodes += 1;
        }
    }
    assert!(nodes > 300 * 20, "{nodes}");
    let table: Vec<String> =
        (0..37).map(|choice| operation(choice, &TensorType::new(Dtype::F32, [2]), [1; 4]).name().to_string()).collect();
    for name in table {
        assert!(counts.get(name.as_str()).is_some_and(|count| *count >= 10), "{name}: {counts:?}");
    }
}
