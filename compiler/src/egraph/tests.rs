//! Every rule against the interpreter, expansion of hand-written gradient rules, limits, determinism.

use super::analysis::EGraph;
use super::rules::Expression;
use super::*;
use crate::ir::graph::{InputRole, NodeId, Output, OutputRole, Provenance, Region};
use crate::ir::interpret::{Tensor, run};
use crate::ir::text::{parse, print};
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::ir::verify::{verify, verify_expanded};

/// Numbers between -2 and 2 in steps that a double holds exactly; small whole numbers; both bools.
struct Points(u64);

impl Points {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn tensor(&mut self, ty: &TensorType) -> Tensor {
        let mut element = || match ty.dtype {
            Dtype::F32 | Dtype::F64 => (self.next() % 4096) as f64 / 1024.0 - 2.0,
            Dtype::Bool => (self.next() % 2) as f64,
            _ => (self.next() % 5) as f64,
        };
        let data = (0..ty.elements()).map(|_| element()).collect();
        Tensor::new(ty.clone(), data).unwrap()
    }

    fn inputs(&mut self, graph: &Graph) -> BTreeMap<String, Tensor> {
        let main = graph.main();
        let named = |id: &NodeId| match &main.nodes[*id].op {
            Op::Input { name, ty, .. } => (name.clone(), ty.clone()),
            op => panic!("{} is no input", op.name()),
        };
        main.inputs.iter().map(named).map(|(name, ty)| (name, self.tensor(&ty))).collect()
    }
}

fn graph_of(body: &str) -> Graph {
    let graph = parse(&format!("region r0 \"main\" {{\n{body}\n}}")).unwrap_or_else(|error| panic!("{error}\n{body}"));
    verify(&graph).unwrap();
    graph
}

/// Compares two lists of results; says how many numbers were compared, leaving out those that are not finite on the left.
fn compare(left: &[(Output, Tensor)], right: &[(Output, Tensor)], what: &str) -> (usize, usize) {
    assert_eq!(left.len(), right.len());
    let (mut usable, mut all) = (0, 0);
    for ((output, one), (_, two)) in left.iter().zip(right) {
        assert_eq!(one.ty, two.ty);
        for (x, y) in one.data.iter().zip(&two.data) {
            all += 1;
            if x.is_finite() {
                usable += 1;
                assert!((x - y).abs() <= 1e-12 * (1.0 + x.abs()), "{what}: {} is {x} and {y}", output.name);
            }
        }
    }
    (usable, all)
}

/// Runs both graphs at random points.
fn assert_agree(left: &Graph, right: &Graph, what: &str) {
    let mut points = Points(7);
    let (mut usable, mut all) = (0, 0);
    for _ in 0..20 {
        let inputs = points.inputs(left);
        let counts = compare(&run(left, &inputs).unwrap(), &run(right, &inputs).unwrap(), what);
        (usable, all) = (usable + counts.0, all + counts.1);
    }
    assert!(2 * usable >= all && usable >= 20, "{what}: only {usable} of {all} numbers are usable");
}

fn push_expression(region: &mut Region, expression: &Expression, leaves: &BTreeMap<Id, NodeId>) -> NodeId {
    match expression {
        Expression::Class(class) => leaves[class],
        Expression::Apply(op, operands) => {
            let operands: Vec<NodeId> =
                operands.iter().map(|operand| push_expression(region, operand, leaves)).collect();
            region.push(op.clone(), &operands, Provenance::default()).unwrap()
        }
    }
}

fn leaves(expression: &Expression, found: &mut BTreeSet<Id>) {
    match expression {
        Expression::Class(class) => {
            found.insert(*class);
        }
        Expression::Apply(_, operands) => operands.iter().for_each(|operand| leaves(operand, found)),
    }
}

/// A graph with the term that was matched and what it was found equal to as its two results.
fn both_sides(source: &Region, egraph: &EGraph, inputs: &[Id], class: Id, expression: &Expression) -> Graph {
    let mut classes = BTreeSet::from([class]);
    leaves(expression, &mut classes);
    let roots: Vec<Id> = classes.iter().copied().collect();
    let mut named = source.clone();
    let any = source.inputs[0];
    named.results =
        (0..roots.len()).map(|index| Output { role: OutputRole::Value, name: index.to_string(), node: any }).collect();
    let extraction = extract::extract(egraph, &roots, &BTreeMap::new());
    let mut region = extract::build(egraph, &extraction, &named, inputs);
    let nodes: BTreeMap<Id, NodeId> =
        roots.iter().copied().zip(region.results.iter().map(|output| output.node)).collect();
    let right = push_expression(&mut region, expression, &nodes);
    region.results.clear();
    region.result(OutputRole::Value, "left", nodes[&class]);
    region.result(OutputRole::Value, "right", right);
    let mut graph = Graph::default();
    graph.add(region);
    graph
}

