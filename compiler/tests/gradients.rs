//! Every exact rule of the standard library against central differences, in the middle of a graph: what goes in was computed,
//! what comes out is scaled by 2.5 and weighted by random numbers, so that a rule that drops its cotangent is seen.
//!
//! Each case runs as machine code in f64 and gives what the interpreter gives; the slope is taken along a random direction.

use bpc::ir::op::Op;
use bpc::{State, Step, Tensors, compile_text};
use bpc_lang::tree::{Item, RuleKind};
use bpc_runtime::philox::uniform_f64;
use bpc_runtime::tensor::HostTensor;
use std::collections::BTreeSet;

/// Declarations beside the model, the shapes of `a` and `b`, and the value that is differentiated.
type Case = (&'static str, &'static [u64], &'static [u64], &'static str);

const USES: &str = "use std.nn\nuse std.random\nuse std.linear_algebra\nuse std.physics\nuse std.constraints\n";

const LOOP: &str = "
fn walk(a: f[T, N], b: f[N]) -> f[T, N] {
    let (last, path) = scan s = b over u in a { next s = tanh(0.5 * s * b + u); yield s * s + u }
    path + last
}
fn counted(a: f[N], b: f[N]) -> f[N] {
    let (x, y) = scan x = a, y = b over k in range(5) {
        next x = x + 0.1 * y * b
        next y = y - 0.1 * sin(x) * f(k)
    }
    x * y
}
fn nested(a: f[T, N], b: f[N]) -> f[N] {
    let outer = scan s = b over u in a {
        let inner = scan r = s over k in range(3) { next r = sin(r + u * b) }
        next s = inner + 0.3 * s
    }
    outer
}
fn slope(a: f[N], b: f[N]) -> f[N] { grad(sum(exp(0.3 * a) * b * a), a) }
";

const SEVERAL: &str = "
fn polar(r: f[N], angle: f[N]) -> (f[N], f[N]) { (r * cos(angle), r * sin(angle)) }
exact for polar(r: f[N], angle: f[N]) -> (x, y) {
    keep c = cos(angle)
    keep s = sin(angle)
    grad r = grad x * c + grad y * s
    grad angle = grad y * x - grad x * y
}
fn spiral(a: f[N], b: f[N]) -> f[N] {
    let (x, y) = polar(a, b)
    let (z, w) = polar(b, x)
    x * y + z
}
";

