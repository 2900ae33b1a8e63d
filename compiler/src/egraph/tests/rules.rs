//! Every rule of algebra on its example.
//!
//! Expects: rules with examples in the text form of graphs.
//! Guarantees: each fires on its example, both of its sides agree, and so does the example under all rules together.
//! Leaves out: rules on graphs that nobody chose (`random`).

use super::{Points, assert_agree, compare, graph_of};
use crate::egraph::analysis::EGraph;
use crate::egraph::rules::{Expression, Rule, all};
use crate::egraph::{Limits, expand, extract, optimize, optimize_with, search};
use crate::ir::graph::{Graph, NodeId, Output, OutputRole, Provenance, Region};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::ir::verify::{verify, verify_expanded};
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};

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
    let any = source.results[0].node;
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
    for rule in all() {
        let graph = graph_of(rule.example);
        let loaded = expand::load(&graph, graph.main_id(), &BTreeMap::new(), None);
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
    for rule in all() {
        let graph = graph_of(rule.example);
        let (optimized, report) = optimize(&graph, &Limits::default());
        verify_expanded(&optimized).unwrap();
        assert!(report.cost_after <= report.cost_before, "{}: {report:?}", rule.name);
        assert!(report.limits_hit.is_empty(), "{}: {:?}", rule.name, report.limits_hit);
        assert_agree(&graph, &optimized, rule.name);
    }
}

/// -x of an unsigned x is 2^32 - x, and its quotient has nothing to do with that of x; the least i32 is its own negation.
#[test]
fn whole_quotients_keep_the_negations_of_their_operands() {
    for (dtype, x, y, wanted) in [
        (Dtype::U32, [1.0, 2.0, 0.0], [3.0, 1.0, 7.0], [1_431_655_765.0, 4_294_967_294.0, 0.0]),
        (Dtype::I32, [-2_147_483_648.0, 7.0, 9.0], [2.0, 2.0, -4.0], [-1_073_741_824.0, -3.0, 2.0]),
    ] {
        let graph = graph_of(&format!(
            r#"
            n0 = input {{role = data, name = "x", ty = {dtype}[3]}} : {dtype}[3]
            n1 = input {{role = data, name = "y", ty = {dtype}[3]}} : {dtype}[3]
            n2 = neg(n0) : {dtype}[3]
            n3 = div(n2, n1) : {dtype}[3]
            n4 = neg(n3) : {dtype}[3]
            result value "quotient" = n3
            result value "negated" = n4
            "#
        ));
        let tensor = |data: [f64; 3]| Tensor::new(TensorType::new(dtype, [3]), data.into()).unwrap();
        let inputs = [("x", x), ("y", y)].map(|(name, data)| (name.to_string(), tensor(data))).into();
        for graph in [&graph, &optimize(&graph, &Limits::default()).0] {
            assert_eq!(run(graph, &inputs).unwrap()[0].1.data, wanted, "{dtype}");
        }
    }
}

#[test]
fn names_of_rules_differ_and_their_operations_exist() {
    let mut names = BTreeSet::new();
    for rule in all() {
        assert!(names.insert(rule.name), "{} stands twice", rule.name);
        for name in rule.at {
            assert!(Op::NAMES.contains(name), "{}: there is no operation {name}", rule.name);
        }
    }
}

/// Nothing that the rules start from is a number here: the slice of the padding is found to be 7 by a rule, and -7 then follows.
#[test]
#[should_panic(expected = "bug in bpc: a rule made the numbers")]
fn constants_see_a_wrong_rule() {
    let graph = graph_of(
        r#"
        n0 = input {role = data, name = "x", ty = f64[4]} : f64[4]
        n1 = pad(n0) {low = [2], high = [3], value = f64(7)} : f64[9]
        n2 = slice(n1) {starts = [0], stops = [2]} : f64[2]
        n3 = neg(n2) : f64[2]
        result value "y" = n3
        "#,
    );
    fn splat(value: f64) -> Op {
        Op::Constant { value: Literal::new(Dtype::F64, value), shape: vec![2] }
    }
    let found = optimize(&graph, &Limits::default()).0;
    assert_eq!(found.main().nodes[found.main().results[0].node].op, splat(-7.0));
    let wrong = Rule {
        name: "wrong",
        doc: "-x = 5",
        example: "",
        at: &["neg"],
        rewrite: |m| m.becomes(Expression::Apply(splat(5.0), Vec::new())),
    };
    let mut rules: Vec<&Rule> = all().collect();
    rules.push(&wrong);
    optimize_with(&graph, &Limits::default(), &rules);
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
    let loaded = expand::load(&graph, graph.main_id(), &BTreeMap::new(), None);
    let three = Expression::Apply(Op::Constant { value: Literal::new(Dtype::F64, 3.0), shape: vec![3] }, Vec::new());
    let wrong = Expression::Apply(Op::Mul {}, vec![Expression::Class(loaded.inputs[0]), three]);
    let sides = both_sides(graph.main(), &loaded.egraph, &loaded.inputs, loaded.results[0], &wrong);
    let results = run(&sides, &Points(3).inputs(&sides)).unwrap();
    assert_ne!(results[0].1.data, results[1].1.data);
}
