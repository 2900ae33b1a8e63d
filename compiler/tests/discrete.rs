//! Rules for discrete choices, `std.rules.discrete`: golden gradients, expectations over all outcomes, draws, and that a wrong rule
//! is seen behind every pass.
//!
//! The numbers in `tests/golden/reinmax` come from NumPy in double precision: formulas of the papers for given samples,
//! enumeration of outcomes, and quadrature.

use bpc::gradcheck::{Enumeration, Expectation, Moments};
use bpc::ir::graph::Graph;
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, TensorType};
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program};
use bpc::{Mode, Model, State, Step, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::tensor::{Element, HostTensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const USES: &str = "use std.rules.discrete\nuse std.random { sample_onehot, mode_onehot }\nuse std.nn { softmax, softmax_pullback, softplus, threshold, spike }\n";

fn golden(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/reinmax").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn tensor(value: &Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

fn model(text: &str) -> Model {
    compile_text("discrete.bp", text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// A nested list of numbers as a tensor of doubles.
fn nested(value: &Value) -> Tensor {
    let mut shape = Vec::new();
    let mut inner = value;
    while let Value::Array(values) = inner {
        shape.push(values.len() as u64);
        inner = &values[0];
    }
    let mut data = Vec::new();
    collect(value, &mut data);
    Tensor::new(TensorType::new(Dtype::F64, shape), data).unwrap()
}

fn collect(value: &Value, data: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, data)),
        value => data.push(value.as_f64().unwrap()),
    }
}

fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs();
        assert!(error <= tolerance, "{what}[{place}] is {found} and should be {wanted}: off by {error:e}");
    }
}

// ---- gradients of given samples

/// The numbers of the draw `d`: the uniform numbers behind Gumbel noise.
const NOISE: &str = "d.noise.draw";

fn call(dtype: &str, rule: &str) -> Model {
    let text = format!(
        "{USES}
## 2 J(q) g - J(p) g / 2, as the paper writes it.
estimator as_defined(temperature: real = 1) for sample_onehot(logits: f[.., K]) -> d exact_for nothing {{
    let q = (softmax(logits / temperature) + d) / 2
    grad logits = 2 * softmax_pullback(q, grad d) - softmax_pullback(softmax(logits), grad d) / 2
}}
model call {{
    in logits: {dtype}[A, B, K]
    in g: {dtype}[A, B, K]
    let d = sample_onehot(logits) via {rule}
    out d = d
    out slope = grad(sum(d * g), logits)
}}"
    );
    model(&text).force(NOISE)
}

/// The value and the gradient, by the interpreter and as machine code.
fn value_and_slope(model: &Model, inputs: &Tensors) -> Vec<(Vec<f64>, Vec<f64>)> {
    let interpreted = model.interpret(&mut State::new(0), inputs).unwrap();
    let compiled = model.clone().jit().unwrap().evaluate(&mut State::new(0), inputs).unwrap();
    [interpreted, compiled]
        .iter()
        .map(|one| ["d", "slope"].map(|name| one.get(name).unwrap().to_f64()).into())
        .collect()
}

