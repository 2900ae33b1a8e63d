//! Rules for loops: the exact forms agree with each other and with differences, truncation cuts where it says, a wrong rule is seen
//! behind every pass, and the adjoint keeps the states and nothing else.

#[path = "engines/slope.rs"]
mod slope;

use bpc::ir::op::Op;
use bpc::measure::residual_bytes;
use bpc::pipeline::Compilation;
use bpc::{Mode, State, Tensors, compile_text};
use bpc_runtime::philox::uniform_f64;
use bpc_runtime::tensor::HostTensor;
use slope::{evaluated, interpreted};
use std::collections::BTreeMap;

/// A rule of a user: the sum over all turns k of what the cotangents of turn k alone send back, through all turns before it. That
/// is the double sum of products that the adjoint sweep factors.
const PRODUCTS: &str = "
use std.rules.one_shot { adjoint, added, zeros_of, reversed, chosen }
fn alone(stacks: list, k: int) {
    let masked = []
    repeat len(stacks) as i {
        let x = stacks[i]
        let turn = reshape(range(x.shape[0]), [x.shape[0]] + ones_like(x.rank - 1))
        next masked = masked + [where(turn == k, x, 0)]
    }
    masked
}
fn ones_like(rank: int) {
    let ones = []
    repeat rank { next ones = ones + [1] }
    ones
}
exact products for scan(step, carries, sequences, constants) -> (last, stacks, states) {
    let arrived = grad stacks + grad states
    let (first, sums, along) = every_turn(step, states, sequences, constants, grad last, arrived)
    grad carries = first
    grad constants = sums
    grad sequences = along
}
fn every_turn(step, states: list, sequences: list, constants: list, to_last: list, arrived: list) {
    let (of_last, last_sums, last_along) = adjoint(step, states, sequences, constants, to_last, zeros_of(arrived))
    let first = of_last
    let sums = last_sums
    let along = reversed(last_along)
    repeat sequences[0].shape[0] as k {
        let (to_x, to_constants, to_u) = adjoint(step, states, sequences, constants, zeros_of(to_last), alone(arrived, k))
        next first = added(first, to_x)
        next sums = added(sums, to_constants)
        next along = added(along, reversed(to_u))
    }
    (first, sums, along)
}
";

/// A name, the shapes of first values x, numbers p and inputs u, and a function of them that ends in a loop under `RULE` and
/// gives a scalar.
type System = (&'static str, &'static [u64], &'static [u64], &'static [u64], &'static str);

const SYSTEMS: &[System] = &[
    (
        "pendulum",
        &[2],
        &[3],
        &[7],
        "fn system(x: f[2], p: f[3], u: f[7]) {
            let (angle, speed, path) = scan a = x[0], v = x[1] over push in u {
                next a = a + 0.1 * v
                next v = v + 0.1 * (p[2] * push - p[0] * sin(a) - p[1] * v)
                yield a * a + v
            } via RULE
            sum(path * path) + angle * speed
        }",
    ),
    (
        "rigid body",
        &[3],
        &[3],
        &[6, 3],
        "fn rate(w, torque, J) {
            concat([
                reshape(((J[1] - J[2]) * w[1] * w[2] + torque[0]) / J[0], [1]),
                reshape(((J[2] - J[0]) * w[2] * w[0] + torque[1]) / J[1], [1]),
                reshape(((J[0] - J[1]) * w[0] * w[1] + torque[2]) / J[2], [1]),
            ])
        }
        fn rk4_step(w, torque, J) {
            let k1 = rate(w, torque, J)
            let k2 = rate(w + 0.05 * k1, torque, J)
            let k3 = rate(w + 0.05 * k2, torque, J)
            let k4 = rate(w + 0.1 * k3, torque, J)
            w + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        }
        fn system(x: f[3], p: f[3], u: f[6, 3]) {
            let J = p + 0.5
            let (last, path) = scan w = x over torque in u { next w = rk4_step(w, torque, J); yield w } via RULE
            sum(path * path) + sum(last * sin(last))
        }",
    ),
    (
        "a batch of springs",
        &[4, 2],
        &[2],
        &[5, 4],
        "fn system(x: f[4, 2], p: f[2], u: f[5, 4]) {
            let (last, path) = scan s = x over push in u {
                let force = push - p[0] * s[:, 0] - p[1] * s[:, 0] ^ 3
                next s = s + 0.2 * concat([reshape(s[:, 1], [4, 1]), reshape(force, [4, 1])])
                yield s
            } via RULE
            sum(path * path * path) + sum(last)
        }",
    ),
    (
        "backwards, with a counter",
        &[2],
        &[2],
        &[5],
        "fn system(x: f[2], p: f[2], u: f[5]) {
            let (last, n, path) = scan s = x, n = i32(0) over push in reverse(u, axis = 0) {
                next s = (s + 0.3 * sin(p[0] * s + push)) * p[1]
                next n = n + 1
                yield s * f(n)
            } via RULE
            sum(path * path) + sum(last)
        }",
    ),
    (
        "a loop in a turn",
        &[2],
        &[2],
        &[3],
        "fn system(x: f[2], p: f[2], u: f[3]) {
            let (last, n, path) = scan s = x, n = i32(0) over push in u {
                let inner = scan r = s over k in range(2) { next r = r + 0.1 * sin(p[0] * r + push) }
                next s = inner * p[1]
                next n = n + 1
                yield s * f(n)
            } via RULE
            sum(path * path) + sum(last)
        }",
    ),
    (
        "no state",
        &[3],
        &[2],
        &[4, 3],
        "fn system(x: f[3], p: f[2], u: f[4, 3]) {
            let path = scan over v in u { yield sin(p[0] * v) * x + p[1] } via RULE
            sum(path * path)
        }",
    ),
];