const CASES: &[Case] = &[
    ("", &[3, 5], &[3, 5], "-a + b"),
    ("", &[3, 5], &[3, 5], "a - b"),
    ("", &[7], &[3, 7], "a * b"),
    ("", &[3, 7], &[3, 1], "a / (1.5 + b)"),
    ("", &[4], &[4], "abs(a - 0.5) + b"),
    ("", &[4, 3], &[4, 3], "exp(a) + expm1(b)"),
    ("", &[4, 3], &[4, 3], "log(a + 0.2) * log1p(b)"),
    ("", &[17], &[17], "sqrt(a + 0.1) * b"),
    ("", &[17], &[17], "sin(a) * cos(b)"),
    ("", &[17], &[17], "tanh(a) + erf(b)"),
    ("", &[5], &[5], "pow(a + 0.3, b + 1.5)"),
    ("", &[5, 2], &[5, 2], "maximum(a, b) + 2 * minimum(a, b + 0.25)"),
    ("", &[5, 2], &[5, 2], "where(a > b, a * b, b * b)"),
    ("", &[2, 3, 4], &[4, 6], "reshape(a, [4, 6]) * b"),
    ("", &[2, 3, 4], &[4, 2, 3], "permute(a, [2, 0, 1]) * b"),
    ("", &[1, 3], &[5, 3], "expand(a, [5, 3]) * b"),
    ("", &[6, 5], &[3, 2], "a[1:4, 2:4] * b"),
    ("", &[6, 5], &[3, 5], "a[::2] * b"),
    ("", &[2, 3], &[5, 4], "pad(a, [1, 0], [2, 1]) * b"),
    ("", &[2, 3], &[2, 4], "concat([a, b], axis = 1)"),
    ("", &[2, 3], &[2, 3], "reverse(a, axis = 1) * b"),
    ("", &[9], &[4, 3], "windows(a, axis = 0, size = 3, stride = 2) * b"),
    ("", &[4, 3], &[9], "unwindows(a, axis = 0, length = 9, stride = 2) * b"),
    ("", &[4, 3], &[4], "sum(a * a, axis = 1) * b"),
    ("", &[4, 3], &[3], "sum(a, axis = 0, keep = true) * b"),
    ("", &[4, 3], &[4], "max(a, axis = 1) * b + min(a * a, axis = -1)"),
    ("", &[4, 3], &[3, 5], "a @ b"),
    ("", &[2, 4, 3], &[3, 5], "a @ b"),
    ("", &[2, 1, 4, 3], &[5, 3, 2], "a @ b"),
    ("", &[6, 3], &[2, 3], "take(a, reshape(range(2), [2]) * 3) * b"),
    ("", &[4, 3], &[6, 3], "scatter_add(range(4) // 2, a, 6) * b"),
    ("", &[7, 3], &[3, 4, 3], "segment_matmul(a, b, range(3) * 2)"),
    ("", &[7, 3], &[3, 3, 4], "segment_matmul(a, b, range(3) * 2, transposed = true)"),
    ("", &[7, 3], &[7, 2], "segment_outer(a, b, range(3) * 2)"),
    ("", &[2, 3, 4], &[4, 5], "bit_matmul(a, stop(b) > 0.7, 3, -1) * sum(b)"),
    ("", &[2, 5, 6, 3], &[2, 2, 3, 3, 3], "block_wht(a, [4, 2], [0, 1, 3], [0, 1, 1], mirror = true) * b"),
    ("", &[2, 5, 6, 3], &[2, 2, 3, 3, 3], "block_wht(a, [4, 2], [0, 1, 3], [0, 1, 1]) * b"),
    ("", &[2, 2, 2, 1], &[5, 3, 1], "block_wht_t(a, [5, 3], [4, 2], [1, 3], [1, 0], mirror = true) * b"),
    ("", &[2, 2, 2, 1], &[5, 3, 1], "block_wht_t(a, [5, 3], [4, 2], [1, 3], [1, 0]) * b"),
    ("", &[4, 3], &[4, 3], "relu(a - 0.7) * b"),
    ("", &[4, 3], &[4, 3], "sigmoid(a) * silu(b) + softplus(a * b)"),
    ("", &[4, 3], &[4, 3], "softmax(a * b) + log_softmax(a)"),
    ("", &[4, 3], &[4, 3], "gelu(a) + gelu(b, approximate = \"tanh\") + elu(a - 0.6) + leaky_relu(b - 0.6)"),
    ("", &[4, 3], &[4], "cross_entropy(a, range(4) % 3) * b"),
    ("", &[4, 5], &[4, 5], "normalize(a, 1e-5) * b"),
    ("", &[4, 5], &[4, 5], "bce_with_logits(a, b) + mse(a, b) + l1_loss(a, b + 0.11)"),
    ("", &[2, 3, 5, 6], &[4, 3, 2, 2], "convolve2d(a, b, stride = 1, padding = 1)"),
    ("", &[2, 3, 5, 6], &[2, 3, 2, 3], "max_pool2d(a, size = 2) * b + avg_pool2d(a, size = 2)"),
    ("", &[2, 4, 3], &[2, 4, 3], "attention(a, b, a * b, causal = true)"),
    (SEVERAL, &[3], &[3], "spiral(a, b)"),
    ("", &[2, 3, 3], &[2, 3, 2], "solve(a + 2 * identity(3, f64), b)"),
    ("", &[6, 6], &[6, 1], "solve(a - 3 * identity(6, f64), b)"),
    ("", &[2, 3, 3], &[2, 3], "solve_vector(cholesky(a @ transpose(a) + identity(3, f64)), b)"),
    ("", &[2, 6], &[3, 3], "triangle_entries(triangle(a) @ b)"),
    ("", &[2, 3], &[3], "rk4(principal_rotation, a, 0.3 * a, b + 0.4, dt = 0.1)"),
    ("", &[2, 3], &[6], "euler(rotation, a, 0.3 * a, 0.2 * b + f64(range(6) < 3), dt = 0.1)"),
    ("", &[2, 7], &[6], "tumbling(a, a[.., :3], 0.2 * b + f64(range(6) < 3))"),
    ("", &[2, 2], &[4], "implicit_midpoint(duffing, a, 0.5 * a[.., :1], b + 0.4, dt = 0.1)"),
    ("", &[2, 3], &[3], "implicit_midpoint(principal_rotation, a, 0.3 * a, b + 0.4, dt = 0.2)"),
    ("", &[2, 2], &[3], "rk4(pendulum, a, 0.5 * a[.., :1], b, dt = 0.1)"),
    ("", &[2, 2], &[4], "euler(tanks, 5 * a, a[.., :1], 0.1 * b, dt = 4)"),
    ("", &[3, 2], &[6], "tanks_with_overflow(9 * a, 3 * a[.., :1], 0.05 * b, dt = 4)"),
    ("", &[2, 2], &[3], "rk4(saturating_circuit, 5 * a, a[.., :1], b + 0.5, dt = 0.1)"),
    ("", &[9], &[9], "arctan(3 * a - 2) * b"),
    ("", &[4], &[4], "hinge2(a - 0.6) + exponential_penalty(b, alpha = 2) + logarithmic_penalty(-a, alpha = 3)"),
    (
        "",
        &[3, 2, 2],
        &[3, 2, 2],
        "weighted_square_error(f64(range(3)), a, b) + weighted_quadratic_error(b[.., 0, 0], a, b, a[0])",
    ),
    ("", &[3], &[6], "principal_inertia(a) * positive(a, low = 1) * between(b[:3], 0, 2) * simplex(b[3:])"),
    ("", &[6], &[6], "inertia(a) * inertia(inertia(b), inverse = true)"),
    (LOOP, &[5, 3], &[3], "walk(a, b)"),
    (LOOP, &[3], &[3], "counted(a, b)"),
    (LOOP, &[4, 3], &[3], "nested(a, b)"),
    (LOOP, &[3], &[3], "slope(a, b)"),
];

