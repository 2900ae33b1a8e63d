//! Sizes at the edge, evaluation, threads, numbers that are none, and how work grows.

use super::*;
use bpc::measure;

const LAYER: &str = "
use std.moe { moe, route }
use std.rules.sparsemixer
model mixture {
    in x: f32[T, 6]
    grad { route => RULE }
    let (y, balance, load) = moe(x, experts = EXPERTS, hidden = 8, choices = CHOICES, jitter = JITTER, capacity = CAPACITY)
    let (share, dropped, alone, other) = load
    let loss = sum(sin(f32(reshape(range(T * 6), [T, 6])) + 1) * y) + 0.1 * balance
    out y = y
    out balance = balance
    out share = share
    out dropped = dropped
    out alone = alone
    out other = other
    out grad_x = grad(loss, x)
    out grad_router = grad(loss, moe.router)
    out grad_w1 = grad(loss, moe.w1)
    out grad_b2 = grad(loss, moe.b2)
}";

fn text(rule: &str, experts: usize, choices: usize, jitter: &str, capacity: &str) -> String {
    LAYER
        .replace("RULE", rule)
        .replace("EXPERTS", &experts.to_string())
        .replace("CHOICES", &choices.to_string())
        .replace("JITTER", jitter)
        .replace("CAPACITY", capacity)
}

fn tokens(count: usize, number: impl Fn(usize) -> f64) -> Tensors {
    let x = (vec![count as u64, 6], (0..6 * count).map(number).collect());
    float(Tensors::new(), true, "x", &x)
}

fn wave(place: usize) -> f64 {
    (1.7 * place as f64).sin()
}

/// By machine code, one and four threads, and by the interpreter; parameters begin with the same numbers.
fn run(text: &str, inputs: &Tensors) -> Tensors {
    let mut step = model(text, false).jit().unwrap();
    let mut state = State::new(3);
    let found = step.step(&mut state, inputs).unwrap_or_else(|error| panic!("{error}"));
    let mut other = model(text, false).jit_with_threads(4).unwrap();
    let again = other.step(&mut State::new(3), inputs).unwrap();
    let graph = step.prepare(Mode::Train, inputs).unwrap().gradient.clone();
    let oracle = interpreted(&graph, &state.parameters(), inputs);
    for (name, value) in found.iter() {
        assert_eq!(value, again.get(name).unwrap(), "{name}: four threads give other bits\n{text}");
        let oracle = oracle.get(name).unwrap().to_f64();
        assert!(oracle.iter().all(|x| x.is_finite()), "{name} is not finite\n{text}");
        assert_close(&format!("{name}\n{text}"), &found, name, &oracle, 3e-5);
    }
    found
}

const SAMPLED: [&str; 3] = ["sparsemixer", "sparsemixer_v2", "switch"];

#[test]
fn sizes_at_the_edge() {
    for rule in SAMPLED {
        for (experts, choices, count) in [(1, 1, 5), (4, 1, 0), (4, 2, 0), (4, 1, 1), (9, 2, 3), (3, 3, 5), (2, 2, 1)] {
            for (jitter, capacity) in [("0.1", "0"), ("0", "0"), ("100", "1.0"), ("0.5", "0.3")] {
                let found = run(&text(rule, experts, choices, jitter, capacity), &tokens(count, wave));
                let sum = |name: &str| found.get(name).unwrap().to_f64().iter().map(|x| x.abs()).sum::<f64>();
                if experts == 1 {
                    assert_eq!(sum("grad_router"), 0.0, "one expert has the gate 1, whatever its score");
                    assert!((found.scalar("balance").unwrap() - 1.0).abs() < 1e-6);
                }
                if count == 0 {
                    assert_eq!(sum("grad_w1") + sum("grad_b2") + sum("grad_router") + sum("balance"), 0.0);
                } else {
                    assert!((sum("share") - 1.0).abs() < 1e-6);
                    assert!(sum("y") > 0.0 && sum("grad_w1") > 0.0);
                }
            }
        }
    }
}

/// Equal tokens and no draws: all go to one expert, and the others get zero gradients.
#[test]
fn all_tokens_to_one_expert() {
    let found = run(&text("switch(noise = 0)", 4, 1, "0.1", "0"), &tokens(50, |place| 0.3 + (place % 6) as f64));
    let share = found.get("share").unwrap().to_f64();
    let full = share.iter().position(|share| *share == 1.0).expect("one expert has all");
    let size = 8 * 6;
    for (expert, gradient) in found.get("grad_w1").unwrap().to_f64().chunks(size).enumerate() {
        let sum: f64 = gradient.iter().map(|x| x.abs()).sum();
        assert_eq!(sum > 0.0, expert == full, "expert {expert} has a gradient of size {sum}");
    }
}

/// Enough rows for several workers.
#[test]
fn threads_give_the_same_bits() {
    for rule in ["sparsemixer_v2", "sparsemixer"] {
        let large = text(rule, 5, 2, "0.4", "1.1").replace("hidden = 8", "hidden = 300");
        run(&large, &tokens(900, wave));
    }
}

#[test]
fn more_choices_than_experts_is_an_error() {
    let error = match compile_text("moe.bp", &text("switch", 2, 3, "0.1", "0"), &mut |_| None) {
        Ok(model) => model.jit().unwrap().step(&mut State::new(0), &tokens(4, wave)).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("a token chooses at least one expert, and at most as many as there are"), "{error}");
}