fn program(system: &str, rule: &str) -> String {
    format!(
        "{PRODUCTS}{}
model case {{
    in x: f64{{X}}
    in p: f64{{P}}
    in u: f64{{U}}
    let loss = system(x + 0, p + 0, u)
    out loss = loss
    out dx = grad(loss, x)
    out dp = grad(loss, p)
    let slope = sum(sin(2 * grad(loss, x))) + sum(cos(grad(loss, p)))
    out slope = slope
    SECOND
}}",
        system.replace("RULE", rule)
    )
}

const SECOND: &str = "out ddx = grad(slope, x)\n    out ddp = grad(slope, p)";

fn numbers(shape: &[u64], site: u32, shift: f64) -> HostTensor {
    let count: u64 = shape.iter().product();
    let at = |site, index| uniform_f64([5, 3], 0, site, index);
    let values: Vec<f64> =
        (0..count).map(|index| 0.3 + at(site, index) + shift * (at(site + 10, index) - 0.5)).collect();
    HostTensor::from_slice(shape, &values).unwrap()
}

fn inputs((_, x, p, u, _): &System, shift: f64) -> Tensors {
    Tensors::new()
        .with_tensor("x", numbers(x, 0, shift))
        .with_tensor("p", numbers(p, 1, shift))
        .with_tensor("u", numbers(u, 2, 0.0))
}

fn run(system: &System, rule: &str, second: bool, shifts: &[f64]) -> (Vec<Tensors>, Compilation) {
    let (_, x, p, u, text) = system;
    let text = program(text, rule)
        .replace("{X}", &format!("{x:?}"))
        .replace("{P}", &format!("{p:?}"))
        .replace("{U}", &format!("{u:?}"))
        .replace("SECOND", if second { SECOND } else { "" });
    let model = compile_text("case.bp", &text, &mut |_| None)
        .unwrap_or_else(|error| panic!("{} via {rule}: {error}", system.0));
    let mut step = model.jit().unwrap();
    let results =
        shifts.iter().map(|shift| step.evaluate(&mut State::new(0), &inputs(system, *shift)).unwrap()).collect();
    (results, step.prepare(Mode::Evaluate, &inputs(system, 0.0)).unwrap().clone())
}

fn close(what: &str, found: &Tensors, wanted: &Tensors, names: &[&str], tolerance: f64) {
    for name in names {
        let (found, wanted) = (found.get(name).unwrap().to_f64(), wanted.get(name).unwrap().to_f64());
        let largest = wanted.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
        for (found, wanted) in found.iter().zip(&wanted) {
            let error = (found - wanted).abs() / largest;
            assert!(error <= tolerance, "{what}: {name} is {found}, not {wanted}: off by {error:e}");
        }
    }
}