#[test]
fn every_rule_fires_on_its_example_and_both_sides_agree() {
    for rule in rules::all() {
        let graph = graph_of(rule.example);
        let loaded = expand::load(&graph, graph.main_id(), &BTreeMap::new());
        let found = search(&loaded.egraph, &[rule]);
        assert!(
            found.len() >= graph.main().results.len(),
            "{} does not fire on every result of its example",
            rule.name
        );
        let (mut usable, mut all) = (0, 0);
        for (class, _, expression) in &found {
            let graph = both_sides(graph.main(), &loaded.egraph, &loaded.inputs, *class, expression);
            verify(&graph).unwrap();
            let mut points = Points(3);
            for _ in 0..50 {
                let results = run(&graph, &points.inputs(&graph)).unwrap();
                let counts = compare(&results[..1], &results[1..], rule.name);
                (usable, all) = (usable + counts.0, all + counts.1);
            }
        }
        assert!(10 * usable >= 9 * all && usable >= 50, "{}: only {usable} of {all} numbers are usable", rule.name);
    }
}

#[test]
fn examples_keep_their_meaning_under_all_rules_together() {
    for rule in rules::all() {
        let graph = graph_of(rule.example);
        let (optimized, report) = optimize(&graph, &Limits::default());
        verify_expanded(&optimized).unwrap();
        assert!(report.cost_after <= report.cost_before, "{}: {report:?}", rule.name);
        assert!(report.limits_hit.is_empty(), "{}: {:?}", rule.name, report.limits_hit);
        assert_agree(&graph, &optimized, rule.name);
    }
}

#[test]
fn names_of_rules_differ_and_their_operations_exist() {
    let mut names = BTreeSet::new();
    for rule in rules::all() {
        assert!(names.insert(rule.name), "{} stands twice", rule.name);
        for name in rule.at {
            assert!(Op::NAMES.contains(name), "{}: there is no operation {name}", rule.name);
        }
    }
}

#[test]
fn sampling_sees_a_wrong_rule() {
    let graph = graph_of(
        r#"
        n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
        n1 = add(n0, n0) : f64[3]
        result value "y" = n1
        "#,
    );
    let loaded = expand::load(&graph, graph.main_id(), &BTreeMap::new());
    let three = Expression::Apply(Op::Constant { value: Literal::new(Dtype::F64, 3.0), shape: vec![3] }, Vec::new());
    let wrong = Expression::Apply(Op::Mul {}, vec![Expression::Class(loaded.inputs[0]), three]);
    let sides = both_sides(graph.main(), &loaded.egraph, &loaded.inputs, loaded.results[0], &wrong);
    let results = run(&sides, &Points(3).inputs(&sides)).unwrap();
    assert_ne!(results[0].1.data, results[1].1.data);
}

/// Rules for `round`: no gradient, and straight through; a wrong one for `x * x`; `tanh` twice.
const GRADIENT_RULES: &str = r#"
    region r0 "round.zero" {
      n0 = input {role = argument, name = "x", ty = f64[3]} : f64[3]
      n1 = input {role = argument, name = "y", ty = f64[3]} : f64[3]
      n2 = input {role = argument, name = "grad y", ty = f64[3]} : f64[3]
      n3 = constant {value = f64(0.0), shape = [3]} : f64[3]
      result value "x" = n3
    }
    region r1 "round.straight_through" {
      n0 = input {role = argument, name = "x", ty = f64[3]} : f64[3]
      n1 = input {role = argument, name = "y", ty = f64[3]} : f64[3]
      n2 = input {role = argument, name = "grad y", ty = f64[3]} : f64[3]
      result value "x" = n2
    }
    region r2 "square.wrong" {
      n0 = input {role = argument, name = "x", ty = f64[3]} : f64[3]
      n1 = input {role = argument, name = "y", ty = f64[3]} : f64[3]
      n2 = input {role = argument, name = "grad y", ty = f64[3]} : f64[3]
      n3 = constant {value = f64(3.0), shape = [3]} : f64[3]
      n4 = mul(n3, n0) : f64[3]
      n5 = mul(n2, n4) : f64[3]
      result value "x" = n5
    }
    region r3 "tanh.exact" {
      n0 = input {role = argument, name = "x", ty = f64[3]} : f64[3]
      n1 = input {role = argument, name = "y", ty = f64[3]} : f64[3]
      n2 = input {role = argument, name = "grad y", ty = f64[3]} : f64[3]
      n3 = constant {value = f64(1.0), shape = [3]} : f64[3]
      n4 = mul(n1, n1) : f64[3]
      n5 = sub(n3, n4) : f64[3]
      n6 = mul(n2, n5) : f64[3]
      result value "x" = n6
    }