fn dims(shape: &[u64]) -> String {
    format!("{shape:?}")
}

/// The program of a case: `a` and `b` are computed, and so is what becomes of the value. For the second order the loss is a
/// weighted sum of the first derivative.
fn program((declarations, a, b, value): &Case, order: u32) -> String {
    let loss = match order {
        1 => "first",
        _ => "sum(slope * cos(2.3 * f64(reshape(range(prod(slope.shape)), slope.shape))))",
    };
    let slope = if order == 1 { "" } else { "let slope = grad(first, x)" };
    format!(
        "{USES}{declarations}
model case {{
    in x: f64{}
    in y: f64{}
    let a = 1.3 * x + 0.1
    let b = 0.9 * y + 0.2
    let value = 2.5 * ({value})
    let weight = sin(1.7 * f64(reshape(range(prod(value.shape)), value.shape)) + 0.4)
    let first = sum(weight * value) + sum(value * value) * 0.1
    {slope}
    let loss = {loss}
    out loss = loss
    out dx = grad(loss, x)
    out dy = grad(loss, y)
}}",
        dims(a),
        dims(b)
    )
}

fn numbers(shape: &[u64], site: u32) -> Vec<f64> {
    (0..shape.iter().product()).map(|index| uniform_f64([7, 11], 0, site, index)).collect()
}

fn inputs(case: &Case, shift: f64) -> Tensors {
    let moved = |shape: &[u64], site: u32| {
        let direction = numbers(shape, site + 2);
        let values: Vec<f64> =
            numbers(shape, site).iter().zip(&direction).map(|(value, along)| value + shift * (along - 0.5)).collect();
        HostTensor::from_slice(shape, &values).unwrap()
    };
    Tensors::new().with_tensor("x", moved(case.1, 0)).with_tensor("y", moved(case.2, 1))
}

fn run(step: &mut Step, case: &Case, shift: f64) -> Tensors {
    step.evaluate(&mut State::new(0), &inputs(case, shift)).unwrap_or_else(|error| panic!("{}: {error}", case.3))
}

/// What the cases of one order show.
#[derive(Default)]
struct Findings {
    /// A sentence for each case that fails.
    wrong: Vec<String>,
    /// Operations and functions whose rules were used.
    used: BTreeSet<String>,
    /// Those that have a nameless exact rule.
    known: BTreeSet<String>,
}