const FORMS: [&str; 4] = ["one_shot(mode = \"forward\")", "one_shot", "products", "one_shot(mode = \"auto\")"];

#[test]
fn exact_forms_agree() {
    for system in SYSTEMS {
        let (exact, _) = run(system, "one_shot(mode = \"adjoint\")", true, &[0.0]);
        for rule in FORMS {
            let (found, _) = run(system, rule, true, &[0.0]);
            let what = format!("{} via {rule}", system.0);
            // Where loops are fused, the loss is summed in the order of turns.
            close(&what, &found[0], &exact[0], &["loss"], 1e-15);
            close(&what, &found[0], &exact[0], &["dx", "dp", "slope", "ddx", "ddp"], 1e-12);
        }
    }
}

#[test]
fn each_form_agrees_with_differences() {
    let h = 1e-4;
    for system in SYSTEMS {
        for rule in ["one_shot(mode = \"adjoint\")", "one_shot(mode = \"forward\")", "products"] {
            let (found, _) = run(system, rule, true, &[0.0, h, -h, 2.0 * h, -2.0 * h]);
            let along = |first: &str, second: &str| -> f64 {
                let pairs = [(first, system.1, 0), (second, system.2, 1)];
                pairs
                    .iter()
                    .map(|(name, shape, site)| {
                        let gradient = found[0].get(name).unwrap().to_f64();
                        let (here, there) = (numbers(shape, *site, 0.0).to_f64(), numbers(shape, *site, 1.0).to_f64());
                        gradient
                            .iter()
                            .zip(there.iter().zip(&here))
                            .map(|(g, (there, here))| g * (there - here))
                            .sum::<f64>()
                    })
                    .sum()
            };
            for (value, first, second) in [("loss", "dx", "dp"), ("slope", "ddx", "ddp")] {
                let at = |shift: usize| found[shift].scalar(value).unwrap();
                let measured = (8.0 * (at(1) - at(2)) - (at(3) - at(4))) / (12.0 * h);
                let claimed = along(first, second);
                let error = (claimed - measured).abs() / measured.abs().max(1e-2);
                assert!(error < 1e-7, "{} via {rule}: {claimed} for {value}, differences {measured}", system.0);
            }
        }
    }
}

#[test]
fn a_form_that_is_named_is_the_one_that_is_computed() {
    let vjps = |rule: &str| -> Vec<String> {
        let (_, compilation) = run(&SYSTEMS[0], rule, false, &[0.0]);
        let nodes = compilation.gradient.main().nodes.values();
        let mut rules: Vec<String> = nodes
            .filter_map(|node| if let Op::Vjps { rule, .. } = &node.op { Some(rule.clone()) } else { None })
            .collect();
        rules.dedup();
        rules
    };
    assert_eq!(vjps("one_shot(mode = \"forward\")"), ["one_shot(mode = \"forward\")"]);
    assert_eq!(vjps("one_shot"), ["one_shot(mode = \"auto\"): adjoint", "one_shot(mode = \"auto\"): forward"]);
    let (_, compilation) = run(&SYSTEMS[0], "one_shot", false, &[0.0]);
    let [choice] = &compilation.report.forms[..] else { panic!("{:?}", compilation.report.forms) };
    assert_eq!(choice.forms.len(), 2);
    let cheapest = usize::from(choice.forms[1].1 < choice.forms[0].1);
    assert_eq!(choice.taken, [cheapest], "{choice:?}");
}

/// An estimate has no tangent, so forward sensitivities are left out; asked for by name, they are an error.
#[test]
fn estimates_inside_a_loop_leave_the_adjoint() {
    let text = "
fn bend(x: f[..]) -> f[..] { x * x }
estimator tripled for bend(x: f[..]) -> y exact_for nothing { grad x = 3 * x * grad y }
model case {
    in x: f64[]
    let last = scan s = x over k in range(3) { next s = bend(s) via tripled } via RULE
    out dx = grad(last, x)
}";
    let step = |rule: &str| {
        let text = text.replace("RULE", rule);
        compile_text("case.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}")).jit().unwrap()
    };
    let inputs = Tensors::new().with_tensor("x", numbers(&[], 0, 0.0));
    let found = step("one_shot").evaluate(&mut State::new(0), &inputs).unwrap().scalar("dx").unwrap();
    let x = numbers(&[], 0, 0.0).to_f64()[0];
    let wanted = 27.0 * x.powi(7);
    assert!((found - wanted).abs() <= 1e-12 * wanted, "{found}, not {wanted}");
    let error = step("one_shot(mode = \"forward\")").evaluate(&mut State::new(0), &inputs).unwrap_err().to_string();
    assert!(error.contains("BP0412"), "{error}");
}

