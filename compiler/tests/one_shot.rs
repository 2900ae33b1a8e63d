//! Rollouts of physical systems in double precision: the programs in `tests/golden/one_shot` against the numbers beside them, which come
//! from the formulas of the adjoint, of forward sensitivities and of the complex step; by the reference interpreter and as machine code.

use bpc::{Model, State, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::tensor::{Element, HostTensor};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// One golden case: its program, and the record of numbers.
struct Case {
    name: &'static str,
    text: String,
    record: Value,
}

fn case(name: &'static str) -> Case {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/one_shot");
    let text = fs::read_to_string(folder.join(format!("{name}.bp"))).unwrap();
    let record = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    Case { name, text, record: serde_json::from_str(&record).unwrap() }
}

fn tensor(value: &Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

fn model(name: &str, text: &str) -> Model {
    compile_text(&format!("{name}.bp"), text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
}

/// The outputs by the interpreter and as machine code.
fn both(name: &str, text: &str, inputs: &Tensors) -> [Tensors; 2] {
    let interpreted = model(name, text).interpret(&mut State::new(0), inputs).unwrap();
    let mut step = model(name, text).jit_with_threads(2).unwrap();
    [interpreted, step.evaluate(&mut State::new(0), inputs).unwrap()]
}

impl Case {
    /// What the program asks for: the numbers of the case, the matrices of its penalties, and a nudge of the states, by which the
    /// derivative is the costate.
    fn inputs(&self) -> Tensors {
        let signature = model(self.name, &self.text).signature().unwrap();
        let named = signature.inputs.iter().map(|input| {
            let tensor = match input.name.as_str() {
                "nudge" => {
                    let states = tensor(&self.record["states"]).shape().to_vec();
                    HostTensor::zeros(Element::F64, [states[1] - 1, states[0], states[2]]).unwrap()
                }
                "M" | "m0" => tensor(&self.record["penalties"][0][&input.name]),
                name => tensor(&self.record[name]),
            };
            (input.name.clone(), tensor)
        });
        named.collect()
    }

    /// Held to the record: states to 1e-12, losses and gradients to 1e-11 of the largest entry.
    fn check(&self) {
        for (engine, found) in ["interpreter", "machine code"].iter().zip(both(self.name, &self.text, &self.inputs())) {
            for (name, found) in found.iter() {
                let what = format!("{}, {engine}, {name}", self.name);
                let wanted = match name {
                    "costates" => after_the_first(&tensor(&self.record["costates"])),
                    _ => tensor(&self.record[name]).to_f64(),
                };
                close(&what, &found.to_f64(), &wanted, if name == "states" { 1e-12 } else { 1e-11 });
            }
        }
    }
}

/// [B, T + 1, n] without the first time, as [T, B, n].
fn after_the_first(costates: &HostTensor) -> Vec<f64> {
    let [batch, times, n] = costates.shape().iter().map(|size| *size as usize).collect::<Vec<_>>()[..] else {
        panic!("costates have three axes")
    };
    let values = costates.to_f64();
    let place = |time: usize, lane: usize, i: usize| values[(lane * times + time) * n + i];
    (1..times)
        .flat_map(|time| (0..batch).flat_map(move |lane| (0..n).map(move |i| (time, lane, i))))
        .map(|(time, lane, i)| place(time, lane, i))
        .collect()
}

fn close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let scale = wanted.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(scale > 0.0, "{what}: the record says nothing");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs() / scale;
        assert!(error <= tolerance, "{what}[{place}] is {found}, not {wanted}: off by {error:e}");
    }
}

#[test]
fn principal_rotation_by_runge_kutta() {
    case("rigid_principal_rk4").check();
}

#[test]
fn full_rotation_without_torque() {
    let case = case("rigid_full_euler_torque_free");
    case.check();
    // The scale of the inertia changes nothing, so that the gradient stands across theta.
    let theta = tensor(&case.record["theta"]).to_f64();
    for found in both(case.name, &case.text, &case.inputs()) {
        let gradient = found.get("grad_theta").unwrap().to_f64();
        let product: f64 = theta.iter().zip(&gradient).map(|(one, two)| one * two).sum();
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(product.abs() <= 1e-14 * length(&theta) * length(&gradient), "{product:e}");
    }
}

#[test]
fn duffing_by_the_implicit_midpoint() {
    case("duffing_midpoint").check();
}

#[test]
fn tanks_with_a_truncated_gradient() {
    case("tanks_euler_truncated").check();
}