"#;

fn vjp(rule: &str, estimator: bool, region: usize) -> String {
    format!(
        "vjp(n0, n1, n2) {{of = \"call\", rule = \"{rule}\", index = 0, estimator = {estimator}, ty = f64[3], body = r{region}}} : f64[3]"
    )
}

fn with_rules(main: &str) -> Graph {
    let graph = parse(&format!("{GRADIENT_RULES} region r4 \"main\" {{ {main} }}")).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap();
    graph
}

fn tensor(values: [f64; 3]) -> Tensor {
    Tensor::new(TensorType::new(Dtype::F64, [3]), values.into()).unwrap()
}

fn evaluate_at(graph: &Graph, inputs: &[(&str, [f64; 3])]) -> Vec<Vec<f64>> {
    let inputs = inputs.iter().map(|(name, values)| (name.to_string(), tensor(*values))).collect();
    run(graph, &inputs).unwrap().into_iter().map(|(_, tensor)| tensor.data).collect()
}

#[test]
fn vjps_become_what_their_rules_say() {
    let main = format!(
        r#"
        n0 = input {{role = data, name = "x", ty = f64[3]}} : f64[3]
        n1 = tanh(n0) : f64[3]
        n2 = input {{role = data, name = "g", ty = f64[3]}} : f64[3]
        n3 = {}
        result value "dx" = n3
        "#,
        vjp("exact", false, 3)
    );
    let (optimized, report) = optimize(&with_rules(&main), &Limits::default());
    verify_expanded(&optimized).unwrap();
    assert_eq!(optimized.regions.len(), 1);
    assert_eq!(report.fired["expand-vjp"], 1);
    let found = evaluate_at(&optimized, &[("x", [-0.5, 0.0, 1.5]), ("g", [2.0, -1.0, 3.0])]);
    for (found, (x, g)) in found[0].iter().zip([(-0.5f64, 2.0), (0.0, -1.0), (1.5, 3.0)]) {
        assert!((found - g / x.cosh().powi(2)).abs() < 1e-14);
    }
}

#[test]
fn a_wrong_gradient_rule_survives() {
    let main = format!(
        r#"
        n0 = input {{role = data, name = "x", ty = f64[3]}} : f64[3]
        n1 = mul(n0, n0) : f64[3]
        n2 = input {{role = data, name = "g", ty = f64[3]}} : f64[3]
        n3 = {}
        result value "dx" = n3
        "#,
        vjp("wrong", false, 2)
    );
    let (optimized, _) = optimize(&with_rules(&main), &Limits::default());
    let found = evaluate_at(&optimized, &[("x", [1.0, 2.0, -1.0]), ("g", [1.0, 1.0, 2.0])]);
    assert_eq!(found[0], [3.0, 6.0, -6.0]);
}

#[test]
fn two_estimators_of_one_call_stay_apart() {
    let main = format!(
        r#"
        n0 = input {{role = data, name = "x", ty = f64[3]}} : f64[3]
        n1 = round(n0) : f64[3]
        n2 = input {{role = data, name = "g", ty = f64[3]}} : f64[3]
        n3 = {}
        n4 = {}
        result value "zero" = n3
        result value "through" = n4
        "#,
        vjp("zero", true, 0),
        vjp("straight_through", true, 1)
    );
    let (optimized, report) = optimize(&with_rules(&main), &Limits::default());
    assert_eq!(report.fired["expand-vjp"], 2);
    let found = evaluate_at(&optimized, &[("x", [0.2, 0.7, 1.1]), ("g", [1.0, 2.0, 3.0])]);
    assert_eq!(found, [vec![0.0; 3], vec![1.0, 2.0, 3.0]]);
}

