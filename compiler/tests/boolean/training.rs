//! The flip optimiser, whole training runs, and what may train a bit.

use crate::golden::{Given, Numbers, model, numbers, record};
use bpc::{State, Step, Tensors};
use bpc_runtime::tensor::HostTensor;

fn kept(state: &State, name: &str) -> HostTensor {
    state.all().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn assert_bits(what: &str, found: &HostTensor, wanted: &Numbers) {
    assert_eq!(found.to_f64().iter().map(|bit| *bit > 0.0).collect::<Vec<_>>(), wanted.bits(), "{what}");
}

fn assert_near(what: &str, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() <= 1e-12 * (1.0 + wanted.abs()), "{what}: {found} and {wanted}");
    }
}

#[test]
fn the_steps_of_the_optimizer() {
    let record = record("optimizer");
    let text = format!(
        "use std.boolean {{ boolean, fair_coin }}
model votes {{
    in votes: f64[4, 6]
    param w: bool[4, 6] ~ fair_coin
    minimize sum(votes * f64(w)) using boolean(eta = {})
}}",
        record["eta"]
    );
    let mut step = model(&text).jit().unwrap();
    let mut state = State::new(0);
    state.load(&Tensors::new().bits("w", &numbers(&record["weight_start"]))).unwrap();
    for (place, golden) in record["steps"].as_array().unwrap().iter().enumerate() {
        step.step(&mut state, &Tensors::new().doubles("votes", &numbers(&golden["votes"]))).unwrap();
        let what = format!("step {place}");
        assert_bits(&what, &kept(&state, "w"), &numbers(&golden["weight"]));
        assert_near(&what, &kept(&state, "w.boolean.m").to_f64(), &numbers(&golden["accumulator"]).data);
        assert_near(&what, &kept(&state, "w.boolean.beta").to_f64(), &[golden["beta_next"].as_f64().unwrap()]);
    }
}

const TRAINED: &str = "use std.boolean { boolean, fair_coin }
use std.logic { count, fire }
use std.rules.boolean
use std.nn { cross_entropy }
model net {
    in x: bool[8, 20]
    in label: i32[8]
    param w1: bool[12, 20] ~ fair_coin
    param w2: bool[9, 12] ~ fair_coin
    param w3: bool[4, 9] ~ fair_coin
    let c1 = count(x, w1, dtype = f64) via boolean
    let c2 = count(fire(c1, 20) via boolean, w2, dtype = f64) via boolean
    let c3 = count(fire(c2, 12) via boolean, w3, dtype = f64) via boolean
    let logits = (GAIN / sqrt(9)) * (2 * c3 - 9)
    let loss = cross_entropy(logits, label)
    out c1 = c1
    out c2 = c2
    out c3 = c3
    out logits = logits
    out votes1 = grad(loss, w1)
    out votes2 = grad(loss, w2)
    out votes3 = grad(loss, w3)
    minimize loss using boolean(eta = ETA)
}";

#[test]
fn every_bit_of_a_training_run() {
    let record = record("train0");
    let text = TRAINED.replace("GAIN", &record["logit_gain"].to_string()).replace("ETA", &record["eta"].to_string());
    for threads in [1, 2] {
        let mut step = model(&text).jit_with_threads(threads).unwrap();
        let mut state = State::new(0);
        let start = record["weights"].as_array().unwrap().iter().enumerate();
        let start = start.fold(Tensors::new(), |all, (layer, w)| all.bits(&format!("w{}", layer + 1), &numbers(w)));
        state.load(&start).unwrap();
        for (place, golden) in record["steps"].as_array().unwrap().iter().enumerate() {
            let label: Vec<i32> = numbers(&record["labels"][place]).data.iter().map(|label| *label as i32).collect();
            let inputs =
                Tensors::new().bits("x", &numbers(&record["inputs"][place])).with_slice("label", &[8], &label).unwrap();
            // Packed words in machine code and bit by bit in the interpreter: the same before the step.
            let plain = model(&text).interpret(&mut clone(&state, &start), &inputs).unwrap();
            let found = step.step(&mut state, &inputs).unwrap();
            let what = format!("step {place}");
            assert_near(&what, &[found.scalar("loss").unwrap()], &[golden["loss"].as_f64().unwrap()]);
            assert_near(&what, &found.get("logits").unwrap().to_f64(), &numbers(&golden["logits"]).data);
            for (layer, golden) in golden["layers"].as_array().unwrap().iter().enumerate() {
                let layer = layer + 1;
                let what = format!("step {place}, layer {layer}");
                let count = found.get(&format!("c{layer}")).unwrap();
                assert_eq!(count.to_f64(), numbers(&golden["count"]).data, "{what}");
                assert_eq!(plain.get(&format!("c{layer}")).unwrap(), count, "{what}");
                assert_near(
                    &what,
                    &found.get(&format!("votes{layer}")).unwrap().to_f64(),
                    &numbers(&golden["votes"]).data,
                );
                assert_bits(&what, &kept(&state, &format!("w{layer}")), &numbers(&golden["weight"]));
                let own = |name: &str| kept(&state, &format!("w{layer}.boolean.{name}")).to_f64();
                assert_near(&what, &own("m"), &numbers(&golden["accumulator"]).data);
                assert_near(&what, &own("beta"), &[golden["beta"].as_f64().unwrap()]);
            }
        }
    }
}

