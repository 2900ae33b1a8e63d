//! Gates, their variations, and gates of numbers: the tables of `logic.json`.

use crate::golden::{model, outputs, record};
use bpc::{State, Tensors};
use serde_json::Value;

/// One expression for each gate that depends on an input; every input stands in it once.
const GATES: &[&str] = &[
    "a and b",
    "a and not b",
    "not a and b",
    "not a and not b",
    "a or b",
    "a or not b",
    "not a or b",
    "not a or not b",
    "a xor b",
    "not (a xor b)",
    "a",
    "not a",
    "b",
    "not b",
];

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn the_cotangent_of_a_gate_is_its_variation() {
    let record = record("logic");
    let mut known = 0;
    let points = Tensors::new()
        .with_slice("a", &[4], &[true, true, false, false])
        .unwrap()
        .with_slice("b", &[4], &[true, false, true, false])
        .unwrap();
    for gate in GATES {
        let first = if gate.contains('a') { "out first = grad(loss, a)" } else { "" };
        let second = if gate.contains('b') { "out second = grad(loss, b)" } else { "" };
        let text = format!(
            "model gate {{
    in a: bool[N]
    in b: bool[N]
    let y = {gate}
    let loss = sum(f64(y))
    out y = y
    {first}
    {second}
}}"
        );
        for found in outputs(&text, &Tensors::new(), &points) {
            let truth: Vec<f64> = found.get("y").unwrap().to_f64().iter().map(|bit| 2.0 * bit - 1.0).collect();
            let gates = record["gates"].as_array().unwrap();
            let golden = gates.iter().find(|golden| list(&golden["truth"]) == truth).unwrap();
            for (name, key) in [("first", "variation_first"), ("second", "variation_second")] {
                match found.get(name) {
                    Some(variation) => assert_eq!(variation.to_f64(), list(&golden[key]), "{gate}, {name}"),
                    None => assert_eq!(list(&golden[key]), [0.0; 4], "{gate} does not depend on the {name}"),
                }
            }
            known += 1;
        }
    }
    assert_eq!(known, 3 * 14);
    assert_eq!(record["gates"].as_array().unwrap().len(), 16);
}

/// Where neither input plays a role there is no gradient at all, which is an error and not a zero.
#[test]
fn a_constant_has_no_gradient() {
    let text = "model constant { in a: bool[N]; let loss = sum(f64(stop(a) or true)); out slope = grad(loss, a) }";
    let points = Tensors::new().with_slice("a", &[2], &[true, false]).unwrap();
    let error = match model(text).jit().unwrap().evaluate(&mut State::new(0), &points) {
        Ok(_) => panic!("a gradient out of nothing"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("BP0410"), "{error}");
}

fn mixed(gate: &str, a: &[f64], x: &[f64]) -> Vec<Vec<f64>> {
    let text = format!(
        "use std.logic {{ mixed_gate }}
model mixed {{ in a: f64[N]; in x: f64[N]; out y = mixed_gate(a, x, \"{gate}\") }}"
    );
    let size = [a.len() as u64];
    let inputs = Tensors::new().with_slice("a", &size, a).unwrap().with_slice("x", &size, x).unwrap();
    outputs(&text, &Tensors::new(), &inputs).iter().map(|found| found.get("y").unwrap().to_f64()).collect()
}

#[test]
fn three_valued_gates() {
    let record = record("logic");
    let points: Vec<Vec<f64>> = record["three_valued_points"].as_array().unwrap().iter().map(list).collect();
    let (a, b): (Vec<f64>, Vec<f64>) = points.iter().map(|point| (point[0], point[1])).unzip();
    for gate in ["xnor", "xor", "and", "or"] {
        for found in mixed(gate, &a, &b) {
            assert_eq!(found, list(&record["three_valued"][gate]), "{gate}");
        }
    }
}

#[test]
fn gates_of_logic_and_numbers() {
    for case in record("logic")["mixed"].as_array().unwrap() {
        let (a, x) = (case["logic"].as_f64().unwrap(), case["number"].as_f64().unwrap());
        for found in mixed(case["gate"].as_str().unwrap(), &[a], &[x]) {
            assert_eq!(found, [case["result"].as_f64().unwrap()], "{case}");
        }
    }
}

/// f'(s) is what f changes from s to s + 1.
#[test]
fn the_variation_of_a_threshold() {
    let golden = &record("logic")["threshold_variation"];
    let (s, variation) = (list(&golden["s"]), list(&golden["variation"]));
    let text = "use std.logic { fire }
model threshold { in s: f64[N]; out change = f64(fire(s + 1, 6, 3)) - f64(fire(s, 6, 3)) }";
    let inputs = Tensors::new().with_slice("s", &[s.len() as u64], &s).unwrap();
    for found in outputs(text, &Tensors::new(), &inputs) {
        assert_eq!(found.get("change").unwrap().to_f64(), variation);
    }
}