#[test]
fn gradients_of_given_samples() {
    for number in 0..4 {
        let case = golden(&format!("case{number}"));
        let temperature = case["temperature"].as_f64().unwrap();
        let sample = tensor(&case["sample"]);
        // The largest noise where the index is, the smallest elsewhere.
        let chosen: Vec<f64> = sample.to_f64().iter().map(|one| if *one == 1.0 { 1.0 - 6e-8 } else { 0.0 }).collect();
        let gumbel: Vec<f64> = tensor(&case["gumbel"]).to_f64().iter().map(|noise| (-(-noise).exp()).exp()).collect();
        let rules = [
            ("straight_through".to_string(), &chosen, "sample", "grad_logits_st"),
            (format!("straight_through({temperature})"), &chosen, "sample", "grad_logits_st_temperature"),
            (format!("reinmax({temperature})"), &chosen, "sample", "grad_logits_reinmax"),
            (format!("as_defined({temperature})"), &chosen, "sample", "grad_logits_reinmax"),
            (format!("gumbel_straight_through({temperature})"), &gumbel, "gumbel_sample", "grad_logits_gumbel_st"),
        ];
        for (rule, noise, value, slope) in rules {
            let wanted = tensor(&case[slope]).to_f64();
            let largest = wanted.iter().fold(0.0f64, |most, slope| most.max(slope.abs()));
            assert!(largest > 0.0 || case["logits"]["shape"][2] == 1, "case {number}, {slope} says nothing");
            for (dtype, element, tolerance) in [("f64", Element::F64, 1e-12), ("f32", Element::F32, 1e-5 * largest)] {
                let noise = HostTensor::from_slice(sample.shape(), noise).unwrap();
                let inputs = [("logits", tensor(&case["logits"])), ("g", tensor(&case["grad_sample"])), (NOISE, noise)];
                let inputs: Tensors = inputs
                    .into_iter()
                    .map(|(name, tensor)| (name.to_string(), tensor.convert(element).unwrap()))
                    .collect();
                for (d, found) in value_and_slope(&call(dtype, &rule), &inputs) {
                    assert_eq!(d, tensor(&case[value]).to_f64(), "case {number}, {rule}, {dtype}");
                    assert_close(&format!("case {number}, {rule}, {dtype}"), &found, &wanted, tolerance);
                }
            }
        }
    }
}

#[test]
fn rows_sum_to_zero_and_constants_change_nothing() {
    let case = golden("case0");
    let shape = tensor(&case["logits"]).shape().to_vec();
    let g = tensor(&case["grad_sample"]).to_f64();
    let largest = g.iter().fold(0.0f64, |most, g| most.max(g.abs()));
    let inputs = |shift: f64, lowered: &[usize]| -> Tensors {
        let mut logits = tensor(&case["logits"]).to_f64();
        lowered.iter().for_each(|place| logits[*place] = f64::NEG_INFINITY);
        let g: Vec<f64> = g.iter().map(|g| g + shift).collect();
        let noise: Vec<f64> = (0..g.len()).map(|place| (place * 37 % 101) as f64 / 101.0).collect();
        let named = [("logits", &logits), ("g", &g), (NOISE, &noise)];
        let single =
            |data: &[f64]| HostTensor::from_slice(shape.as_slice(), data).unwrap().convert(Element::F32).unwrap();
        named.into_iter().map(|(name, data)| (name.to_string(), single(data))).collect()
    };
    for rule in ["straight_through", "straight_through(0.5)", "gumbel_straight_through(0.5)", "reinmax", "reinmax(1.5)"]
    {
        let model = call("f32", rule);
        for (d, slope) in value_and_slope(&model, &inputs(0.0, &[])) {
            assert!(d.iter().all(|d| *d == 0.0 || *d == 1.0), "{rule}: {d:?}");
            let classes = shape[2] as usize;
            assert!(d.chunks(classes).all(|row| row.iter().sum::<f64>() == 1.0), "{rule}: {d:?}");
            let sums: Vec<f64> = slope.chunks(classes).map(|row| row.iter().sum()).collect();
            assert_close(&format!("{rule}, sums of rows"), &sums, &vec![0.0; sums.len()], 1e-6 * largest);
        }
        let (plain, shifted) = (value_and_slope(&model, &inputs(0.0, &[])), value_and_slope(&model, &inputs(1.0, &[])));
        assert_eq!(plain[1].0, shifted[1].0);
        assert_close(&format!("{rule}, a constant"), &shifted[1].1, &plain[1].1, 2e-6 * largest);
        // A class at -inf: never drawn, no gradient, and none of the others is lost.
        let masked = [0, 5, 8, 23];
        for (d, slope) in value_and_slope(&model, &inputs(0.0, &masked)) {
            assert!(masked.iter().all(|place| d[*place] == 0.0 && slope[*place] == 0.0), "{rule}: {slope:?}");
            assert!(slope.iter().all(|slope| slope.is_finite()), "{rule}: {slope:?}");
        }
    }
}

// ---- expectations

fn expectation(text: &str, inputs: &BTreeMap<String, Tensor>) -> Expectation {
    enumeration(text, inputs).at(inputs).unwrap()
}

fn enumeration(text: &str, inputs: &BTreeMap<String, Tensor>) -> Enumeration {
    let model = model(text);
    let types = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.ty.clone())).collect();
    let compilation = model.compile(&types, false).unwrap_or_else(|error| panic!("{text}\n{error}"));
    Enumeration::new(model.program(), &compilation.lowered.graph, "loss", &["logits"]).unwrap()
}

