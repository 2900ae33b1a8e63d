//! The expectation of each rule by enumeration of experts and coins, against the golden columns and against the derivative.

use super::*;

/// Beside the rules of the library: one whose coin decides for the best expert too, and one that is a user's own.
const PROGRAM: &str = "
use std.moe { route, in_turn, near_top, masked_softmax, choose_best }
use std.rules.sparsemixer
fn choose_always(scores: f[T, E], open: bool[T, E], settings: list) -> (i32[T], f[T], f[T, E]) {
    let gates = masked_softmax(scores, near_top(scores, open, settings[0]))
    let expert = draw_expert(scores, near_top(scores, open, settings[0]))
    let coin = random_uniform([T], f)
    let m = where(coin < settings[2], ones([T], f), settings[1])
    (expert, half_step(pick(gates, expert), m) via midpoint(back = settings[3]), gates)
}
estimator masked_best for route(scores: f[T, E], choices: int, jitter: real) -> (expert, weight, gates) {
    in_turn(scores, choices, choose_best, [jitter])
}
estimator coin_always(low: real, prob: real, back: real) for route(scores: f[T, E], choices: int, jitter: real) -> (expert, weight, gates) {
    in_turn(scores, choices, choose_always, [jitter, low, prob, back])
}
fn f_of(y: f[N, D], c: f[D], base: f[D]) -> f[N] { LOSS }
model one {
    in scores: f64[N, E]
    in outputs: f64[E, D]
    in c: f64[D]
    in base: f64[D]
    grad { route => RULE }
    let (expert, weight, _gates) = route(scores, jitter = JITTER)
    let y = reshape(weight, [N, 1]) * take(outputs, expert[0])
    out expert = expert[0]
    out estimate = grad(sum(f_of(y, c, base)), scores)

    let row = scores[0:1]
    let p = reshape(masked_softmax(row, near_top(row, full([1, E], true, bool), JITTER)), [E])
    let value = f_of(reshape(p, [E, 1]) * outputs, c, base)
    let chosen = stop(value - f_of(0 * outputs, c, base))
    out gates = p
    out total = sum(p * value)
    out exact_total = grad(sum(p * value), scores)[0]
    out exact_routing = grad(sum(p * chosen), scores)[0]
    out exact_gating = grad(sum(stop(p) * value), scores)[0]
}";

/// Rule, probability of the larger factor, whether there is a coin.
const RULES: &[(&str, &str, f64, &str)] = &[
    // The file's gates are masked for it too; without a mask it is the rule of the library.
    ("switch", "masked_best", 1.0, "best"),
    ("gating_only", "gating_only", 1.0, "drawn"),
    ("sparsemixer", "sparsemixer", 0.5, "coin"),
    ("sparsemixer_v2", "sparsemixer_v2", 0.25, "coin"),
    ("sparsemixer_v2_star", "sparsemixer_v2_star", 0.625, "coin"),
    ("gating_only_coin_always", "coin_always(low = 1, prob = 0.5, back = 1)", 0.5, "coin"),
    ("sparsemixer_coin_always", "coin_always(low = 1 / 2, prob = 1 / 2, back = 2)", 0.5, "coin"),
    ("sparsemixer_v2_coin_always", "coin_always(low = 1 / 3, prob = 1 / 4, back = 1)", 0.25, "coin"),
    ("sparsemixer_v2_star_coin_always", "coin_always(low = 1 / 3, prob = 5 / 8, back = 2)", 0.625, "coin"),
];

fn loss(row: &Value) -> String {
    let label = row["label"].as_u64().unwrap();
    match row["loss"].as_str().unwrap() {
        "linear c.y" => "sum(c * y, axis = -1)".to_string(),
        "quadratic |y - c|^2 / 2" => "sum(square(y - c), axis = -1) / 2".to_string(),
        "cubic sum (y - c)^3 / 3" => "sum((y - c) * square(y - c), axis = -1) / 3".to_string(),
        "cross-entropy of base + y at label" => format!("logsumexp(base + y) - (base + y)[:, {label}]"),
        other => panic!("{other}"),
    }
}

/// A tensor of equal rows.
fn repeated(count: usize, row: &[f64]) -> (Vec<u64>, Vec<f64>) {
    (vec![count as u64, row.len() as u64], row.repeat(count))
}

/// One training step in which row 2 e + b draws expert e with the coin b.
fn outcomes(golden: &Value, rule: &str, kind: &str) -> Tensors {
    let scores = numbers(&golden["scores"]);
    let experts = scores.len();
    let jitter = format!("{:?}", golden["jitter"].as_f64().unwrap());
    let text = PROGRAM.replace("RULE", rule).replace("LOSS", &loss(golden)).replace("JITTER", &jitter);
    let mut inputs = float(Tensors::new(), false, "scores", &repeated(2 * experts, &scores));
    for name in ["outputs", "c", "base"] {
        inputs = float(inputs, false, name, &tensor(&golden[name]));
    }
    let mut model = model(&text, false);
    // The noise of the wanted expert is 36, that of the others about -3: more than scores differ.
    let draws: Vec<f64> = (0..2 * experts * experts)
        .map(|i| if i % experts == i / experts / 2 { 1.0 - 2f64.powi(-52) } else { 1e-9 })
        .collect();
    let coins: Vec<f64> = (0..2 * experts).map(|i| if i % 2 == 1 { 0.0 } else { 0.999 }).collect();
    let always = rule.starts_with("coin_always");
    if kind != "best" {
        model = model.force("0.expert.noise.draw");
        let shape = vec![2 * experts as u64, experts as u64];
        inputs = float(inputs, false, "0.expert.noise.draw", &(shape, draws));
    }
    if kind == "coin" {
        let name = if always { "0.coin" } else { "0.coin.draw" };
        model = model.force(name);
        inputs = float(inputs, false, name, &(vec![2 * experts as u64], coins));
    }
    trained(model, &Tensors::new(), &inputs, 1).swap_remove(0).1
}