/// A state with the parameters of another.
fn clone(state: &State, start: &Tensors) -> State {
    let mut copy = State::new(0);
    let known = state.parameters();
    copy.load(if known.is_empty() { start } else { &known }).unwrap();
    copy
}

fn error_of(text: &str) -> String {
    let inputs = Tensors::new().with_slice("x", &[2, 3], &[true; 6]).unwrap();
    let model = bpc::compile_text("boolean.bp", text, &mut |_| None);
    match model.and_then(|model| model.jit()?.step(&mut State::new(0), &inputs)) {
        Ok(_) => panic!("it trained:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_float_optimizer_on_bits_is_an_error_with_a_hint() {
    let text = "use std.boolean { boolean_dense }
use std.optim { adam }
model net { in x: bool[B, 3]; let hidden = boolean_dense(x, 2); minimize mean(f32(hidden)) using adam }";
    let error = error_of(text);
    assert!(error.contains("BP0416") && error.contains("using boolean(eta = 10)"), "{error}");
}

#[test]
fn a_flip_optimizer_on_floats_is_an_error_with_a_hint() {
    let text = "use std.boolean { boolean }
model net { in x: bool[B, 3]; param w: f32[3] ~ ones; minimize mean(f32(x) * w) using boolean }";
    let error = error_of(text);
    assert!(error.contains("BP0416") && error.contains("using adam"), "{error}");
}

#[test]
fn a_bit_that_no_gradient_reaches_is_an_error() {
    let text = "use std.boolean { boolean, fair_coin }
model net { in x: bool[B, 3]; param w: bool[3] ~ fair_coin; minimize mean(where(x xor w, 1.0, 0.5)) using boolean }";
    let error = error_of(text);
    assert!(error.contains("BP0410"), "{error}");
}

#[test]
fn a_threshold_without_a_rule_is_an_error() {
    let text = "use std.boolean { boolean, fair_coin }
use std.logic { count, fire }
model net { in x: bool[B, 3]; param w: bool[4, 3] ~ fair_coin; minimize mean(f32(fire(count(x, w), 3))) using boolean }";
    let error = error_of(text);
    assert!(error.contains("BP0411") && error.contains("less_equal"), "{error}");
}

/// Real and Boolean layers side by side, each with its own optimizer.
#[test]
fn mixed_layers_train_together() {
    let text = "use std.boolean { boolean, boolean_dense, boolean_weights }
use std.logic { embed }
use std.nn { dense, relu, cross_entropy }
use std.optim { adam }
model net {
    in x: bool[B, 3]
    let bits = boolean_dense(x, 16)
    let real = relu(dense(embed(bits), 16))
    let weighted = boolean_weights(real, 8)
    let loss = mean(square(sum(weighted, axis = -1) - f32(x[:, 0] xor x[:, 1])))
    minimize loss over bits, weighted using boolean(eta = 1)
    minimize loss using adam(lr = 1e-2)
}";
    let x: Vec<bool> = (0..24).map(|place| (place / 3) >> (place % 3) & 1 == 1).collect();
    let inputs = Tensors::new().with_slice("x", &[8, 3], &x).unwrap();
    let mut step = model(text).jit().unwrap();
    let mut state = State::new(3);
    let first = step.step(&mut state, &inputs).unwrap().scalar("loss").unwrap();
    for _ in 0..200 {
        step.step(&mut state, &inputs).unwrap();
    }
    let last = step.evaluate(&mut state, &inputs).unwrap().scalar("loss").unwrap();
    assert!(last < 0.2 * first, "{first} to {last}");
}

const DIGITS: &str = "use std.boolean { boolean, boolean_dense, boolean_logits }
use std.nn { cross_entropy }
use std.schedule { cosine }
model digits {
    in image: f32[B, 64]
    in label: i32[B]
    # Thermometer code: five thresholds a pixel.
    let bits = concat([image >= 2, image >= 5, image >= 8, image >= 11, image >= 14])
    let hidden = boolean_dense(bits, 256)
    let logits = boolean_logits(hidden, 10)
    out accuracy = mean(argmax(logits) == label)
    minimize cross_entropy(logits, label) using boolean(eta = cosine(ETA, steps = 1350))
}";

/// Rows of `examples/data/digits.csv` as pixels and labels.
fn digits() -> (Vec<f32>, Vec<i32>) {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/data/digits.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows =
        text.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse::<f32>().unwrap()).collect::<Vec<_>>());
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let label = text.lines().next().unwrap().split(',').position(|name| name == "label").unwrap();
    for row in rows.by_ref() {
        labels.push(row[label] as i32);
        images.extend(row.iter().enumerate().filter(|(place, _)| *place != label).map(|(_, cell)| *cell));
    }
    (images, labels)
}