fn moments(text: &str, inputs: &BTreeMap<String, Tensor>) -> Moments {
    expectation(text, inputs).gradients.remove("logits").unwrap()
}

#[test]
fn expectations_of_one_choice() {
    let record = golden("expectation");
    for row in record["rows"].as_array().unwrap() {
        let (name, uses, loss) = match row["loss"].as_str().unwrap() {
            name if name.starts_with("linear") => (name, vec!["c"], "sum(c * d)"),
            name if name.starts_with("quadratic") => {
                (name, vec!["A", "c"], "sum(d * sum(A * d, axis = -1)) / 2 + sum(c * d)")
            }
            name => (name, vec!["v"], "pow(sum(v * d) - 0.45, 3)"),
        };
        let classes = row["logits"].as_array().unwrap().len();
        let mut inputs = BTreeMap::from([("logits".to_string(), nested(&row["logits"]))]);
        let mut lines = String::new();
        for name in uses {
            let value = nested(&row[name]);
            lines += &format!("    in {name}: f64{:?}\n", value.ty.shape);
            inputs.insert(name.to_string(), value);
        }
        for (rule, expected) in [("straight_through", "expected_straight_through"), ("reinmax", "expected_reinmax")] {
            let text = format!(
                "{USES}model one {{\n    in logits: f64[{classes}]\n{lines}    let d = sample_onehot(logits) via {rule}\n    out loss = {loss}\n}}"
            );
            let found = moments(&text, &inputs);
            let what = format!("{name}, {classes} classes, {rule}");
            let exact = nested(&row["exact"]).data;
            assert_close(&format!("{what}, exact"), &found.exact.data, &exact, 1e-11);
            assert_close(&what, &found.mean.data, &nested(&row[expected]).data, 1e-11);
            let holds = name.starts_with("linear") || (name.starts_with("quadratic") && rule == "reinmax");
            if holds {
                assert_close(&format!("{what} is exact"), &found.mean.data, &found.exact.data, 1e-12);
            }
        }
    }
}

#[test]
fn expectations_of_several_choices() {
    let record = golden("joint");
    for case in record["cases"].as_array().unwrap() {
        let kind = case["loss"].as_str().unwrap();
        let as_double = |value: &Value| {
            let tensor = tensor(value);
            Tensor::new(TensorType::new(Dtype::F64, tensor.shape()), tensor.to_f64()).unwrap()
        };
        let logits = as_double(&case["logits"]);
        let (choices, classes) = (logits.ty.shape[0], logits.ty.shape[1]);
        let mut inputs = BTreeMap::from([("logits".to_string(), logits)]);
        let mut lines = String::new();
        for (name, value) in case["params"].as_object().unwrap() {
            let value = as_double(value);
            lines += &format!("    in {name}: f64{:?}\n", value.ty.shape);
            inputs.insert(name.clone(), value);
        }
        let loss = match kind {
            "multilinear" => "sum(M * reshape(d[0], [3, 1, 1]) * reshape(d[1], [3, 1]) * d[2])",
            "quadratic" => "sum(v * sum(A * v, axis = -1)) / 2 + sum(c * v)",
            _ => "sum(softplus(s) - target * s)",
        };
        let scores = if kind == "decoder" {
            "    let hidden = tanh(sum(W1 * v, axis = -1) + b1)\n    let s = sum(W2 * hidden, axis = -1)\n"
        } else {
            ""
        };
        for (name, wanted) in case["rules"].as_object().unwrap() {
            let rule = match name.rsplit_once('_') {
                Some((rule, temperature)) if temperature.parse::<f64>().is_ok() => format!("{rule}({temperature})"),
                _ => name.clone(),
            };
            let text = format!(
                "{USES}model joint {{\n    in logits: f64[{choices}, {classes}]\n{lines}    let d = sample_onehot(logits) via {rule}\n    let v = reshape(d, [{}])\n{scores}    out loss = {loss}\n}}",
                choices * classes
            );
            let found = moments(&text, &inputs);
            let what = format!("{kind}, {choices} of {classes} classes, {rule}");
            assert_close(&format!("{what}, exact"), &found.exact.data, &tensor(&case["exact"]).to_f64(), 1e-11);
            assert_close(&what, &found.mean.data, &tensor(&wanted["expected"]).to_f64(), 1e-11);
            let variance = wanted["total_variance"].as_f64().unwrap();
            assert_close(&format!("{what}, variance"), &[found.total_variance()], &[variance], 1e-11);
            let holds = kind == "multilinear" && matches!(rule.as_str(), "straight_through" | "reinmax")
                || kind == "quadratic" && rule == "reinmax";
            if holds {
                assert_close(&format!("{what} is exact"), &found.mean.data, &found.exact.data, 1e-12);
            } else {
                let bias = wanted["relative_bias"].as_f64().unwrap();
                assert!((found.relative_bias() - bias).abs() < 1e-9, "{what}: {} and {bias}", found.relative_bias());
                assert!(bias > 1e-3, "{what}: an estimator that should be biased");
            }
        }
    }
}

