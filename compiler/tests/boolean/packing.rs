//! Bits that lie 64 to a word: which ones do, and that nothing but memory depends on it.

use crate::golden::{model, outputs};
use bpc::ir::types::{Dtype, TensorType};
use bpc::kernel::ir::Program;
use bpc::kernel::text;
use bpc::{State, Tensors};
use bpc_runtime::philox::uniform_f64;
use std::collections::BTreeMap;

fn bits(count: u64, stream: i32) -> Vec<bool> {
    (0..count).map(|place| uniform_f64([5, 8], stream, 0, place) < 0.5).collect()
}

fn doubles(count: u64, stream: i32) -> Vec<f64> {
    (0..count).map(|place| uniform_f64([5, 9], stream, 0, place) - 0.5).collect()
}

fn program(text: &str, inputs: &[(&str, TensorType)], training: bool) -> Program {
    let inputs: BTreeMap<String, TensorType> = inputs.iter().map(|(name, ty)| (name.to_string(), ty.clone())).collect();
    model(text).compile(&inputs, training).unwrap().kernels
}

const CLASSIFIER: &str = "use std.boolean { boolean, boolean_dense, boolean_logits }
use std.nn { cross_entropy }
model net {
    in x: f32[B, 70]
    in label: i32[B]
    let hidden = boolean_dense(x > 0, 130)
    let logits = boolean_logits(hidden, 10)
    minimize cross_entropy(logits, label) using boolean(eta = 5)
}";

/// Weights, and what is saved for the way back: a row of 70 bits takes two words, one of 130 three.
#[test]
fn weights_and_saved_bits_lie_in_words() {
    let inputs = [("x", TensorType::new(Dtype::F32, [8, 70])), ("label", TensorType::new(Dtype::I32, [8]))];
    let program = program(CLASSIFIER, &inputs, true);
    let bools = program.buffers.values().filter(|buffer| buffer.ty.dtype == Dtype::Bool);
    let packed: Vec<(String, u64)> = bools
        .filter(|buffer| buffer.packed.is_some())
        .map(|buffer| (format!("{} {}", buffer.ty, buffer.name), buffer.bytes()))
        .collect();
    let named = |ty: &str| packed.iter().filter(|(name, _)| name == ty).map(|(_, bytes)| *bytes).collect::<Vec<_>>();
    assert_eq!(named("bool[130, 70] hidden.weight"), [130 * 2 * 8]);
    assert_eq!(named("bool[10, 130] logits.weight"), [10 * 3 * 8]);
    assert_eq!(named("bool[8, 70] "), [8 * 2 * 8]);
    assert_eq!(named("bool[8, 130] "), [8 * 3 * 8]);
    assert_eq!(packed.len(), 4, "{packed:?}");
    // The text says so, and holds all of it.
    let printed = text::print(&program);
    assert!(printed.contains("parameter \"hidden.weight\" packed 70 at state + 0"), "{printed}");
    assert_eq!(text::parse(&printed).unwrap(), program);
}

/// The same model with weights that are parameters, and packed, and with weights that are data of the caller, a byte each.
fn both(text: &str, ty: &str) -> [String; 2] {
    let packed = text.replace("WEIGHT", &format!("param w: {ty} ~ fair_coin"));
    [format!("use std.boolean {{ fair_coin }}\n{packed}"), text.replace("WEIGHT", &format!("in w: {ty}"))]
}