#[test]
fn rules_that_use_vjps_and_scans_expand() {
    let text = r#"
        region r0 "step" {
          n0 = input {role = argument, name = "s", ty = f64[]} : f64[]
          n1 = input {role = argument, name = "u", ty = f64[]} : f64[]
          n2 = constant {value = f64(1.0), shape = []} : f64[]
          n3 = mul(n1, n2) : f64[]
          n4 = add(n0, n3) : f64[]
          result value "s" = n4
          result value "path" = n4
        }
        region r1 "inner" {
          n0 = input {role = argument, name = "g", ty = f64[3]} : f64[3]
          n1 = constant {value = f64(0.0), shape = []} : f64[]
          n2 = scan(n1, n0) {carries = 1, sequences = 1, length = 3, reverse = false, stacks = (f64[3]), body = r0} : (f64[], f64[3])
          n3 = project(n2) {index = 1} : f64[3]
          result value "x" = n3
        }
        region r2 "outer" {
          n0 = input {role = argument, name = "g", ty = f64[3]} : f64[3]
          n1 = vjp(n0) {of = "a", rule = "inner", index = 0, estimator = false, ty = f64[3], body = r1} : f64[3]
          n2 = neg(n1) : f64[3]
          n3 = neg(n0) : f64[3]
          result value "w" = n3
          result value "x" = n2
        }
        region r3 "main" {
          n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
          n1 = vjp(n0) {of = "b", rule = "outer", index = 1, estimator = false, ty = f64[3], body = r2} : f64[3]
          n2 = stop(n1) : f64[3]
          n3 = neg(n2) : f64[3]
          result value "y" = n3
        }
    "#;
    let graph = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let (optimized, report) = optimize(&graph, &Limits::default());
    verify_expanded(&optimized).unwrap();
    assert_eq!((report.fired["expand-vjp"], report.fired["expand-stop"]), (2, 1));
    assert_eq!(evaluate_at(&optimized, &[("x", [1.0, 2.0, 4.0])]), [vec![1.0, 3.0, 7.0]]);
    // The body is optimised too: x * 1 is gone; and the two negations are.
    let ops: Vec<&str> = optimized.regions.values().flat_map(|r| r.nodes.values().map(|node| node.op.name())).collect();
    assert_eq!(ops, ["input", "input", "add", "input", "constant", "scan", "project"]);
}

#[test]
fn a_ruled_call_is_its_value() {
    let main = r#"
        n0 = input {role = data, name = "x", ty = f64[3]} : f64[3]
        n1 = round(n0) : f64[3]
        n2 = ruled(n1, n0) {of = "round", rule = "zero", site = "here", arguments = 1, gives = [0], estimator = true, body = r0} : f64[3]
        n3 = stop(n2) : f64[3]
        result value "y" = n3
    "#;
    let (optimized, report) = optimize(&with_rules(main), &Limits::default());
    assert_eq!((report.fired["expand-ruled"], report.fired["expand-stop"]), (1, 1));
    let ops: Vec<&str> = optimized.main().nodes.values().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["input", "round"]);
}

/// Carries: `a` is read outside, `b` feeds `a`, `c` feeds itself alone. Stacks: `b` is read, `c` is not. `v` feeds `c`.
const SCAN_WITH_DEAD_PARTS: &str = r#"
    region r0 "step" {
      n0 = input {role = argument, name = "a", ty = f64[]} : f64[]
      n1 = input {role = argument, name = "b", ty = f64[]} : f64[]
      n2 = input {role = argument, name = "c", ty = f64[]} : f64[]
      n3 = input {role = argument, name = "u", ty = f64[]} : f64[]
      n4 = input {role = argument, name = "v", ty = f64[]} : f64[]
      n5 = add(n0, n1) : f64[]
      n6 = add(n1, n3) : f64[]
      n7 = mul(n2, n4) : f64[]
      result value "a" = n5
      result value "b" = n6
      result value "c" = n7
      result value "path c" = n7
      result value "path b" = n6
    }
    region r1 "main" {
      n0 = input {role = data, name = "u", ty = f64[3]} : f64[3]
      n1 = input {role = data, name = "v", ty = f64[3]} : f64[3]
      n2 = constant {value = f64(0.0), shape = []} : f64[]
      n3 = tanh(n2) : f64[]
      n4 = reduce_sum(n1) {axes = [0]} : f64[1]
      n5 = reshape(n4) {shape = []} : f64[]
      n6 = scan(n2, n2, n5, n0, n5) {carries = 3, sequences = 1, length = 3, reverse = false, stacks = (f64[3], f64[3]), body = r0} : (f64[], f64[], f64[], f64[3], f64[3])
      n7 = project(n6) {index = 0} : f64[]
      n8 = project(n6) {index = 4} : f64[3]
      result value "a" = n7
      result value "path b" = n8
    }