/// Coins, and a choice that depends on one of them: every joint outcome is forced.
#[test]
fn coins_and_choices_that_depend_on_them() {
    let text = format!(
        "{USES}use std.random {{ bernoulli }}
model coins {{
    in logits: f64[3]
    in c: f64[3]
    let z = bernoulli(1 / (1 + exp(-logits))) via straight_through
    let d = sample_onehot(logits * f64(z[0]) + c) via straight_through
    out loss = sum(c * f64(z)) + 2 * sum(d * c) - d[0]
}}"
    );
    let values = |data: [f64; 3]| Tensor::new(TensorType::new(Dtype::F64, [3]), data.to_vec()).unwrap();
    let inputs =
        BTreeMap::from([("logits".to_string(), values([0.3, -0.8, 1.1])), ("c".to_string(), values([0.7, -1.3, 0.4]))]);
    let found = expectation(&text, &inputs);
    assert_eq!(found.outcomes, 24);
    // The expected loss by hand, and its slope by differences.
    let expected = |logits: [f64; 3]| -> f64 {
        let c = [0.7, -1.3, 0.4];
        let p = logits.map(|logit| 1.0 / (1.0 + (-logit).exp()));
        let choice = |on: f64| -> f64 {
            let e = [0, 1, 2].map(|k| (logits[k] * on + c[k]).exp());
            let total: f64 = e.iter().sum();
            (0..3).map(|k| e[k] / total * (2.0 * c[k] - if k == 0 { 1.0 } else { 0.0 })).sum()
        };
        p.iter().zip(c).map(|(p, c)| p * c).sum::<f64>() + p[0] * choice(1.0) + (1.0 - p[0]) * choice(0.0)
    };
    assert!((found.loss - expected([0.3, -0.8, 1.1])).abs() < 1e-12, "{}", found.loss);
    for place in 0..3 {
        let at = |step: f64| {
            let mut logits = [0.3, -0.8, 1.1];
            logits[place] += step;
            expected(logits)
        };
        let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
        let exact = found.gradients["logits"].exact.data[place];
        assert!((exact - slope).abs() < 1e-9, "{place}: {exact} and {slope}");
    }
}

fn polynomial(rule: &str, power: f64) -> String {
    format!(
        "{USES}model polynomial {{\n    in logits: f64[2]\n    let d = sample_onehot(logits) via {rule}\n    out loss = pow(abs(d[0] - 0.45), {power})\n}}"
    )
}

fn logits_of(values: &[f64]) -> BTreeMap<String, Tensor> {
    let ty = TensorType::new(Dtype::F64, [values.len() as u64]);
    BTreeMap::from([("logits".to_string(), Tensor::new(ty, values.to_vec()).unwrap())])
}

