//! Hand-written gradient rules, right, wrong and estimating, as regions that are expanded.
//!
//! Expects: nothing beyond the rules written here.
//! Guarantees: a gradient is what its rule says, also where mathematics says otherwise.
//! Leaves out: which gradients are asked for (`differentiate`).

use crate::egraph::{Limits, optimize};
use crate::ir::graph::Graph;
use crate::ir::interpret::{Tensor, run};
use crate::ir::text::parse;
use crate::ir::types::{Dtype, TensorType};
use crate::ir::verify::{verify, verify_expanded};

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
