//! Numbers of the published code.

use super::*;

fn golden(name: &str) -> serde_json::Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/lbp_wht/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A case of the published code under a rule; `residual` names the kept coefficients in the record, `transform` computes them.
fn check_golden(name: &str, rule: &str, residual: &str, transform: &str) {
    let record = golden(name);
    let x = tensor(&record["x"]);
    let [_, length, inputs] = x.shape()[..] else { panic!("x has three axes") };
    let weight = tensor(&record["weight"]);
    let outputs = weight.shape()[0];
    let bias = match record.get("bias") {
        Some(bias) => tensor(bias),
        None => HostTensor::zeros(Dtype::F64, [outputs]).unwrap(),
    };
    let given = Tensors::new()
        .with_tensor("x", x)
        .with_tensor("weight", weight)
        .with_tensor("bias", bias)
        .with_tensor("gy", tensor(&record["grad_y"]));
    for (dtype, given) in [("f64", given.clone()), ("f32", single(&given))] {
        let text = layer(&format!(" via {rule}"), [length, inputs, outputs], dtype);
        let text = text.replace("out y = after", &format!("out y = after\n    out residual = {transform}"));
        for (engine, found) in ["interpreter", "machine code"].iter().zip(both(&text, &given)) {
            let names = [
                ("y", "y"),
                ("residual", residual),
                ("grad_x", "grad_x"),
                ("grad_weight", "grad_weight"),
                ("grad_bias", "grad_bias"),
            ];
            for (ours, theirs) in names {
                let Some(wanted) = record.get(theirs).map(tensor) else { continue };
                let what = format!("{name}, {dtype}, {engine}: {ours}");
                assert_eq!(found.get(ours).unwrap().shape(), wanted.shape(), "{what}");
                let (found, wanted) = (values(&found, ours), wanted.to_f64());
                let allowed = if dtype == "f64" { 1e-12 } else { 1e-5 * largest(&wanted) };
                let off = distance(&found, &wanted);
                assert!(off <= allowed, "{what} is off by {off:e}");
            }
        }
    }
}

#[test]
fn two_slow_functions_on_a_mirrored_map() {
    let transform = "block_wht(reshape(x, [B, 7, 7, 3]), [8, 8], [0, 0, 1], [0, 1, 0], mirror = true)";
    check_golden("l1_2_7x7_mirrored", "wht(k = 2, grid = [7, 7])", "residual_orthonormal_BPQRC", transform);
    check_golden("l1_2_7x7_mirrored", "wht(k = 2)", "residual_orthonormal_BPQRC", transform);
}

#[test]
fn four_slow_functions_also_as_a_list() {
    let pairs = "[[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [3, 0]]";
    let transform = "block_wht(reshape(x, [B, 8, 8, 3]), [8, 8], [0, 0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 1, 2, 3, 0, 1, 2, 0, 1, 0], mirror = true)";
    check_golden("l1_4_8x8", "wht(k = 4)", "residual_orthonormal_BPQRC", transform);
    check_golden("l1_4_8x8", &format!("wht(pairs = {pairs})"), "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_token_in_front_of_the_map_is_exact() {
    let transform =
        "block_wht(reshape(x[:, 1:, :], [B, 8, 12, 3]), [4, 4], [0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 1, 0], mirror = true)";
    let rule = "wht(k = 3, block = 4, grid = [8, 12], extra = 1)";
    check_golden("l1_3_8x12_class_token_block4", rule, "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_square_of_functions_on_a_map_that_is_none() {
    let transform = "block_wht(reshape(x, [B, 10, 5, 4]), [4, 4], [0, 0, 1, 1], [0, 1, 0, 1], mirror = true)";
    let rule = "wht(k = 2, block = 4, grid = [10, 5], select = \"linf\")";
    check_golden("linf_2_10x5", rule, "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_sequence() {
    let transform =
        "reshape(block_wht(reshape(x, [B, 1, 13, 3]), [1, 4], [0, 0], [0, 1], mirror = true), [B, 4, 2, 3])";
    check_golden("sequence_13_block4_k2", "wht(k = 2, block = 4, grid = [13])", "residual_orthonormal_BPRI", transform);
}