#[test]
fn a_polynomial_of_one_bit() {
    let record = golden("polynomial");
    for row in record["rows"].as_array().unwrap() {
        let power = row["p"].as_f64().unwrap();
        let logits = nested(&row["logits"]).data;
        let inputs = logits_of(&logits);
        let wanted = |key: &str| row[key].as_f64().unwrap_or_else(|| row["grad_logit_0"][key].as_f64().unwrap());
        let rules = [
            ("straight_through", "straight_through"),
            ("reinmax", "reinmax"),
            ("straight_through(1.5)", "grad_logit_0_straight_through_1.5"),
            ("reinmax(1.5)", "grad_logit_0_reinmax_1.5"),
        ];
        for (rule, key) in rules {
            let found = moments(&polynomial(rule, power), &inputs);
            let what = format!("{rule}, power {power}, logits {logits:?}");
            assert_close(&format!("{what}, exact"), &found.exact.data[..1], &[wanted("exact")], 1e-13);
            assert_close(&what, &found.mean.data[..1], &[wanted(key)], 1e-13);
            assert_close(&what, &found.mean.data[1..], &[-wanted(key)], 1e-13);
            if let Some(variance) = row.get(format!("variance_{rule}")) {
                assert_close(&what, &found.variance.data[..1], &[variance.as_f64().unwrap()], 1e-13);
            }
        }
        // ReinMax is the trapezoid rule: its relative bias does not depend on the logits.
        let found = moments(&polynomial("reinmax", power), &inputs);
        let relative = found.mean.data[0] / found.exact.data[0] - 1.0;
        let known = if power == 1.5 {
            -0.499
        } else if power == 2.0 {
            0.0
        } else {
            0.993
        };
        assert!((relative - known).abs() < 5e-4, "power {power}: {relative}");
    }
    for (power, resting) in [(1.5, 0.4749371855330997), (2.0, 0.45), (3.0, 0.40099009900990096)] {
        for (shift, sign) in [(-1e-3, -1.0), (1e-3, 1.0)] {
            let probability: f64 = resting + shift;
            let logits = logits_of(&[(probability / (1.0 - probability)).ln(), 0.0]);
            let found = moments(&polynomial("straight_through", power), &logits);
            assert!(found.mean.data[0] * sign > 0.0 && found.exact.data[0] > 0.0, "power {power} at {probability}");
        }
    }
}

/// The noise of a choice between two matters by its difference alone, which is logistic: Gauss's rule of three nodes in many
/// panels on each side of the place where the choice changes, with the estimates of the compiled program.
#[test]
fn gumbel_straight_through_by_quadrature() {
    const PANELS: usize = 6000;
    let record = golden("polynomial");
    for row in record["rows"].as_array().unwrap() {
        let power = row["p"].as_f64().unwrap();
        let logits = nested(&row["logits"]).data;
        let text = format!(
            "{USES}model quadrature {{\n    in logits: f64[N, 2]\n    let d = sample_onehot(logits) via gumbel_straight_through(0.5)\n    out slope = grad(sum(pow(abs(d[:, 0] - 0.45), {power})), logits)\n}}"
        );
        let change = logits[1] - logits[0];
        let (mut noise, mut weights) = (Vec::new(), Vec::new());
        for (start, stop) in [(-30.0, change), (change, 30.0)] {
            let width = (stop - start) / PANELS as f64;
            for panel in 0..PANELS {
                for (place, weight) in [(-0.6f64.sqrt(), 5.0), (0.0, 8.0), (0.6f64.sqrt(), 5.0)] {
                    let difference = start + width * (panel as f64 + 0.5 + 0.5 * place);
                    noise.extend([difference.max(0.0), (-difference).max(0.0)].map(|gumbel| (-(-gumbel).exp()).exp()));
                    let e = (-difference.abs()).exp();
                    weights.push(weight / 18.0 * width * e / (1.0 + e).powi(2));
                }
            }
        }
        let rows = weights.len();
        let inputs = Tensors::new()
            .with_slice("logits", &[rows as u64, 2], &logits.repeat(rows))
            .unwrap()
            .with_slice(NOISE, &[rows as u64, 2], &noise)
            .unwrap();
        let mut step = model(&text).force(NOISE).jit().unwrap();
        let slope = step.evaluate(&mut State::new(0), &inputs).unwrap().get("slope").unwrap().to_f64();
        let total = slope.chunks(2).zip(&weights).map(|(row, weight)| row[0] * weight).sum::<f64>();
        let wanted = row["grad_logit_0"]["gumbel_straight_through_0.5"].as_f64().unwrap();
        assert_close(&format!("power {power}, logits {logits:?}"), &[total], &[wanted], 1e-10);
    }
}

