//! Settings and programs that are refused, and numbers that are none.

use super::*;

/// The message for a layer under a rule, with the line to blame.
fn message(rule: &str, shape: &[u64]) -> String {
    let text = format!(
        "{USES}model wrong {{
    in x: f32{shape:?}
    param w: f32[5, {}] ~ normal
    let y = linear(x, w) via {rule}
    minimize mean(y * y) using sgd
}}",
        shape[shape.len() - 1]
    );
    let model = compile_text("wht.bp", &text, &mut |_| None);
    match model.and_then(|model| model.compile(&BTreeMap::new(), true)) {
        Ok(_) => panic!("{rule} compiled"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn settings_that_cannot_be_are_errors_with_their_place() {
    let cases: &[(&str, &[u64], &str)] = &[
        ("wht(k = 2, block = 6)", &[2, 36, 4], "a power of two"),
        ("wht(k = 2, grid = [3, 3])", &[2, 9, 4], "3 places are too few"),
        ("wht(k = 2, grid = [7, 6])", &[2, 49, 4], "grid and extra do not"),
        ("wht(k = 2)", &[2, 50, 4], "no square map"),
        ("wht(k = 2, extra = 50)", &[2, 49, 4], "extra"),
        ("wht(pairs = [[8, 0]])", &[2, 64, 4], "the function (8, 0) does not exist"),
        ("wht(pairs = [[1, 0], [1, 0]])", &[2, 64, 4], "kept twice"),
        ("wht(select = \"l2\", k = 2)", &[2, 64, 4], "select is \"l1\" or"),
        ("wht", &[2, 64, 4], "k = 1, 2"),
        ("wht(k = 2)", &[64, 4], "batch"),
    ];
    for (rule, shape, wanted) in cases {
        let message = message(rule, shape);
        assert!(message.contains(wanted), "{rule}: {message}");
        let first = message.lines().find(|line| line.contains("wht.bp:")).unwrap_or_default();
        assert!(first.contains("wht.bp:7:") && !first.contains("std"), "{rule}: {message}");
    }
}

#[test]
fn a_second_derivative_is_refused() {
    let text = format!(
        "{USES}model twice {{
    in x: f32[2, 64, 4]
    in w: f32[5, 4]
    let y = linear(x, w) via wht(k = 2)
    let slope = grad(sum(y * y), x)
    out curve = grad(sum(slope * slope), x)
}}"
    );
    let model = compile_text("twice.bp", &text, &mut |_| None);
    let message = match model.and_then(|model| model.compile(&BTreeMap::new(), true)) {
        Ok(_) => panic!("the derivative of an estimate was computed"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("BP0412") && message.contains("twice.bp:"), "{message}");
}

#[test]
fn a_nan_stays_in_its_block() {
    let sizes = [128, 2, 2];
    let mut inputs = layer_inputs(1, sizes);
    let mut gy = values(&inputs, "gy");
    gy[0] = f64::NAN;
    inputs = inputs.with_tensor("gy", HostTensor::from_slice([1, 128, 2], &gy).unwrap());
    let found = run(" via wht(k = 1, grid = [8, 16])", &inputs, sizes);
    let is_nan: Vec<bool> = values(&found, "grad_x").chunks(2).map(|token| token[0].is_nan()).collect();
    assert!((0..128).all(|token| is_nan[token] == (token % 16 < 8)));
}
