//! The whole layer with given draws: what goes where, values, balance loss and every gradient.

use super::*;

const LAYER: &str = "
use std.moe { moe, route }
use std.rules.sparsemixer
model mixture {
    in x: f64[T, D]
    in grad_y: f64[T, D]
    grad { route => RULE }
    let (y, balance, _load) = moe(x, experts = EXPERTS, hidden = HIDDEN, choices = CHOICES, jitter = JITTER, capacity = CAPACITY, scaled = SCALED)
    let loss = sum(grad_y * y) + ALPHA * balance
    out y = y
    out balance_loss = balance
    out grad_x = grad(loss, x)
    out grad_router = grad(loss, moe.router)
    out grad_W1 = grad(loss, moe.w1)
    out grad_b1 = grad(loss, moe.b1)
    out grad_W2 = grad(loss, moe.w2)
    out grad_b2 = grad(loss, moe.b2)
    OMEGA
}";

const SLOTS: &str = "
use std.moe { route, dispatch, exclusive_sum, balance_loss }
use std.rules.sparsemixer
model slots {
    in scores: f64[T, E]
    in grad_weight: f64[CHOICES, T]
    grad { route => RULE }
    let (expert, weight, gates) = route(scores, choices = CHOICES, jitter = JITTER)
    let (rows, slot, row, kept) = dispatch(expert, E, ROWS)
    let balance = balance_loss(expert, gates)
    out expert = expert
    out weight = weight
    out counts = histogram(reshape(expert, [CHOICES * T]), E)
    out offsets = concat([exclusive_sum(rows), reshape(sum(rows), [1])], axis = 0)
    out slots = slot
    out inverse = take(slot, row)
    out kept = i32(kept)
    out balance_loss = balance
    out grad_scores = grad(sum(weight * grad_weight) + ALPHA * balance, scores)
}";

fn text(program: &str, golden: &Value, capacity: (&str, &str)) -> String {
    let shape = |name: &str| tensor(&golden["params"][name]).0;
    let scaled = golden["params"].get("omega").is_some();
    let omega = if scaled { "out grad_omega = grad(loss, moe.omega)" } else { "" };
    let number = |name: &str| format!("{:?}", golden[name].as_f64().unwrap());
    program
        .replace("RULE", golden["rule"].as_str().unwrap())
        .replace("EXPERTS", &shape("W1")[0].to_string())
        .replace("HIDDEN", &shape("W1")[1].to_string())
        .replace("CHOICES", &golden["choices"].to_string())
        .replace("JITTER", &number("jitter"))
        .replace("ALPHA", &number("alpha"))
        .replace("CAPACITY", capacity.0)
        .replace("ROWS", capacity.1)
        .replace("SCALED", &scaled.to_string())
        .replace("OMEGA", omega)
}

/// The draws that make the golden file's: uniform numbers whose -log is its exponential, and coins below their probability.
fn forced(mut model: Model, mut inputs: Tensors, golden: &Value, single: bool, path: &str) -> (Model, Tensors) {
    let (shape, exponential) = tensor(&golden["exponential"]);
    let uniform = numbers(&golden["uniform"]);
    let (tokens, experts) = (shape[1] as usize, shape[2] as usize);
    for choice in 0..shape[0] as usize {
        let (draw, coin) = (format!("{path}{choice}.expert.noise.draw"), format!("{path}{choice}.coin.draw"));
        let draws = exponential[choice * tokens * experts..][..tokens * experts].iter().map(|x| (-x).exp()).collect();
        let coins = uniform[choice * tokens..][..tokens].iter().map(|x| 1.0 - x).collect();
        model = model.force(draw.clone()).force(coin.clone());
        // Draws are f32 numbers in single precision, and so are the scores: the choices of these files survive that.
        inputs = float(inputs, single, &draw, &(vec![shape[1], shape[2]], draws));
        inputs = float(inputs, single, &coin, &(vec![shape[1]], coins));
    }
    (model, inputs)
}

/// `capacity` as the factor of the layer and in rows.
fn check(name: &str, capacity: (&str, &str)) {
    let golden = read(name);
    let results = &golden["results"];
    for (single, tolerance) in [(false, 1e-11), (true, 2e-5)] {
        let mut inputs = Tensors::new();
        for input in ["x", "grad_y"] {
            inputs = float(inputs, single, input, &tensor(&golden[input]));
        }
        let mut parameters = Tensors::new();
        for (parameter, value) in golden["params"].as_object().unwrap() {
            let name = format!("moe.{}", parameter.to_lowercase());
            parameters = float(parameters, single, &name, &tensor(value));
        }
        let layer = model(&text(LAYER, &golden, capacity), single);
        let (layer, inputs) = forced(layer, inputs, &golden, single, "moe.");
        for (engine, found) in trained(layer, &parameters, &inputs, 2) {
            let what = format!("{name}, {engine}, single {single}");
            assert_close(&what, &found, "y", &numbers(&results["y"]), tolerance);
            assert_close(&what, &found, "balance_loss", &numbers(&results["balance_loss"]), tolerance);
            let gradients = golden["params"].as_object().unwrap().keys().map(String::as_str).chain(["x"]);
            for gradient in gradients.map(|name| format!("grad_{name}")) {
                assert_close(&what, &found, &gradient, &numbers(&results[gradient.as_str()]), tolerance);
            }
        }

        let mut inputs = float(Tensors::new(), single, "scores", &tensor(&results["scores"]));
        inputs = float(inputs, single, "grad_weight", &tensor(&results["grad_weight"]));
        let slots = model(&text(SLOTS, &golden, capacity), single);
        let (slots, inputs) = forced(slots, inputs, &golden, single, "");
        for (engine, found) in trained(slots, &Tensors::new(), &inputs, 1) {
            let what = format!("slots of {name}, {engine}, single {single}");
            for exact in ["expert", "counts", "offsets", "kept"] {
                assert_close(&what, &found, exact, &numbers(&results[exact]), 0.0);
            }
            let slots = numbers(&results["slots"]);
            assert_eq!(found.get("slots").unwrap().to_f64()[..slots.len()], slots, "{what}");
            let inverse = found.get("inverse").unwrap().to_f64();
            assert!(inverse.iter().enumerate().all(|(slot, found)| slot as f64 == *found), "{what}: {inverse:?}");
            for close in ["weight", "balance_loss", "grad_scores"] {
                assert_close(&what, &found, close, &numbers(&results[close]), tolerance);
            }
        }
    }
}

#[test]
fn version_1() {
    check("layer_v1", ("0", "0"));
}

#[test]
fn version_2_with_two_choices() {
    check("layer_v2_top2", ("0", "0"));
}

#[test]
fn capacity() {
    // ceil(1.2 * 9 / 4) = 3 rows.
    check("layer_v1_capacity", ("1.2", "3"));
}
