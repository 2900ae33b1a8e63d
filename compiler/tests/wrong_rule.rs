//! A rule that is wrong on purpose (factor 3 instead of 2) must be visible behind every pass and on every engine, wherever it is
//! chosen: a lost rule would give the right derivative and fail here.

#[path = "engines/slope.rs"]
mod slope;

use bpc::pipeline::Compilation;
use bpc::{Model, State, Tensors, compile_text};
use slope::{evaluated, interpreted};

const X: [f64; 5] = [0.3, -1.2, 0.8, 2.0, -0.1];

const DECLARATIONS: &str = "
use std.logic { count }
fn bend(x: f[..]) -> f[..] { x * x }
estimator tripled for bend(x: f[..]) -> y exact_for nothing { grad x = 3 * x * grad y }
estimator kept for bend(x: f[..]) -> y exact_for nothing {
    keep triple = 3 * x
    grad x = triple * grad y
}
fn always(x: f[..]) -> f[..] { x * x }
exact for always(x: f[..]) -> y { grad x = 3 * x * grad y }
fn pair(x: f[..]) -> (f[..], f[..]) { (x * x, 2 * x) }
estimator pair_tripled for pair(x: f[..]) -> (square, double) exact_for nothing {
    keep triple = 3 * x
    grad x = triple * grad square + 2 * grad double
}
fn bits(x: f[..]) -> bool[..] { x > 0 }
estimator tripled for bits(x: f[..]) -> y exact_for nothing { grad x = 3 * grad y }
layer bent(x: f[N]) -> f[N] { bend(x) }
";

/// The derivative by x for the factor k of the rule (2 is right).
type Derivative = fn(f64, f64) -> f64;

/// Where the rule is chosen: the lines of the model up to `y`, and the derivative.
const PLACES: &[(&str, &str, Derivative)] = &[
    ("at the call", "let y = bend(x) via tripled", |x, k| k * x),
    ("a rule without a name", "let y = always(x)", |x, k| k * x),
    (
        "from turn to turn of a loop",
        "let y = scan s = x over t in range(2) { next s = bend(s) via tripled }",
        |x, k| k * (x * x) * (k * x),
    ),
    ("with a kept value", "let y = bend(x) via kept", |x, k| k * x),
    ("for one of two results", "let (y, other) = pair(x) via pair_tripled", |x, k| k * x),
    ("for both results", "let (a, b) = pair(x) via pair_tripled\n    let y = a + b - 2 * x", |x, k| k * x),
    ("of bits", "let y = f64(bits(x) via tripled)", |_, k| k),
    (
        "through counts of bits",
        "let bit = reshape(bits(x) via tripled, [N, 1])\n    let y = reshape(count(bit, full([1, 1], true, bool), dtype = f64), [N])",
        |_, k| k,
    ),
    ("for a scope", "grad { bend => tripled }\n    let y = bend(x)", |x, k| k * x),
    ("for a layer", "grad { bend in inner => tripled }\n    let inner = bent(x)\n    let y = inner", |x, k| k * x),
    (
        "in a repeat",
        "grad { bend in steps.* => tripled }\n    let y = x\n    repeat steps 2 { next y = bent(y) }",
        // (x^2)^2: k x^2 of the outer turn times k x of the inner one.
        |x, k| k * (x * x) * (k * x),
    ),
    (
        "in a loop",
        "let (last, y) = scan s = zeros([], f64) over u in x { next s = s + bend(u) via tripled; yield bend(u) via tripled }",
        |x, k| k * x,
    ),
];

fn model(place: &str) -> Model {
    let text = format!(
        "{DECLARATIONS}
model wrong {{
    in x: f64[N]
    {place}
    let loss = sum(2.5 * (y + 0.5))
    out y = y
    out dx = grad(loss, x)
}}"
    );
    compile_text("wrong.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn inputs() -> Tensors {
    Tensors::new().with_slice("x", &[5], &X).unwrap()
}

fn compiled(model: Model) -> (Compilation, Tensors) {
    let mut step = model.jit().unwrap();
    let outputs = step.evaluate(&mut State::new(0), &inputs()).unwrap();
    (step.prepare(bpc::Mode::Evaluate, &inputs()).unwrap().clone(), outputs)
}

fn assert_factor(what: &str, found: &[f64], wanted: fn(f64, f64) -> f64, factor: f64) {
    for (x, found) in X.iter().zip(found) {
        let wanted = 2.5 * wanted(*x, factor);
        assert!((found - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{what}: at {x} it is {found}, not {wanted}");
    }
}

fn assert_everywhere(what: &str, model: Model, wanted: fn(f64, f64) -> f64, factor: f64) {
    let (compilation, outputs) = compiled(model);
    assert_factor(&format!("{what}, after differentiation"), &interpreted(&compilation.gradient, &X), wanted, factor);
    assert_factor(&format!("{what}, after the e-graph"), &interpreted(&compilation.optimized, &X), wanted, factor);
    assert_factor(&format!("{what}, kernels"), &evaluated(&compilation.kernels, &X), wanted, factor);
    assert_factor(&format!("{what}, machine code"), &outputs.get("dx").unwrap().to_f64(), wanted, factor);
}

#[test]
fn a_wrong_rule_is_seen_behind_every_pass() {
    for (what, place, wanted) in PLACES {
        assert_everywhere(what, model(place), *wanted, 3.0);
    }
}

#[test]
fn without_the_rule_the_derivative_is_right() {
    assert_everywhere("no rule", model("let y = bend(x)"), |x, k| k * x, 2.0);
}

#[test]
fn a_rule_from_outside_wins() {
    let chosen = model("let y = bend(x)").choose_rule("bend=tripled").unwrap();
    assert_everywhere("from outside", chosen, |x, k| k * x, 3.0);
}

#[test]
fn a_rule_leaves_the_value_alone() {
    let value = |place: &str| compiled(model(place)).1.get("y").unwrap().clone();
    assert_eq!(value("let y = bend(x)"), value("let y = bend(x) via tripled"));
}

#[test]
fn an_estimate_has_no_derivative() {
    let text = format!(
        "{DECLARATIONS}
model twice {{
    in x: f64[N]
    let slope = grad(sum(bend(x) via tripled), x)
    out curve = grad(sum(slope), x)
}}"
    );
    let model = compile_text("twice.bp", &text, &mut |_| None);
    let message = match model.and_then(|model| model.jit()?.evaluate(&mut State::new(0), &inputs())) {
        Ok(_) => panic!("the derivative of an estimate was computed"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("BP0412"), "{message}");
}