/// The mean of the estimates under the probabilities of experts and coins.
fn expectation(found: &Tensors, probability: f64, kind: &str) -> Vec<f64> {
    let gates = found.get("gates").unwrap().to_f64();
    let (chosen, estimates) = (found.get("expert").unwrap().to_f64(), found.get("estimate").unwrap().to_f64());
    let experts = gates.len();
    let best = (0..experts).max_by(|x, y| gates[*x].total_cmp(&gates[*y])).unwrap();
    let mut mean = vec![0.0; experts];
    for (row, estimate) in estimates.chunks(experts).enumerate() {
        let (expert, coin) = (row / 2, row % 2 == 1);
        let of_expert = if kind == "best" { f64::from(u8::from(expert == best)) } else { gates[expert] };
        if of_expert == 0.0 {
            continue;
        }
        assert_eq!(chosen[row], expert as f64, "the draw of row {row} gives another expert");
        let weight = of_expert * if coin { probability } else { 1.0 - probability };
        mean.iter_mut().zip(estimate).for_each(|(sum, value)| *sum += weight * value);
    }
    mean
}

fn assert_near(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    let scale = wanted.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() <= tolerance * scale, "{what}: {found} should be {wanted}");
    }
}

#[test]
fn every_column_of_the_golden_table() {
    let golden = read("expectation");
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let place = format!("{}, jitter {}", row["loss"], row["jitter"]);
        assert_eq!(row["expected"].as_object().unwrap().len(), RULES.len());
        for (column, rule, probability, kind) in RULES {
            let what = format!("{place}: {column}");
            let found = outcomes(row, rule, kind);
            for exact in ["gates", "exact_total", "exact_routing", "exact_gating"] {
                assert_near(&what, &found.get(exact).unwrap().to_f64(), &numbers(&row[exact]), 1e-11);
            }
            let mean = expectation(&found, *probability, kind);
            assert_near(&what, &mean, &numbers(&row["expected"][*column]["value"]), 1e-11);
        }
    }
}

/// What the rules are exact for, against the derivatives of the expectation themselves.
#[test]
fn what_the_rules_are_exact_for() {
    let golden = read("expectation");
    for row in golden["rows"].as_array().unwrap() {
        let mean = |column: &str| {
            let (_, rule, probability, kind) = RULES.iter().find(|rule| rule.0 == column).unwrap();
            let found = outcomes(row, rule, kind);
            let exact = |name: &str| found.get(name).unwrap().to_f64();
            (expectation(&found, *probability, kind), exact("exact_total"), exact("exact_routing"))
        };
        let halves = |values: &[f64]| values.iter().map(|x| x / 2.0).collect::<Vec<f64>>();
        match row["loss"].as_str().unwrap() {
            "linear c.y" => {
                if row["jitter"].as_f64() > Some(1.0) {
                    let [masked, open] = ["masked_best", "switch(noise = 0)"]
                        .map(|rule| outcomes(row, rule, "best").get("estimate").unwrap().to_f64());
                    assert_near("switch", &open, &masked, 1e-12);
                }
                for whole in ["sparsemixer", "sparsemixer_v2_star"] {
                    let (mean, total, _) = mean(whole);
                    assert_near(whole, &mean, &total, 1e-12);
                }
                for half in ["sparsemixer_v2", "gating_only"] {
                    let (mean, total, _) = mean(half);
                    assert_near(half, &mean, &halves(&total), 1e-12);
                }
            }
            "quadratic |y - c|^2 / 2" => {
                let (mean, total, _) = mean("sparsemixer_coin_always");
                assert_near("midpoint", &mean, &total, 1e-12);
            }
            "cubic sum (y - c)^3 / 3" => {
                let (star, total, _) = mean("sparsemixer_v2_star_coin_always");
                assert_near("Heun", &star, &total, 1e-12);
                let (second, _, routing) = mean("sparsemixer_v2_coin_always");
                assert_near("Heun", &second, &routing, 1e-12);
            }
            _ => {}
        }
    }
}

#[test]
fn the_derivative_of_the_expectation_by_differences() {
    let golden = read("expectation");
    for row in golden["rows"].as_array().unwrap() {
        let at = |expert: usize, step: f64| {
            let mut moved = row.clone();
            let value = &mut moved["scores"]["data"][expert];
            *value = (value.as_f64().unwrap() + step).into();
            outcomes(&moved, "gating_only", "drawn").scalar("total").unwrap()
        };
        let wanted = numbers(&row["exact_total"]);
        let h = 1e-5;
        // Two of the experts: each costs two compilations.
        for expert in [0, 2] {
            let slope = (at(expert, h) - at(expert, -h)) / (2.0 * h);
            let scale = wanted.iter().fold(1.0f64, |most, x| most.max(x.abs()));
            assert!((slope - wanted[expert]).abs() <= 1e-7 * scale, "{}: {slope} and {}", row["loss"], wanted[expert]);
        }
    }
}