/// The cut at turn 3 and 6 of 8, by hand.
const WINDOWS: &str = "
fn window(s: f[], v: f[], p: f[], u: f[N]) {
    scan s = s, v = v over push in u {
        next s = s + 0.3 * v
        next v = v + push - p * sin(s) * cos(v)
        yield s * p
        yield v
    } via one_shot(mode = \"adjoint\")
}
fn whole(s: f[], v: f[], p: f[], u: f[8]) {
    let (last, speed, path, speeds) = scan s = s, v = v over push in u {
        next s = s + 0.3 * v
        next v = v + push - p * sin(s) * cos(v)
        yield s * p
        yield v
    } via RULE
    LOSS
}
fn by_hand(s: f[], v: f[], p: f[], u: f[8]) {
    let (s1, v1, a1, b1) = window(s, v, p, u[:3])
    let (s2, v2, a2, b2) = window(stop(s1), stop(v1), p, u[3:6])
    let (last, speed, a3, b3) = window(stop(s2), stop(v2), p, u[6:])
    let path = concat([a1, a2, a3])
    let first_speed = 0 * v1
    let speeds = concat([b1, reshape(v1, [1]), b2[1:], reshape(v2, [1]), b3[1:]])
    LOSS
}
model case {
    in x: f64[2]
    in p: f64[]
    in u: f64[8]
    let loss = whole(x[0], x[1], p, u)
    let hand = by_hand(x[0], x[1], p, u)
    out loss = loss
    out dx = grad(loss, x)
    out dp = grad(loss, p)
    out du = grad(loss, u)
    out hand_loss = hand
    out hand_dx = grad(hand, x)
    out hand_dp = grad(hand, p)
    out hand_du = grad(hand, u)
}";

fn windows(rule: &str) -> Tensors {
    let text = WINDOWS.replace("RULE", rule).replace("LOSS", "sum(path * path) + sum(sin(speeds)) + last * speed");
    let model = compile_text("case.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let inputs = Tensors::new()
        .with_tensor("x", numbers(&[2], 0, 0.0))
        .with_tensor("p", numbers(&[], 1, 0.0))
        .with_tensor("u", numbers(&[8], 2, 0.0));
    model.jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap()
}

#[test]
fn truncation_cuts_between_turns() {
    let found = windows("truncated(every = 3)");
    for name in ["loss", "dx", "dp", "du"] {
        let (found, hand) = (found.get(name).unwrap().to_f64(), found.get(&format!("hand_{name}")).unwrap().to_f64());
        for (found, hand) in found.iter().zip(&hand) {
            assert!((found - hand).abs() <= 1e-12 * hand.abs().max(1.0), "{name}: {found}, by hand {hand}");
        }
    }
    let exact = windows("one_shot(mode = \"adjoint\")");
    assert_ne!(found.get("dx"), exact.get("dx"), "a truncation that cuts nothing");
}

#[test]
fn truncation_behind_the_last_turn_is_exact_bit_for_bit() {
    let exact = windows("one_shot(mode = \"adjoint\")");
    for every in [8, 9, 100] {
        let found = windows(&format!("truncated(every = {every})"));
        for name in ["loss", "dx", "dp", "du"] {
            assert_eq!(found.get(name), exact.get(name), "{name} with a cut every {every} turns");
        }
    }
}

#[test]
fn a_rule_for_loops_is_chosen_at_the_loop_for_a_scope_or_from_outside() {
    let text = "
model case {
    in x: f64[2]
    SCOPE
    let last = scan s = x over k in range(6) { next s = sin(1.3 * s) } VIA
    out dx = grad(sum(last * last), x)
}";
    let gradient = |scope: &str, via: &str, outside: Option<&str>| {
        let text = text.replace("SCOPE", scope).replace("VIA", via);
        let model = compile_text("case.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
        let model = match outside {
            Some(choice) => model.choose_rule(choice).unwrap(),
            None => model,
        };
        let inputs = Tensors::new().with_tensor("x", numbers(&[2], 0, 0.0));
        let found = model.jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap();
        found.get("dx").unwrap().clone()
    };
    let exact = gradient("", "", None);
    let cut = gradient("", "via truncated(every = 2)", None);
    // Nothing of the last windows reaches the first value.
    assert!(cut.to_f64().iter().all(|x| *x == 0.0) && exact.to_f64().iter().all(|x| *x != 0.0));
    assert_eq!(gradient("grad { scan in last => truncated(every = 2) }", "", None), cut);
    assert_eq!(gradient("", "", Some("scan=truncated(every = 2)")), cut);
    assert_eq!(gradient("", "via truncated(every = 2)", Some("scan=one_shot(mode = \"adjoint\")")), {
        gradient("", "via one_shot(mode = \"adjoint\")", None)
    });
}

/// Every turn sends back twice what it should.
const DOUBLED: &str = "
use std.rules.one_shot { zeros_of, added, reversed }
exact doubled for scan(step, carries, sequences, constants) -> (last, stacks, states) {
    let (first, sums, along) = scan lam = grad last, sums = zeros_of(constants)
    over d in reversed(grad stacks + grad states), x in reversed(states), u in reversed(sequences) {
        let (to_x, to_u, to_constants) = pullback(step, x, u, constants, lam, d)
        next lam = added(to_x, to_x)
        next sums = added(sums, to_constants)
        yield to_u
    }
    grad carries = first
    grad constants = sums
    grad sequences = reversed(along)
}
model wrong {
    in x: f64[5]
    let y = scan s = x over t in range(3) { next s = s * s } via doubled
    let loss = sum(2.5 * (y + 0.5))
    out y = y
    out dx = grad(loss, x)
}";

const X: [f64; 5] = [0.3, -1.2, 0.8, 1.1, -0.1];

#[test]
fn a_wrong_rule_of_a_loop_is_seen_behind_every_pass() {
    let model = compile_text("wrong.bp", DOUBLED, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let inputs = Tensors::new().with_slice("x", &[5], &X).unwrap();
    let mut step = model.jit().unwrap();
    let outputs = step.evaluate(&mut State::new(0), &inputs).unwrap();
    let compilation = step.prepare(Mode::Evaluate, &inputs).unwrap();
    let found = [
        ("after differentiation", interpreted(&compilation.gradient, &X)),
        ("after the e-graph", interpreted(&compilation.optimized, &X)),
        ("kernels", evaluated(&compilation.kernels, &X)),
        ("machine code", outputs.get("dx").unwrap().to_f64()),
    ];
    for (what, found) in found {
        for (x, found) in X.iter().zip(found) {
            // The derivative of x^8, and a factor 2 for each of three turns.
            let wanted = 2.5 * 8.0 * 8.0 * x.powi(7);
            assert!((found - wanted).abs() <= 1e-12 * wanted.abs().max(1.0), "{what}: {found} at {x}, not {wanted}");
        }
    }
}

#[test]
fn the_adjoint_keeps_the_states_and_nothing_else() {
    let text = "
use std.optim { sgd }
fn rates(s: f[B, 3]) { s * sin(s) - 0.1 * exp(s / 7) }
model kept {
    param x: f64[2, 3] ~ ones
    let (last, path) = scan s = x over k in range(TURNS) { next s = s + 0.1 * rates(s); yield s } via RULE
    minimize sum(path * path) + sum(last * last) using sgd(lr = 0.1)
}";
    let residuals = |rule: &str, turns: u64| -> u64 {
        let text = text.replace("RULE", rule).replace("TURNS", &turns.to_string());
        let model = compile_text("kept.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
        residual_bytes(&model.compile(&BTreeMap::new(), true).unwrap().optimized)
    };
    for turns in [4, 50] {
        assert_eq!(residuals("one_shot(mode = \"adjoint\")", turns), 8 * 3 * (turns + 1) * 2);
    }
}

/// A rollout and its loss, which looks at all states: those that the loop yields, and the one before or behind them.
const FITTED: &[(&str, &str)] = &[
    (
        "states before a turn, and the last one apart",
        "let (last, path) = scan s = x over k in range(TURNS) { next s = turn(s, p); yield s } via RULE
    minimize score(path - data[:-1], weight[:-1]) + sum(square(last - data[TURNS])) using sgd(lr = 0.1)",
    ),
    (
        "states behind a turn, joined to the first one",
        "let (last, path) = scan s = x over k in range(TURNS) { let y = turn(s, p); next s = y; yield y } via RULE
    minimize score(concat([reshape(x, [1, 3]), path], axis = 0) - data, weight) using sgd(lr = 0.1)",
    ),
    (
        "states before a turn, joined to the last one",
        "let (last, path) = scan s = x over k in range(TURNS) { next s = turn(s, p); yield s } via RULE
    minimize score(concat([path, reshape(last, [1, 3])], axis = 0) - data, weight) using sgd(lr = 0.1)",
    ),
];

fn fitted(lines: &str, rule: &str, turns: u64) -> bpc::Model {
    let text = "
use std.optim { sgd }
fn turn(s: f[3], p: f[2]) { s + 0.1 * (p[0] * sin(s) - p[1] * s) }
fn score(miss: f[T, 3], weight: f[T]) { sum(reshape(weight, [T, 1]) * miss * miss) / T }
model fitted {
    param p: f64[2] ~ ones
    param x: f64[3] ~ ones
    in data: f64[TIMES, 3]
    in weight: f64[TIMES]
    LINES
}";
    let text = text.replace("LINES", lines).replace("RULE", rule).replace("TIMES", &(turns + 1).to_string());
    let text = text.replace("TURNS", &turns.to_string());
    compile_text("fitted.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

#[test]
fn forward_sensitivities_of_a_separable_loss_keep_nothing_that_grows_with_the_turns() {
    for (what, lines) in FITTED {
        let compiled = |turns: u64| {
            let model = fitted(lines, "one_shot(mode = \"forward\")", turns);
            model.compile(&BTreeMap::new(), true).unwrap()
        };
        let (few, many) = (compiled(5), compiled(500));
        assert_eq!(few.report.fired["loops-fused"], 1, "{what}");
        assert_eq!(residual_bytes(&few.optimized), residual_bytes(&many.optimized), "{what}");
        let nodes = many.optimized.main().nodes.values();
        let scans: Vec<&Op> = nodes.map(|node| &node.op).filter(|op| op.body().is_some()).collect();
        let [Op::Scan { stacks, carries, .. }] = scans[..] else { panic!("{what}: {scans:?}") };
        // The state; a sensitivity and a sum for each parameter, and for the first value, whose places do not see each other;
        // the loss.
        assert_eq!((stacks.len(), *carries), (0, 1 + 3 + 3 + 1), "{what}");
    }
}

#[test]
fn fused_loops_give_the_same_step() {
    for (what, lines) in FITTED {
        let after = |rule: &str| {
            let mut step = fitted(lines, rule, 9).jit().unwrap();
            let inputs = Tensors::new()
                .with_tensor("data", numbers(&[10, 3], 3, 0.0))
                .with_tensor("weight", numbers(&[10], 4, 0.0));
            let mut state = State::new(0);
            let outputs = step.step(&mut state, &inputs).unwrap();
            let values = |name: &str| state.parameters().get(name).unwrap().to_f64();
            (outputs.scalar("loss").unwrap(), values("p"), values("x"))
        };
        let (exact, found) = (after("one_shot(mode = \"adjoint\")"), after("one_shot(mode = \"forward\")"));
        assert!((found.0 - exact.0).abs() <= 1e-14 * exact.0, "{what}: loss {} and {}", found.0, exact.0);
        for (found, exact) in found.1.iter().chain(&found.2).zip(exact.1.iter().chain(&exact.2)) {
            assert!((found - exact).abs() <= 1e-13 * exact.abs(), "{what}: {found} and {exact}");
        }
    }
}