fn check(case: &Case, order: u32, findings: &mut Findings) {
    let model = match compile_text("case.bp", &program(case, order), &mut |_| None) {
        Ok(model) => model,
        Err(error) => return findings.wrong.push(format!("{}: {error}", case.3)),
    };
    for module in &model.program().modules {
        for item in &module.items {
            if let Item::Rule(rule) = item
                && rule.kind == RuleKind::Exact
                && rule.name.is_none()
            {
                findings.known.insert(rule.target.text.clone());
            }
        }
    }
    let oracle = model.interpret(&mut State::new(0), &inputs(case, 0.0)).unwrap();
    let mut step = model.jit().unwrap();
    let compilation = step.prepare(bpc::Mode::Evaluate, &inputs(case, 0.0)).unwrap();
    for region in compilation.gradient.regions.values() {
        for node in region.nodes.values() {
            if let Op::Vjp { of, .. } | Op::Vjps { of, .. } = &node.op {
                findings.used.insert(of.clone());
            }
        }
    }
    let here = run(&mut step, case, 0.0);
    for (name, expected) in oracle.iter() {
        let (found, expected) = (here.get(name).unwrap().to_f64(), expected.to_f64());
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        if found.iter().zip(&expected).any(|(x, y)| x.is_nan() || (x - y).abs() > 1e-11 * largest) {
            findings
                .wrong
                .push(format!("{}: {name} is {found:?} by machine code, {expected:?} by the interpreter", case.3));
        }
    }
    let along = |name: &str, shape: &[u64], site: u32| -> f64 {
        let gradient = here.get(name).unwrap().to_f64();
        gradient.iter().zip(numbers(shape, site + 2)).map(|(slope, along)| slope * (along - 0.5)).sum()
    };
    let found = along("dx", case.1, 0) + along("dy", case.2, 1);
    let h = 1e-5;
    let loss = |step: &mut Step, shift: f64| run(step, case, shift).scalar("loss").unwrap();
    let wanted = (loss(&mut step, h) - loss(&mut step, -h)) / (2.0 * h);
    let error = (found - wanted).abs() / wanted.abs();
    if wanted.abs() < 1e-3 || error.is_nan() || error > 1e-6 {
        findings.wrong.push(format!("{}: the rules give {found}, differences {wanted}: off by {error:e}", case.3));
    }
}

#[test]
fn exact_rules_agree_with_differences() {
    let mut findings = Findings::default();
    for case in CASES {
        check(case, 1, &mut findings);
    }
    assert!(findings.wrong.is_empty(), "{}", findings.wrong.join("\n"));
    // Rounding to f32 hides differences; `casts_keep_the_cotangent` has a closed form.
    findings.used.insert("cast".to_string());
    // Bits have no differences: what a flip changes is compared in `boolean`.
    findings.used.extend(["not", "and", "or", "xor"].map(str::to_string));
    let missing: Vec<&String> = findings.known.difference(&findings.used).collect();
    assert!(missing.is_empty(), "exact rules without a case here: {missing:?}");
}

#[test]
fn second_derivatives_agree_with_differences() {
    let mut findings = Findings::default();
    for case in CASES {
        check(case, 2, &mut findings);
    }
    assert!(findings.wrong.is_empty(), "{}", findings.wrong.join("\n"));
}

#[test]
fn casts_keep_the_cotangent() {
    let text = "
model casts {
    in x: f32[5]
    let loss = sum(2.5 * sin(f64(1.5 * x)))
    out dx = grad(loss, x)
}";
    let mut step = compile_text("casts.bp", text, &mut |_| None).unwrap().jit().unwrap();
    let x = [0.1f32, -0.4, 0.9, 1.7, 0.0];
    let inputs = Tensors::new().with_slice("x", &[5], &x).unwrap();
    let dx = step.evaluate(&mut State::new(0), &inputs).unwrap().array::<f32>("dx").unwrap();
    for (x, dx) in x.iter().zip(dx.iter()) {
        let wanted = 2.5 * 1.5 * (1.5 * f64::from(*x)).cos();
        assert!((f64::from(*dx) - wanted).abs() < 1e-6, "{dx} should be {wanted}");
    }
}