"#;

#[test]
fn dead_parts_of_scans_go() {
    let graph = parse(SCAN_WITH_DEAD_PARTS).unwrap_or_else(|error| panic!("{error}"));
    verify(&graph).unwrap();
    let (optimized, report) = optimize(&graph, &Limits::default());
    verify_expanded(&optimized).unwrap();
    // The carry c with its operand and its stack, and the operand v.
    assert_eq!(report.fired["scan-dead"], 4);
    assert_agree(&graph, &optimized, "scan");
    let main: Vec<&str> = optimized.main().nodes.values().map(|node| node.op.name()).collect();
    assert_eq!(main, ["input", "input", "constant", "scan", "project", "project"]);
}

#[test]
fn limits_are_reported_and_safe() {
    let graph = layers(4);
    for limits in
        [Limits { rounds: 1, nodes: 1_000_000 }, Limits { rounds: 16, nodes: 100 }, Limits { rounds: 0, nodes: 0 }]
    {
        let (optimized, report) = optimize(&graph, &limits);
        verify_expanded(&optimized).unwrap();
        assert_eq!(report.limits_hit.len(), 1, "{limits:?}");
        assert_agree(&graph, &optimized, "limits");
    }
}

#[test]
fn the_same_graph_gives_the_same_text() {
    let texts: Vec<String> = (0..2).map(|_| print(&optimize(&layers(6), &Limits::default()).0)).collect();
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn deep_networks_settle() {
    let graph = layers(12);
    let (optimized, report) = optimize(&graph, &Limits::default());
    verify_expanded(&optimized).unwrap();
    assert!(report.limits_hit.is_empty(), "{report:?}");
    assert_agree(&graph, &optimized, "layers");
    // Every product over the batch is one product of two matrices: forward, and both backward.
    for node in optimized.main().nodes.values().filter(|node| node.op == Op::Matmul {}) {
        assert_eq!(node.ty.tensor().unwrap().rank(), 2);
    }
    assert!(report.e_nodes < 12 * graph.main().nodes.len(), "{report:?}");
}

/// Prints how long larger networks take: `cargo test deep_network_times -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn deep_network_times() {
    for n_layers in [12, 60, 300] {
        let graph = layers(n_layers);
        let start = std::time::Instant::now();
        let (_, report) = optimize(&graph, &Limits::default());
        println!("{} nodes: {:?}, {report:?}", graph.main().nodes.len(), start.elapsed());
    }
}