/// Every way to read a weight: rows of a count, columns of a product, single bits in any order, with guards and along any axis.
#[test]
fn packed_bits_give_what_bytes_give() {
    for dtype in ["f32", "f64"] {
        for (rows, width) in [(9u64, 70u64), (5, 64), (3, 200), (33, 9), (1, 130)] {
            let text = format!(
                "use std.logic {{ count, embed }}
use std.rules.boolean
model reads {{
    in x: {dtype}[6, {width}]
    in z: {dtype}[6, {rows}]
    WEIGHT
    let bits = x > 0
    let c = count(bits, w, \"xnor\", {dtype}) via boolean
    let loss = sum(z * c)
    out count = c
    out by_x = grad(loss, bits)
    out by_w = grad(loss, w)
    out copy = w
    out numbers = embed(w, {dtype})
    out transposed = x @ transpose(embed(w, {dtype}))
    out part = embed(w[:, 3:], {dtype}) * x[0, 3:]
    out backwards = reverse(w, 1) and not w
    out padded = pad(w, [1, 2], [2, 1], value = true)
    out rows = sum({dtype}(w), axis = 1)
    out columns = sum({dtype}(w), axis = 0)
    out flat = reshape(w, [{rows} * {width}])
    out tiles = windows(w, axis = 1, size = 5, stride = 2)
}}"
            );
            let ty = format!("bool[{rows}, {width}]");
            let [packed, plain] = both(&text, &ty);
            let x = doubles(6 * width, 1);
            let z = doubles(6 * rows, 2);
            let as_floats = |tensors: Tensors, name: &str, shape: &[u64], values: &[f64]| {
                if dtype == "f64" {
                    tensors.with_slice(name, shape, values).unwrap()
                } else {
                    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                    tensors.with_slice(name, shape, &values).unwrap()
                }
            };
            let inputs = as_floats(as_floats(Tensors::new(), "x", &[6, width], &x), "z", &[6, rows], &z);
            let weight = Tensors::new().with_slice("w", &[rows, width], &bits(rows * width, 3)).unwrap();
            let with_weight = inputs.clone().with_slice("w", &[rows, width], &bits(rows * width, 3)).unwrap();
            let packed = outputs(&packed, &weight, &inputs);
            let plain = outputs(&plain, &Tensors::new(), &with_weight);
            for (engine, (packed, plain)) in packed.iter().zip(&plain).enumerate() {
                assert_eq!(plain.iter().count(), 13);
                for (name, wanted) in plain.iter() {
                    let found = packed.get(name).unwrap();
                    assert_eq!(found.bytes(), wanted.bytes(), "{name}, {dtype}, {rows} x {width}, engine {engine}");
                }
            }
        }
    }
}

/// A whole run: every flip, with rows that are no whole words, by one worker and by three.
#[test]
fn threads_write_packed_bits_alike() {
    let x: Vec<f32> = doubles(8 * 70, 4).iter().map(|value| *value as f32).collect();
    let label: Vec<i32> = (0..8).collect();
    let inputs = Tensors::new().with_slice("x", &[8, 70], &x).unwrap().with_slice("label", &[8], &label).unwrap();
    let wide = CLASSIFIER.replace("130", "1300");
    let runs = [1, 3].map(|threads| {
        let mut step = model(&wide).jit_with_threads(threads).unwrap();
        let mut state = State::new(1);
        let mut losses = Vec::new();
        for _ in 0..20 {
            losses.push(step.step(&mut state, &inputs).unwrap().scalar("loss").unwrap().to_bits());
        }
        let weights = state.all().into_iter().map(|(name, tensor)| (name.to_owned(), tensor.bytes().to_vec()));
        (losses, weights.collect::<Vec<_>>())
    });
    assert_eq!(runs[0], runs[1]);
}

/// Who asks for a parameter gets a tensor of bools, and may give one.
#[test]
fn parameters_are_tensors_of_bools_for_the_caller() {
    let text = "use std.boolean { fair_coin }
model kept { param w: bool[3, 70] ~ fair_coin; in x: f32[]; out any = x + sum(f32(w)) }";
    let weight = bits(3 * 70, 6);
    let mut state = State::new(0);
    let mut step = model(text).jit().unwrap();
    let inputs = Tensors::new().with_slice("x", &[], &[0f32]).unwrap();
    step.evaluate(&mut state, &inputs).unwrap();
    let first = state.parameters().get("w").unwrap().to_f64().iter().sum::<f64>();
    assert!((60.0..150.0).contains(&first), "{first} of 210 coins are heads");
    state.load(&Tensors::new().with_slice("w", &[3, 70], &weight).unwrap()).unwrap();
    let parameters = state.parameters();
    let kept = parameters.get("w").unwrap();
    assert_eq!(kept.shape(), [3, 70]);
    assert_eq!(kept.bytes(), weight.iter().map(|bit| u8::from(*bit)).collect::<Vec<u8>>());
    let trues = weight.iter().filter(|bit| **bit).count() as f64;
    assert_eq!(step.evaluate(&mut state, &inputs).unwrap().scalar("any").unwrap(), trues);
}

/// Loops in time work on a copy with a byte for each bit: as a constant, for a routine inside, and walking row by row.
#[test]
fn loops_in_time_read_packed_bits() {
    let text = "use std.logic { count, embed }
model loops {
    in x: f64[4, 70]
    WEIGHT
    let gathered = scan s = zeros([70], f64) over row in x { next s = 0.5 * s + row * sum(embed(w, f64), axis = 0) }
    let counted = scan c = x over k in range(3) { next c = c - 0.01 * sum(count(c > 0, w, dtype = f64)) }
    let along = scan t = zeros([], f64) over row in w { next t = 0.5 * t + sum(f64(row)) }
    out gathered = gathered
    out counted = counted
    out along = along
}";
    let [packed, plain] = both(text, "bool[5, 70]");
    let inputs = Tensors::new().with_slice("x", &[4, 70], &doubles(4 * 70, 7)).unwrap();
    let weight = Tensors::new().with_slice("w", &[5, 70], &bits(5 * 70, 8)).unwrap();
    let with_weight = inputs.clone().with_slice("w", &[5, 70], &bits(5 * 70, 8)).unwrap();
    let (packed, plain) = (outputs(&packed, &weight, &inputs), outputs(&plain, &Tensors::new(), &with_weight));
    for (packed, plain) in packed.iter().zip(&plain) {
        assert_eq!(plain.iter().count(), 3);
        for (name, wanted) in plain.iter() {
            assert_eq!(packed.get(name).unwrap().bytes(), wanted.bytes(), "{name}");
        }
    }
}