#[test]
fn evaluation_draws_nothing_and_all_sampled_rules_agree() {
    let rules = ["gating_only", "sparsemixer", "sparsemixer_v2", "sparsemixer_v2_star"];
    let evaluate = |rule: &str, jitter: &str| {
        let inputs = tokens(20, wave);
        let mut step = model(&text(rule, 5, 2, jitter, "0"), false).jit().unwrap();
        let found = step.evaluate(&mut State::new(3), &inputs).unwrap();
        let compilation = step.prepare(Mode::Evaluate, &inputs).unwrap();
        assert!(compilation.lowered.sites.iter().all(|site| site.random.is_none()), "{rule} draws in evaluation");
        let half_steps = compilation.lowered.sites.iter().filter(|site| site.function == "half_step").count();
        assert_eq!(half_steps, 0, "{rule}: a half step in evaluation");
        let regions = compilation.gradient.regions.values();
        let mut nodes = regions.flat_map(|region| region.nodes.values());
        assert!(!nodes.any(|node| matches!(node.op, Op::Random { .. })), "{rule} draws in evaluation");
        found.get("y").unwrap().clone()
    };
    for jitter in ["0.1", "0.7", "1000000000.0"] {
        let first = evaluate(rules[0], jitter);
        for rule in &rules[1..] {
            assert_eq!(evaluate(rule, jitter), first, "{rule}");
        }
        // `switch` has no mask: where the mask keeps all experts its gates are the same, up to rounding.
        let (switch, first) = (evaluate("switch", jitter).to_f64(), first.to_f64());
        let difference = switch.iter().zip(&first).fold(0.0f64, |most, (x, y)| most.max((x - y).abs()));
        assert_eq!(difference < 1e-6, jitter == "1000000000.0", "jitter {jitter}: {difference:e}");
    }
}

/// A score that is no number must not lead outside.
#[test]
fn numbers_that_are_none_give_experts_that_exist() {
    let program = "
use std.moe { route, dispatch }
use std.rules.sparsemixer
model scores {
    in x: f32[T, E]
    grad { route => RULE }
    let (expert, weight, _gates) = route(x, choices = 2)
    let (rows, slot, row, _kept) = dispatch(expert, E, 1)
    out expert = expert
    out rows = rows
    out slot = slot
    out row = row
}";
    let bad = |place: usize| [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN][place % 5];
    for rule in SAMPLED {
        let inputs = tokens(5, bad);
        for training in [true, false] {
            let mut step = model(&program.replace("RULE", rule), false).jit().unwrap();
            let mut state = State::new(1);
            let found =
                if training { step.step(&mut state, &inputs) } else { step.evaluate(&mut state, &inputs) }.unwrap();
            let experts = found.get("expert").unwrap().to_f64();
            assert!(experts.iter().all(|expert| (0.0..6.0).contains(expert)), "{rule}: {experts:?}");
            assert!(experts[..5].iter().zip(&experts[5..]).all(|(one, two)| one != two), "{rule}: {experts:?}");
            let mut slots = found.get("slot").unwrap().to_f64();
            slots.sort_by(f64::total_cmp);
            assert!(slots.iter().enumerate().all(|(place, slot)| place as f64 == *slot), "{rule}: {slots:?}");
        }
    }
}

/// At equal tokens the work of the experts does not grow with their number; what does is linear in it.
#[test]
fn work_does_not_grow_with_experts() {
    let program = |experts: u64| {
        format!(
            "
use std.moe {{ moe, route }}
use std.rules.sparsemixer
use std.optim {{ sgd }}
model mixture {{
    in x: f32[256, 32]
    grad {{ route => sparsemixer_v2 }}
    let (y, balance, _load) = moe(x, experts = {experts}, hidden = 64, choices = 2)
    minimize mean(square(y - x)) + 0.01 * balance using sgd
}}"
        )
    };
    let work = |experts: u64| {
        let compilation = model(&program(experts), false).compile(&BTreeMap::new(), true).unwrap();
        let mut experts_only = compilation.optimized.clone();
        let main = experts_only.main_id();
        let segment = |op: &Op| matches!(op, Op::SegmentMatmul { .. } | Op::SegmentOuter {});
        let nodes = &mut experts_only.regions[main].nodes;
        let ids: Vec<_> = nodes.keys().filter(|id| segment(&nodes[*id].op)).collect();
        let rest = ids.into_iter().map(|id| nodes[id].op = Op::Concat { axis: 0 }).count();
        assert_eq!(rest, 5, "two products forward, and the gradients of two weights and one input");
        let all = measure::operations(&compilation.optimized);
        (all - measure::operations(&experts_only), measure::operations(&experts_only))
    };
    let (slots, tokens, width, hidden) = (512, 256, 32, 64);
    let [eight, many] = [8, 64].map(work);
    // The gradient by the tokens themselves is not wanted here.
    assert_eq!(eight.0, 2 * 5 * slots * width * hidden, "products of the experts");
    assert_eq!(many.0, eight.0);
    let per_expert = tokens * (4 * width + 2 * 60) + 2 * (2 * width * hidden + width + hidden + width) + 2 * 64;
    assert!(many.1 - eight.1 <= (64 - 8) * per_expert, "{} more for 56 experts, {per_expert} each", many.1 - eight.1);
}