/// Residual layers `x + tanh(x @ w + b)` of [batch, tokens, width] with their backward sweep and a gradient step, as
/// lowering and differentiation would write them.
fn layers(n_layers: usize) -> Graph {
    let (batch, tokens, width) = (2, 3, 4);
    let ty = |shape: &[u64]| TensorType::new(Dtype::F64, shape);
    let mut graph = Graph::default();
    let none = Provenance::default();
    let full = [batch, tokens, width];
    let rule =
        |graph: &mut Graph, name: &str, inputs: &[&[u64]], build: &dyn Fn(&mut Region, &[NodeId]) -> Vec<NodeId>| {
            let mut region = Region::new(name);
            let named = inputs.iter().enumerate();
            let inputs: Vec<NodeId> = named
                .map(|(index, shape)| region.input(InputRole::Argument, format!("i{index}"), ty(shape), none))
                .collect();
            for (index, node) in build(&mut region, &inputs).into_iter().enumerate() {
                region.result(OutputRole::Value, format!("r{index}"), node);
            }
            graph.add(region)
        };
    let transpose = Op::Permute { axes: vec![0, 2, 1] };
    let shared = [batch, width, width];
    let matmul = rule(&mut graph, "matmul.exact", &[&full, &shared, &full, &full], &|region, i| {
        let right = region.push(transpose.clone(), &[i[1]], none).unwrap();
        let left = region.push(transpose.clone(), &[i[0]], none).unwrap();
        [[i[3], right], [left, i[3]]].map(|operands| region.push(Op::Matmul {}, &operands, none).unwrap()).into()
    });
    let tanh = rule(&mut graph, "tanh.exact", &[&full, &full, &full], &|region, i| {
        let one =
            region.push(Op::Constant { value: Literal::new(Dtype::F64, 1.0), shape: full.into() }, &[], none).unwrap();
        let square = region.push(Op::Mul {}, &[i[1], i[1]], none).unwrap();
        let slope = region.push(Op::Sub {}, &[one, square], none).unwrap();
        vec![region.push(Op::Mul {}, &[i[2], slope], none).unwrap()]
    });
    let mut main = Region::new("main");
    let mut x = main.input(InputRole::Data, "x", ty(&full), none);
    let mut saved = Vec::new();
    for layer in 0..n_layers {
        let w = main.input(InputRole::Parameter, format!("w{layer}"), ty(&[width, width]), none);
        let b = main.input(InputRole::Parameter, format!("b{layer}"), ty(&[width]), none);
        let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
        let turned = push(Op::Permute { axes: vec![1, 0] }, &[w]);
        let lead = push(Op::Reshape { shape: vec![1, width, width] }, &[turned]);
        let spread = push(Op::Broadcast { shape: shared.into() }, &[lead]);
        let product = push(Op::Matmul {}, &[x, spread]);
        let lead = push(Op::Reshape { shape: vec![1, 1, width] }, &[b]);
        let bias = push(Op::Broadcast { shape: full.into() }, &[lead]);
        let sum = push(Op::Add {}, &[product, bias]);
        let y = push(Op::Tanh {}, &[sum]);
        let next = push(Op::Add {}, &[x, y]);
        saved.push((w, b, x, spread, product, sum, y));
        x = next;
    }
    let total = main.push(Op::ReduceSum { axes: vec![0, 1, 2] }, &[x], none).unwrap();
    main.result(OutputRole::Value, "loss", total);
    let one =
        main.push(Op::Constant { value: Literal::new(Dtype::F64, 1.0), shape: vec![1, 1, 1] }, &[], none).unwrap();
    let mut cotangent = main.push(Op::Broadcast { shape: full.into() }, &[one], none).unwrap();
    for (layer, (w, b, x, spread, product, sum, y)) in saved.into_iter().enumerate().rev() {
        let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
        let vjp = |of: &str, index: u32, shape: &[u64], body: RegionId| Op::Vjp {
            of: of.to_string(),
            rule: "exact".to_string(),
            index,
            estimator: false,
            ty: ty(shape),
            body,
        };
        let slope = push(vjp("tanh", 0, &full, tanh), &[sum, y, cotangent]);
        let grad_x = push(vjp("matmul", 0, &full, matmul), &[x, spread, product, slope]);
        let grad_spread = push(vjp("matmul", 1, &shared, matmul), &[x, spread, product, slope]);
        let grad_lead = push(Op::ReduceSum { axes: vec![0] }, &[grad_spread]);
        let grad_turned = push(Op::Reshape { shape: vec![width, width] }, &[grad_lead]);
        let grad_w = push(Op::Permute { axes: vec![1, 0] }, &[grad_turned]);
        let grad_lead = push(Op::ReduceSum { axes: vec![0, 1] }, &[slope]);
        let grad_b = push(Op::Reshape { shape: vec![width] }, &[grad_lead]);
        cotangent = push(Op::Add {}, &[cotangent, grad_x]);
        for (name, old, grad, shape) in [("w", w, grad_w, vec![width, width]), ("b", b, grad_b, vec![width])] {
            let mut push = |op: Op, operands: &[NodeId]| main.push(op, operands, none).unwrap();
            let rate = push(Op::Constant { value: Literal::new(Dtype::F64, 0.125), shape }, &[]);
            let step = push(Op::Mul {}, &[rate, grad]);
            let new = push(Op::Sub {}, &[old, step]);
            main.result(OutputRole::Next, format!("{name}{layer}"), new);
        }
    }
    graph.add(main);
    graph
}

