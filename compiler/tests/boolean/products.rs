//! Counts, packed words, votes and windows: the `linear` and `conv` files, and flips of every bit.

use crate::golden::{Given, Numbers, assert_close, numbers, outputs, record};
use bpc::Tensors;
use bpc_runtime::bits::pack_row;
use serde_json::Value;

const GATES: [&str; 4] = ["xnor", "xor", "and", "or"];

fn layer(gate: &str, dtype: &str, bias: bool) -> String {
    let (declared, added, voted) = if bias {
        ("in bias: bool[O]", format!(" + {dtype}(bias)"), "out grad_bias = grad(loss, bias)")
    } else {
        ("", String::new(), "")
    };
    format!(
        "use std.logic {{ count }}
model counts {{
    in x: bool[B, I]
    in w: bool[O, I]
    in z: {dtype}[B, O]
    {declared}
    let c = count(x, w, \"{gate}\", {dtype}){added}
    let loss = sum(z * c)
    out loss = loss
    out count = c
    out grad_x = grad(loss, x)
    out grad_w = grad(loss, w)
    {voted}
}}"
    )
}

#[test]
fn counts_and_votes_of_every_gate() {
    for file in ["linear0", "linear1"] {
        let record = record(file);
        let [x, w, bias] = ["x", "w", "bias"].map(|name| numbers(&record[name]));
        for gate in GATES {
            let golden = &record["gates"][gate];
            for (kind, dtype, tolerance) in [
                ("real", "f64", 1e-12),
                ("real", "f32", 1e-5),
                ("boolean", "f64", 0.0),
                ("boolean", "f32", 0.0),
                ("three_valued", "f64", 0.0),
            ] {
                let z = numbers(&record[format!("z_{kind}")]);
                let inputs = Tensors::new().bits("x", &x).bits("w", &w).bits("bias", &bias);
                let inputs = if dtype == "f64" { inputs.doubles("z", &z) } else { inputs.singles("z", &z) };
                let found = outputs(&layer(gate, dtype, true), &Tensors::new(), &inputs);
                let what = format!("{file}, {gate}, {kind}, {dtype}");
                assert_close(&what, &found, "count", &numbers(&golden["count"]), 0.0);
                for name in ["grad_x", "grad_w", "grad_bias"] {
                    assert_close(&what, &found, name, &numbers(&golden[kind][name]), tolerance);
                }
            }
        }
    }
}

fn assert_packed(bits: &Numbers, packed: &Value) {
    let width = *bits.shape.last().unwrap() as usize;
    let bytes: Vec<u8> = bits.bits().into_iter().map(u8::from).collect();
    for (row, wanted) in bytes.chunks(width).zip(packed["data"].as_array().unwrap()) {
        let wanted =
            wanted.as_array().unwrap().iter().map(|word| u64::from_str_radix(word.as_str().unwrap(), 16).unwrap());
        let mut words = vec![u64::MAX; width.div_ceil(64)];
        pack_row(row, &mut words, 1);
        assert!(words.iter().copied().eq(wanted));
    }
}

#[test]
fn rows_are_packed_as_in_the_files() {
    for file in ["linear0", "linear1"] {
        let record = record(file);
        assert_packed(&numbers(&record["x"]), &record["x_packed"]);
        assert_packed(&numbers(&record["w"]), &record["w_packed"]);
    }
    for file in ["linear_bool_64_bias", "linear_real_70", "linear_three_valued_5"] {
        let record = record(file);
        assert_packed(&numbers(&record["x"]), &record["x_packed"]);
        assert_packed(&numbers(&record["weight"]), &record["weight_packed"]);
    }
}

fn windowed(window: &str, fan_in: u64) -> String {
    format!(
        "use std.logic {{ count, fire }}
use std.rules.boolean
model windowed {{
    in x: bool[B, I]
    in w: bool[O, I]
    in z: f64[B, O]
    let c = count(x, w, dtype = f64)
    let y = fire(c + shift, {fan_in}, tau) via boolean(window = \"{window}\")
    out y = y
    out signal = grad(sum(z * f64(y)), c)
}}"
    )
}

#[test]
fn windows_of_the_threshold() {
    for file in ["linear_bool_64_bias", "linear_real_70", "linear_three_valued_5"] {
        let record = record(file);
        let [x, w, z] = ["x", "weight", "z"].map(|name| numbers(&record[name]));
        let fan_in = record["fan_in_of_alpha"].as_u64().unwrap();
        let has_bias = record.get("bias").is_some();
        let mut inputs = Tensors::new().bits("x", &x).bits("w", &w).doubles("z", &z);
        let text = layer("xnor", "f64", has_bias);
        let mut layer_inputs = inputs.clone();
        if has_bias {
            layer_inputs = layer_inputs.bits("bias", &numbers(&record["bias"]));
        }
        let found = outputs(&text, &Tensors::new(), &layer_inputs);
        assert_close(file, &found, "count", &numbers(&record["count_true"]), 0.0);
        let tolerance = if record["upstream"] == "real" { 1e-12 } else { 0.0 };
        assert_close(file, &found, "grad_x", &numbers(&record["grad_x_votes"]), tolerance);
        assert_close(file, &found, "grad_w", &numbers(&record["grad_weight_votes"]), tolerance);
        if has_bias {
            assert_close(file, &found, "grad_bias", &numbers(&record["grad_bias_votes"]), tolerance);
            inputs = inputs.bits("bias", &numbers(&record["bias"]));
        }
        for (window, key) in [("tanh", "z_times_tanh_window"), ("box", "z_times_box_window")] {
            let (shift, declared) =
                if has_bias { ("f64(bias)", "in bias: bool[O]\n    let c") } else { ("0", "let c") };
            let text = windowed(window, fan_in)
                .replace("shift", shift)
                .replacen("let c", declared, 1)
                .replace("tau", &format!("{fan_in} / 2"));
            let found = outputs(&text, &Tensors::new(), &inputs);
            assert_close(file, &found, "y", &bits_of(&record["threshold_tau0"]), 0.0);
            // What the vector functions of f64 round differently is in the last bits.
            assert_close(file, &found, "signal", &numbers(&record[key]), 1e-14);
        }
    }
}

fn bits_of(value: &Value) -> Numbers {
    let mut numbers = numbers(value);
    numbers.data.iter_mut().for_each(|bit| *bit = f64::from(u8::from(*bit > 0.0)));
    numbers
}

#[test]
fn thresholds_of_the_linear_files() {
    for file in ["linear0", "linear1"] {
        let record = record(file);
        let golden = &record["activation"];
        let [x, w, z] = ["x", "w", "z_real"].map(|name| numbers(&record[name]));
        let inputs = Tensors::new().bits("x", &x).bits("w", &w).doubles("z", &z);
        let fan_in = golden["fan_in"].as_u64().unwrap();
        let change = format!("out y = y\n    out change = f64(fire(c + 1, {fan_in})) - f64(y)");
        let text = windowed("tanh", fan_in).replace(" + shift", "").replace(", tau", "").replace("out y = y", &change);
        let found = outputs(&text, &Tensors::new(), &inputs);
        assert_close(file, &found, "y", &bits_of(&golden["fire"]), 0.0);
        assert_close(file, &found, "signal", &numbers(&golden["signal"]), 1e-12);
        assert_close(file, &found, "change", &numbers(&golden["exact_variation"]), 0.0);
    }
}

#[test]
fn a_convolution_and_its_votes() {
    let record = record("conv0");
    let [x, w, z] = ["x", "w", "z"].map(|name| numbers(&record[name]));
    for (dtype, tolerance) in [("f64", 1e-12), ("f32", 1e-5)] {
        let text = format!(
            "use std.boolean {{ count2d }}
model counts {{
    in x: bool[2, 3, 6, 5]
    in w: bool[4, 3, 3, 3]
    in z: {dtype}[2, 4, 6, 5]
    let c = count2d(x, w, padding = 1, scale = false, dtype = {dtype})
    let loss = sum(z * c)
    out count = c
    out grad_x = grad(loss, x)
    out grad_w = grad(loss, w)
}}"
        );
        let inputs = Tensors::new().bits("x", &x).bits("w", &w);
        let inputs = if dtype == "f64" { inputs.doubles("z", &z) } else { inputs.singles("z", &z) };
        let found = outputs(&text, &Tensors::new(), &inputs);
        assert_close("conv0", &found, "count", &numbers(&record["count"]), 0.0);
        assert_close("conv0", &found, "grad_x", &numbers(&record["grad_x"]), tolerance);
        assert_close("conv0", &found, "grad_w", &numbers(&record["grad_w"]), tolerance);
    }
}

/// Votes are the loss at true minus the loss at false, for every single bit, gate by gate.
#[test]
fn votes_are_what_a_flip_changes() {
    let record = record("linear0");
    let all = ["x", "w", "bias"].map(|name| numbers(&record[name]));
    let z = numbers(&record["z_real"]);
    let inputs = |all: &[Numbers; 3]| {
        Tensors::new().bits("x", &all[0]).bits("w", &all[1]).bits("bias", &all[2]).doubles("z", &z)
    };
    for gate in GATES {
        let text = layer(gate, "f64", true);
        let mut step = crate::golden::model(&text).jit().unwrap();
        let mut run = |all: &[Numbers; 3]| step.evaluate(&mut bpc::State::new(0), &inputs(all)).unwrap();
        let found = run(&all);
        for (place, name) in ["grad_x", "grad_w", "grad_bias"].iter().enumerate() {
            let votes = found.get(name).unwrap().to_f64();
            for (bit, vote) in votes.iter().enumerate() {
                let mut losses = [0.0; 2];
                for (loss, value) in losses.iter_mut().zip([-1.0, 1.0]) {
                    let mut flipped = all.clone();
                    flipped[place].data[bit] = value;
                    *loss = run(&flipped).scalar("loss").unwrap();
                }
                let change = losses[1] - losses[0];
                assert!((vote - change).abs() < 1e-12, "{gate}, {name}[{bit}]: {vote} and {change}");
            }
        }
    }
}

/// The equalities between the forms of a product of bits hold in value and in gradient.
#[test]
fn a_product_of_embeddings_is_twice_the_count() {
    let record = record("linear1");
    let [x, w, z] = ["x", "w", "z_real"].map(|name| numbers(&record[name]));
    let text = "use std.logic { count, embed }
model forms {
    in x: bool[B, I]
    in w: bool[O, I]
    in z: f64[B, O]
    let product = embed(x, f64) @ transpose(embed(w, f64))
    let mixed = bit_matmul(embed(x, f64), transpose(w), 1, -1)
    let counted = 2 * count(x, w, dtype = f64) - I
    out mixed = sum(abs(product - mixed))
    out counted = sum(abs(product - counted))
    let one = sum(z * product)
    let two = sum(z * counted)
    let three = sum(z * mixed)
    out by_x = sum(abs(grad(one, x) - grad(two, x)))
    out by_w = sum(abs(grad(one, w) - grad(two, w)))
    out mixed_by_x = sum(abs(grad(one, x) - grad(three, x)))
    out mixed_by_w = sum(abs(grad(one, w) - grad(three, w)))
    out size = sum(abs(grad(one, w))) + sum(abs(product))
}";
    let inputs = Tensors::new().bits("x", &x).bits("w", &w).doubles("z", &z);
    for found in outputs(text, &Tensors::new(), &inputs) {
        assert!(found.scalar("size").unwrap() > 100.0);
        for name in ["mixed", "counted", "by_x", "by_w", "mixed_by_x", "mixed_by_w"] {
            assert!(found.scalar(name).unwrap() < 1e-9, "{name}: {:?}", found.scalar(name));
        }
    }
}

/// alpha is chosen such that half of the power of a signal passes, for any fan-in.
#[test]
fn half_of_the_power_passes_the_window() {
    use bpc_runtime::philox::uniform_f64;
    let text = "use std.rules.boolean { windowed }
model power { in d: f64[N]; out power = mean(square(windowed(ones([N], f64), d, FAN_IN, \"tanh\"))) }";
    for fan_in in [64u64, 1024] {
        let d: Vec<f64> = (0..100_000u64)
            .map(|sample| {
                let words = (0..fan_in / 32)
                    .map(|word| (uniform_f64([7, 7], 0, 0, sample * fan_in / 32 + word) * 2f64.powi(32)) as u32);
                let trues: u32 = words.map(u32::count_ones).sum();
                2.0 * f64::from(trues) - fan_in as f64
            })
            .collect();
        let inputs = Tensors::new().with_slice("d", &[d.len() as u64], &d).unwrap();
        let text = text.replace("FAN_IN", &fan_in.to_string());
        let mut step = crate::golden::model(&text).jit().unwrap();
        let power = step.evaluate(&mut bpc::State::new(0), &inputs).unwrap().scalar("power").unwrap();
        assert!((0.49..=0.51).contains(&power), "{fan_in}: {power}");
    }
}

fn checked(factor: u32) -> std::collections::BTreeMap<(String, String), bpc::gradcheck::Exact> {
    let text = format!(
        "use std.logic {{ count }}
fn doubled(x: bool[..]) -> f64[..] {{ 2 * f64(x) }}
exact for doubled(x: bool[..]) -> y {{ grad x = {factor} * grad y }}
model checked {{
    in x: bool[4, 70]
    in w: bool[3, 70]
    let loss = sum(square(count(x, w, \"or\", f64))) + sum(doubled(not x))
    out by_x = grad(loss, x)
    out by_w = grad(loss, w)
}}"
    );
    let bits = |rows: u64| bpc::ir::types::TensorType::new(bpc::ir::types::Dtype::Bool, [rows, 70]);
    let inputs = [("x".to_string(), bits(4)), ("w".to_string(), bits(3))].into();
    let compilation = crate::golden::model(&text).compile(&inputs, false).unwrap();
    bpc::gradcheck::exact_rules(&compilation.gradient, 5)
}

/// `bpc grad-check` flips the bits that an exact rule gives cotangents of.
#[test]
fn exact_rules_are_held_to_flips() {
    let right = checked(2);
    for name in ["count", "doubled", "not"] {
        let found = &right[&(name.to_string(), "exact".to_string())];
        assert!(found.checked > 0 && found.error < 1e-12 && found.problem.is_none(), "{name}: {found:?}");
    }
    let wrong = &checked(3)[&("doubled".to_string(), "exact".to_string())];
    assert!(!wrong.holds() && wrong.error > 0.3, "{wrong:?}");
}

/// However a layer is written, it is a count of one gate forward and a product with bits backward: no number stands for a bit.
#[test]
fn products_of_embeddings_are_rewritten_to_counts() {
    use bpc::ir::types::{Dtype, TensorType};
    let text = "use std.boolean { fair_coin }
use std.logic { count, embed }
use std.nn { linear }
model forms {
    in x: bool[6, 70]
    in z: f32[6, 9]
    param w: bool[9, 70] ~ fair_coin
    let product = linear(embed(x), embed(w))
    out product = product
    out by_x = grad(sum(z * product), x)
    out by_w = grad(sum(z * product), w)
    out negated = count(not x, w)
    out differ = count(x, w, \"xor\")
}";
    let inputs = [
        ("x".to_string(), TensorType::new(Dtype::Bool, [6, 70])),
        ("z".to_string(), TensorType::new(Dtype::F32, [6, 9])),
    ];
    let compilation = crate::golden::model(text).compile(&inputs.into(), false).unwrap();
    let named = |name: &str| compilation.optimized.main().nodes.values().filter(|node| node.op.name() == name).count();
    // One count is the product, the other what both of the last two are.
    assert_eq!([named("matmul"), named("bit_matmul"), named("bit_count"), named("not")], [0, 2, 2, 0]);
}

/// Only what goes down is scaled, by sqrt(2 / fan-out); votes of weights never are.
#[test]
fn signals_keep_their_size() {
    for file in ["linear0", "linear1"] {
        let record = record(file);
        let [x, w, z] = ["x", "w", "z_real"].map(|name| numbers(&record[name]));
        let golden = &record["gates"]["xnor"]["real"];
        let text = "use std.logic { count }
use std.rules.boolean
model scaled {
    in x: bool[B, I]
    in w: bool[O, I]
    in z: f64[B, O]
    let loss = sum(z * (count(x, w, dtype = f64) via boolean))
    out grad_x = grad(loss, x)
    out grad_w = grad(loss, w)
}";
        let inputs = Tensors::new().bits("x", &x).bits("w", &w).doubles("z", &z);
        let found = outputs(text, &Tensors::new(), &inputs);
        let mut scaled = numbers(&golden["grad_x"]);
        scaled.data.iter_mut().for_each(|vote| *vote *= record["signal_scale"].as_f64().unwrap());
        assert_close(file, &found, "grad_x", &scaled, 1e-12);
        assert_close(file, &found, "grad_w", &numbers(&golden["grad_w"]), 1e-12);
    }
}

/// A place of a convolution is counted O k k / stride^2 times, and of pool^2 counts one sends its signal back.
#[test]
fn signals_of_convolutions_keep_their_size() {
    let record = record("conv0");
    let [x, w] = ["x", "w"].map(|name| numbers(&record[name]));
    for (stride, pool) in [(1u32, 1u32), (2, 1), (1, 2)] {
        let text = format!(
            "use std.boolean {{ count2d }}
model counts {{
    in x: bool[2, 3, 6, 5]
    in w: bool[4, 3, 3, 3]
    out votes = grad(sum(square(count2d(x, w, stride = {stride}, scale = false, dtype = f64))), x)
    out signal = grad(sum(square(count2d(x, w, stride = {stride}, pool = {pool}, dtype = f64))), x)
}}"
        );
        let found = outputs(&text, &Tensors::new(), &Tensors::new().bits("x", &x).bits("w", &w));
        let factor = f64::from(pool) * (2.0 * f64::from(stride * stride) / (4.0 * 9.0)).sqrt();
        let votes = found[0].get("votes").unwrap();
        let wanted = votes.to_f64().iter().map(|vote| vote * factor).collect();
        let wanted = Numbers { shape: votes.shape().to_vec(), data: wanted };
        assert_close(&format!("stride {stride}, pool {pool}"), &found, "signal", &wanted, 1e-12);
    }
}