#[test]
fn descent_along_expected_gradients() {
    let record = golden("polynomial");
    for flow in record["expected_flow"].as_array().unwrap() {
        let power = flow["p"].as_f64().unwrap();
        let start = nested(&flow["start_logits"]).data;
        let rate = flow["learning_rate"].as_f64().unwrap();
        for (rule, key) in [("reinmax", "exact"), ("reinmax", "reinmax"), ("straight_through", "straight_through")] {
            let mut logits = start.clone();
            let enumeration = enumeration(&polynomial(rule, power), &logits_of(&logits));
            let marks = nested(&flow[format!("prob_of_z_1_{key}")]).data;
            let mut passed = Vec::new();
            for step in 1..=flow["steps"].as_u64().unwrap() {
                let moments = enumeration.at(&logits_of(&logits)).unwrap().gradients.remove("logits").unwrap();
                let slope = if key == "exact" { moments.exact } else { moments.mean };
                logits.iter_mut().zip(&slope.data).for_each(|(logit, slope)| *logit -= rate * slope);
                if step % 200 == 0 {
                    passed.push(1.0 / (1.0 + (logits[1] - logits[0]).exp()));
                }
            }
            assert_close(&format!("{key}, power {power}"), &passed, &marks, 1e-9);
        }
        let resting = flow["resting_point_straight_through"].as_f64().unwrap();
        let last = nested(&flow["prob_of_z_1_straight_through"]).data;
        assert_close("where straight-through rests", &last[9..], &[resting], 1e-9);
    }
}

// ---- draws

fn drawn(rule: &str, threads: usize, inputs: &Tensors) -> Tensors {
    let text = format!(
        "{USES}model draws {{
    in logits: f32[B, 8]
    let d = sample_onehot(logits) via {rule}
    out d = d
    out counts = sum(d, axis = 0)
    out slope = grad(sum(d * range_of(logits)), logits)
}}
fn range_of(x: f[.., K]) -> f[.., K] {{ expand(f(range(K)), x.shape) }}"
    );
    model(&text).jit_with_threads(threads).unwrap().evaluate(&mut State::new(7), inputs).unwrap()
}

#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: usize = 1_000_000;
    let logits = [0.3f32, -1.2, 2.0, f32::NEG_INFINITY, 0.0, 0.0, -3.5, 1.1];
    let inputs = Tensors::new().with_slice("logits", &[DRAWS as u64, 8], &logits.repeat(DRAWS)).unwrap();
    let counts = drawn("straight_through", 2, &inputs).get("counts").unwrap().to_f64();
    let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    assert_eq!(counts[3], 0.0);
    assert_eq!(counts.iter().sum::<f64>(), DRAWS as f64);
    let mut square = 0.0;
    for (count, logit) in counts.iter().zip(logits).filter(|(_, logit)| logit.is_finite()) {
        let wanted = DRAWS as f64 * f64::from(logit).exp() / total;
        square += (count - wanted).powi(2) / wanted;
    }
    // The 1 - 1e-4 quantile of chi square with 6 degrees of freedom.
    assert!(square < 27.86, "chi square {square}: {counts:?}");
}

#[test]
fn every_rule_and_every_number_of_threads_draws_the_same() {
    let logits: Vec<f32> = (0..8 * 4096).map(|place| ((place * 7919) % 1000) as f32 / 300.0).collect();
    let inputs = Tensors::new().with_slice("logits", &[4096, 8], &logits).unwrap();
    let first = drawn("straight_through", 1, &inputs);
    for rule in ["straight_through(0.5)", "gumbel_straight_through(0.7)", "reinmax", "reinmax(1.3)"] {
        let (one, four) = (drawn(rule, 1, &inputs), drawn(rule, 4, &inputs));
        assert_eq!(one.get("d"), first.get("d"), "{rule}");
        assert_eq!(one, four, "{rule}");
        assert_ne!(one.get("slope"), first.get("slope"), "{rule}");
    }
}