fn batch(images: &[f32], labels: &[i32], rows: &[usize]) -> Tensors {
    let image: Vec<f32> = rows.iter().flat_map(|row| images[row * 64..][..64].iter().copied()).collect();
    let label: Vec<i32> = rows.iter().map(|row| labels[*row]).collect();
    let size = rows.len() as u64;
    Tensors::new().with_slice("image", &[size, 64], &image).unwrap().with_slice("label", &[size], &label).unwrap()
}

fn accuracy(step: &mut Step, state: &mut State, inputs: &Tensors) -> f64 {
    step.evaluate(state, inputs).unwrap().scalar("accuracy").unwrap()
}

/// Where the warnings stand that held in the last step.
fn warnings(step: &Step) -> Vec<&str> {
    step.warnings().iter().map(|warning| warning.site.as_str()).collect()
}

#[test]
fn too_large_an_eta_warns() {
    let (images, labels) = digits();
    let mut step = model(&DIGITS.replace("ETA", "200")).jit().unwrap();
    let inputs = batch(&images, &labels, &(0..32).collect::<Vec<_>>());
    step.step(&mut State::new(0), &inputs).unwrap();
    assert_eq!(warnings(&step), ["hidden.weight.boolean", "logits.weight.boolean"]);
}

/// The published split of the digits: rows 0 to 1436 to train, the rest to test.
#[test]
fn digits_are_learnt_by_flips_alone() {
    let (images, labels) = digits();
    let mut step = model(&DIGITS.replace("ETA", "15")).jit().unwrap();
    let mut state = State::new(0);
    let mut order: Vec<usize> = (0..1437).collect();
    for epoch in 0..30u32 {
        // Fisher and Yates, by the generator of the runtime.
        for place in (1..order.len()).rev() {
            let draw = bpc_runtime::philox::uniform_f64([0, epoch], 9, 0, place as u64);
            order.swap(place, (draw * (place + 1) as f64) as usize);
        }
        for rows in order.chunks_exact(32) {
            step.step(&mut state, &batch(&images, &labels, rows)).unwrap();
            assert!(warnings(&step).is_empty(), "a healthy run warns");
        }
    }
    let all: Vec<usize> = (0..labels.len()).collect();
    let train = accuracy(&mut step, &mut state, &batch(&images, &labels, &all[..1437]));
    let test = accuracy(&mut step, &mut state, &batch(&images, &labels, &all[1437..]));
    assert!(train >= 0.99 && test >= 0.88, "train {train}, test {test}");
}
