//! Scans of which not all is used.
//!
//! Expects: nothing beyond the graph written here.
//! Guarantees: what nothing reads is gone, what is left means the same.
//! Leaves out: rules within the body of a scan (`gradient_rules`).

use super::assert_agree;
use crate::egraph::{Limits, optimize};
use crate::ir::text::parse;
use crate::ir::verify::{verify, verify_expanded};

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