#[test]
fn the_lowest_of_equals_is_taken() {
    let text = format!(
        "{USES}model ties {{\n    in logits: f32[B, 3]\n    let d = sample_onehot(logits)\n    out d = d\n    out mode = mode_onehot(logits)\n}}"
    );
    let inputs = Tensors::new()
        .with_slice("logits", &[2, 3], &[1.0f32, 1.0, 1.0, 0.0, 2.0, 2.0])
        .unwrap()
        .with_slice(NOISE, &[2, 3], &[0.5f32; 6])
        .unwrap();
    let found = model(&text).force(NOISE).jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap();
    for name in ["d", "mode"] {
        assert_eq!(found.get(name).unwrap().to_f64(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "{name}");
    }
    let one = format!(
        "{USES}model one {{\n    in logits: f32[1]\n    let d = sample_onehot(logits) via reinmax\n    out d = d\n    out slope = grad(sum(3 * d), logits)\n}}"
    );
    let found = model(&one)
        .jit()
        .unwrap()
        .evaluate(&mut State::new(0), &Tensors::new().with_slice("logits", &[1], &[0.4f32]).unwrap());
    let found = found.unwrap();
    assert_eq!((found.scalar_of("d"), found.scalar_of("slope")), (1.0, 0.0));
}

trait ScalarOf {
    fn scalar_of(&self, name: &str) -> f64;
}

impl ScalarOf for Tensors {
    fn scalar_of(&self, name: &str) -> f64 {
        self.get(name).unwrap().to_f64()[0]
    }
}

// ---- wrong on purpose

/// Functions of x with their rules, three times what they should be, and that: the cotangent is 2.5 times x squared.
const WRONG: &[(&str, &str)] = &[
    ("sample_onehot", "softmax_pullback(softmax(x), g)"),
    ("mode_onehot", "softmax_pullback(softmax(x), g)"),
    ("round", "g"),
    ("sign", "g"),
    ("threshold", "g"),
    ("spike", "g"),
];

fn wrong(function: &str, right: &str, factor: f64) -> Model {
    let (params, argument) = match function {
        "sample_onehot" | "mode_onehot" => ("x: f[.., K]", "x"),
        "threshold" | "spike" => ("x: f[..], level: real", "x"),
        _ => ("x", "x"),
    };
    model(&format!(
        "{USES}
estimator wrong for {function}({params}) -> y exact_for nothing {{
    let g = grad y
    grad {argument} = 3 * {right}
}}
model wrong {{
    in x: f64[N, 4]
    let y = {function}(x) via wrong
    let g = 2.5 * x * x
    out y = y
    out dx = grad(sum(y * g), y)
    out found = grad(sum(y * stop(g)), x)
    out wanted = {factor} * {right}
}}"
    ))
}

fn outputs_of(graph: &Graph, x: &[f64]) -> BTreeMap<String, Vec<f64>> {
    let inputs = graph.main().inputs.iter().map(|input| match &graph.main().nodes[*input].op {
        Op::Input { name, ty, .. } if name == "x" => (name.clone(), Tensor::new(ty.clone(), x.to_vec()).unwrap()),
        Op::Input { name, ty, .. } => (name.clone(), Tensor::splat(ty.clone(), 0.0)),
        other => panic!("{other:?}"),
    });
    let results = interpret::run(graph, &inputs.collect()).unwrap();
    results.into_iter().map(|(output, tensor)| (output.name, tensor.data)).collect()
}

fn outputs_of_kernels(program: &Program, x: &[f64]) -> BTreeMap<String, Vec<f64>> {
    let buffers = |role: BufferRole| program.buffers.iter().filter(move |(_, buffer)| buffer.role == role);
    let mut blocks = Blocks::new(program);
    let input = buffers(BufferRole::Data).find(|(_, buffer)| buffer.name == "x").unwrap().0;
    blocks.set(program, input, x);
    evaluate(program, &mut blocks);
    buffers(BufferRole::Output).map(|(id, buffer)| (buffer.name.clone(), blocks.get(program, id))).collect()
}

#[test]
fn a_wrong_rule_is_seen_behind_every_pass() {
    let x = [0.3, -1.2, 0.8, 2.0, -0.1, 1.4, 0.6, -0.7];
    for (function, right) in WRONG {
        let model = wrong(function, right, 3.0);
        let inputs = Tensors::new().with_slice("x", &[2, 4], &x).unwrap();
        let mut step: Step = model.jit().unwrap();
        let outputs = step.evaluate(&mut State::new(0), &inputs).unwrap();
        let code: BTreeMap<String, Vec<f64>> =
            outputs.iter().map(|(name, tensor)| (name.to_string(), tensor.to_f64())).collect();
        let compilation = step.prepare(Mode::Evaluate, &inputs).unwrap();
        let all = [
            ("after differentiation", outputs_of(&compilation.gradient, &x)),
            ("after the e-graph", outputs_of(&compilation.optimized, &x)),
            ("kernels", outputs_of_kernels(&compilation.kernels, &x)),
            ("machine code", code),
        ];
        for (place, found) in &all {
            assert_close(&format!("{function}, {place}"), &found["found"], &found["wanted"], 1e-12);
            assert!(found["found"].iter().any(|slope| slope.abs() > 0.1), "{function}, {place}: {:?}", found["found"]);
        }
    }
}

#[test]
fn what_a_rule_reads_of_the_forward_pass() {
    let read = |rule: &str, text: &str| {
        let program = format!(
            "{USES}model reads {{\n    in x: f32[128, 64, 8]\n    param shift: f32[8] ~ zeros\n    let d = sample_onehot(x + shift) via {rule}\n    out slope = grad(sum(d * x), shift)\n}}"
        );
        let compilation = model(&program).compile(&BTreeMap::new(), false).unwrap();
        bpc::measure::kept_bytes(&compilation.gradient, "sample_onehot", text)
    };
    let (rows, classes) = (128 * 64, 8);
    // The class as i32 and p; at another temperature the warmer softmax too.
    assert_eq!(read("reinmax", "reinmax(temperature = 1.0)"), rows * (4 + 4 * classes));
    assert_eq!(read("reinmax(1.3)", "reinmax(temperature = 1.3)"), rows * (4 + 2 * 4 * classes));
    assert_eq!(read("straight_through", "straight_through(temperature = 1.0)"), rows * 4 * classes);
}

// ---- steps

#[test]
fn surrogate_derivatives() {
    let slope = |call: &str, at: f64| -> f64 {
        let text = format!("{USES}model step {{\n    in x: f64[]\n    out slope = grad({call}, x)\n}}");
        let inputs = Tensors::new().with_scalar("x", at);
        model(&text).jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap().scalar("slope").unwrap()
    };
    let third = 1.0 / std::f64::consts::PI;
    let cases = [
        // 1 / (1 + 25 u)^2 is a quarter at u = 1 / 25; sign jumps by 2, and round at every half.
        ("threshold(x) via fast_sigmoid", 0.04, 0.25),
        ("threshold(x, 0.5) via fast_sigmoid(slope = 2)", 1.0, 0.25),
        ("spike(x) via fast_sigmoid", 0.96, 0.25),
        ("sign(x) via fast_sigmoid", -0.04, 0.5),
        ("round(x) via fast_sigmoid", 2.54, 0.25),
        ("round(x) via fast_sigmoid", -1.54, 0.25),
        // 1 / (1 + (pi u)^2) is a half at u = 1 / pi.
        ("threshold(x) via arctan", third, 0.5),
        ("spike(x) via arctan", 1.0 - third, 0.5),
        ("sign(x) via arctan", third, 1.0),
        ("round(x) via arctan", 0.5 + third, 0.5),
        ("threshold(x) via arctan(alpha = 4)", 0.0, 2.0),
        ("threshold(x) via boxcar", 0.4, 1.0),
        ("threshold(x) via boxcar", 0.6, 0.0),
        ("spike(x) via boxcar(width = 0.5)", 1.2, 2.0),
        ("sign(x) via boxcar", 0.9, 1.0),
        ("sign(x) via boxcar", -1.1, 0.0),
        ("round(x) via boxcar(width = 0.5)", 3.3, 2.0),
        ("round(x) via boxcar(width = 0.5)", 3.2, 0.0),
        ("round(x) via straight_through", 0.3, 1.0),
        ("sign(x) via straight_through", 5.0, 1.0),
        ("threshold(x) via straight_through", 5.0, 1.0),
        ("spike(x) via straight_through", -5.0, 1.0),
    ];
    for (call, at, wanted) in cases {
        assert_close(&format!("{call} at {at}"), &[slope(call, at)], &[wanted], 1e-12);
    }
}
