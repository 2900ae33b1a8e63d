//! Expectations over all outcomes, and what follows from them.

use super::*;

fn expectation(text: &str, inputs: &BTreeMap<String, Tensor>) -> Expectation {
    enumeration(text, inputs).at(inputs).unwrap()
}

fn enumeration(text: &str, inputs: &BTreeMap<String, Tensor>) -> Enumeration {
    let model = model(text);
    let types = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.ty.clone())).collect();
    let compilation = model.compile(&types, false).unwrap_or_else(|error| panic!("{text}\n{error}"));
    Enumeration::new(model.program(), &compilation.lowered, "loss", &["logits"]).unwrap()
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