#[test]
fn random_graphs_keep_their_meaning() {
    let mut points = Points(11);
    let (mut usable, mut all, mut fired) = (0, 0, BTreeSet::new());
    for case in 0..300 {
        let graph = random_graph(&mut points);
        let (optimized, report) = optimize(&graph, &Limits::default());
        verify_expanded(&optimized).unwrap();
        assert!(report.limits_hit.is_empty(), "case {case}: {report:?}\n{}", print(&graph));
        for _ in 0..3 {
            let inputs = points.inputs(&graph);
            let (left, right) = (run(&graph, &inputs).unwrap(), run(&optimized, &inputs).unwrap());
            let what = format!("case {case}\n{}\n{}", print(&graph), print(&optimized));
            let counts = compare(&left, &right, &what);
            (usable, all) = (usable + counts.0, all + counts.1);
        }
        fired.extend(report.fired.into_keys());
    }
    assert!(10 * usable >= 7 * all, "only {usable} of {all} numbers are usable");
    assert!(fired.len() >= 35, "only these rules fired: {fired:?}");
}

/// Thirty nodes of elementwise operations, views, reductions and products; half of the constants are 0, 1 or -1.
fn random_graph(points: &mut Points) -> Graph {
    let none = Provenance::default();
    let mut region = Region::new("main");
    for (index, shape) in [vec![2, 3], vec![3, 2], vec![1, 3], vec![2, 1], vec![2, 2, 3]].into_iter().enumerate() {
        region.input(InputRole::Data, format!("x{index}"), TensorType::new(Dtype::F64, shape), none);
    }
    while region.nodes.len() < 30 {
        let mut pick = |n: usize| points.next() as usize % n;
        let ids: Vec<NodeId> = region.nodes.keys().collect();
        let x = ids[pick(ids.len())];
        let shape = region.tensor(x).shape.clone();
        let alike: Vec<NodeId> = ids.into_iter().filter(|id| region.tensor(*id).shape == shape).collect();
        let y = alike[pick(alike.len())];
        let (rank, axis) = (shape.len(), pick(shape.len()) as u32);
        let axes = (0..rank as u32).filter(|axis| *axis == 0 || pick(2) == 0).collect();
        let value = [0.0, 1.0, -1.0, 2.0, 0.5, 3.0][pick(6)];
        let mut one = |op: Op| region.push(op, &[x], none).ok();
        let _ = match pick(22) {
            0..3 => region.push(Op::Constant { value: Literal::new(Dtype::F64, value), shape }, &[], none).ok(),
            3 => one(Op::Neg {}),
            4 => one(Op::Tanh {}),
            5 => one(Op::Exp {}),
            6 => region.push(Op::Add {}, &[x, y], none).ok(),
            7 => region.push(Op::Sub {}, &[x, y], none).ok(),
            8 | 9 => region.push(Op::Mul {}, &[x, y], none).ok(),
            10 => region.push(Op::Div {}, &[x, y], none).ok(),
            11 => region.push(Op::Maximum {}, &[x, y], none).ok(),
            12 => one(Op::Permute { axes: (0..rank as u32).rev().collect() }),
            13 => one(Op::Reshape { shape: vec![shape.iter().product()] }),
            14 => one(Op::Reshape { shape: [&[1], shape.as_slice()].concat() }),
            15 => one(Op::Broadcast { shape: shape.iter().map(|size| if *size == 1 { 2 } else { *size }).collect() }),
            16 => one(Op::ReduceSum { axes }),
            17 => one(Op::ReduceMax { axes }),
            18 => one(Op::Slice { starts: vec![0; rank], stops: shape.iter().map(|size| (*size).min(2)).collect() }),
            19 => one(Op::Pad { low: vec![1; rank], high: vec![0; rank], value: Literal::new(Dtype::F64, 0.0) }),
            20 => region.push(Op::Concat { axis }, &[x, y], none).ok(),
            _ => {
                let [.., _, inner] = shape[..] else { continue };
                let fits = |id: &NodeId| {
                    let other = &region.tensor(*id).shape;
                    other.len() == rank && other[rank - 2] == inner && other[..rank - 2] == shape[..rank - 2]
                };
                let Some(right) = region.nodes.keys().find(fits) else { continue };
                region.push(Op::Matmul {}, &[x, right], none).ok()
            }
        };
    }
    let last: Vec<NodeId> = region.nodes.keys().rev().take(8).collect();
    for node in last {
        region.result(OutputRole::Value, node.to_string(), node);
    }
    let mut graph = Graph::default();
    graph.add(region);
    graph
}
