//! Gradients of given samples, against numbers of the papers' formulas, and of functions with a step.

use super::*;

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
            for (dtype, element, tolerance) in [("f64", Dtype::F64, 1e-12), ("f32", Dtype::F32, 1e-5 * largest)] {
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
            |data: &[f64]| HostTensor::from_slice(shape.as_slice(), data).unwrap().convert(Dtype::F32).unwrap();
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
