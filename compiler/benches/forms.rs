//! Both exact forms of the derivative of a loop, measured beside what the cost model says of them: `cargo bench -p bpc --bench forms`.
//!
//! Expects: a machine with nothing else to do.
//! Guarantees: the two forms take turns on one thread, and each line shows the fastest of many steps of each.
//! Leaves out: judgement; a line ends with how much slower the form that was taken is than the faster one.

use bpc::{Model, State, Step, Tensors, compile_text};
use bpc_runtime::philox::uniform_f64;
use bpc_runtime::tensor::HostTensor;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long each form of a line runs.
const SECONDS: f64 = 0.3;

/// A name, its integrator with the system, and the sizes of state, input and parameters.
type System = (&'static str, &'static str, u64, u64, u64);

const SYSTEMS: &[System] = &[
    ("rigid body, principal, rk4", "rk4(principal_rotation, ARGS)", 3, 3, 3),
    ("rigid body, principal, Euler", "euler(principal_rotation, ARGS)", 3, 3, 3),
    ("rigid body, all entries, rk4", "rk4(rotation, ARGS)", 3, 3, 6),
    ("rigid body, all entries, Euler", "euler(rotation, ARGS)", 3, 3, 6),
    ("attitude and rotation, rk4", "rk4(tumbling, ARGS)", 7, 3, 6),
    ("Duffing, rk4", "rk4(duffing, ARGS)", 2, 1, 4),
    ("Duffing, implicit midpoint", "implicit_midpoint(duffing, ARGS, newton = 4)", 2, 1, 4),
    ("pendulum, rk4", "rk4(pendulum, ARGS)", 2, 1, 3),
    ("two tanks", "tanks_with_overflow(ARGS)", 2, 1, 6),
    ("chain of 8 springs, rk4", "rk4(chain, ARGS)", 16, 1, 2),
    ("chain of 16 springs, Euler", "euler(chain, ARGS)", 32, 1, 1),
    ("linear, 8 states, 10 numbers", "euler(mixed, ARGS)", 8, 1, 10),
];

/// Trajectories and steps.
const SIZES: &[(u64, u64)] = &[(1, 1000), (8, 1000), (64, 1000), (1, 50)];

const PROGRAM: &str = "
use std.physics { rk4, euler, implicit_midpoint, principal_rotation, rotation, tumbling, duffing, pendulum, tanks_with_overflow }

## Equal masses between springs: x holds n / 2 positions, then as many speeds.
fn chain(x, u, theta) {
    let m = x.shape[x.rank - 1] // 2
    let y = x[.., :m]
    let v = x[.., m:]
    let before = concat([u, y[.., :m - 1]], axis = -1)
    let behind = concat([y[.., 1:], 0 * u], axis = -1)
    concat([v, theta[0] * (before - 2 * y + behind) - theta[theta.shape[0] - 1] * v], axis = -1)
}

## A matrix of two diagonals and the input.
fn mixed(x: f[.., 8], u: f[.., 1], theta: f[10]) -> f[.., 8] {
    theta[:8] * concat([x[.., 1:], x[.., :1]], axis = -1) - theta[8] * x + theta[9] * u
}

model forms(dt: real = 0.01) {
    in x0: f64[{B}, {N}]
    in u: f64[{T}, {B}, {M}]
    in data: f64[{T}, {B}, {N}]
    in theta: f64[{P}]
    let (last, path) = scan x = x0 over u in u {
        let y = STEP
        next x = y
        yield y
    } via one_shot(mode = \"MODE\")
    let loss = sum(square(path - data))
    out loss = loss
    out along_theta = grad(loss, theta)
    FIRST
}";

struct Line {
    system: System,
    first: bool,
    batch: u64,
    times: u64,
}

impl Line {
    fn model(&self, mode: &str) -> Model {
        let first = if self.first { "out along_x0 = grad(loss, x0)" } else { "" };
        let (_, step, n, m, p) = self.system;
        let step = step.replace("ARGS", "x, u, theta, dt = dt");
        let mut text = PROGRAM.replace("STEP", &step).replace("MODE", mode).replace("FIRST", first);
        for (name, size) in [("{B}", self.batch), ("{T}", self.times), ("{N}", n), ("{M}", m), ("{P}", p)] {
            text = text.replace(name, &size.to_string());
        }
        compile_text("forms.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn inputs(&self) -> Tensors {
        let (_, _, n, m, p) = self.system;
        let shapes = [
            ("x0", vec![self.batch, n]),
            ("u", vec![self.times, self.batch, m]),
            ("data", vec![self.times, self.batch, n]),
            ("theta", vec![p]),
        ];
        let named = shapes.into_iter().zip(0..).map(|((name, shape), site)| {
            let count: u64 = shape.iter().product();
            let spread = if name == "theta" { 1.0 } else { 0.1 };
            let values: Vec<f64> =
                (0..count).map(|index| spread * (0.5 + uniform_f64([7, 1], 0, site, index))).collect();
            (name.to_string(), HostTensor::from_slice(shape, &values).expect("as many numbers"))
        });
        named.collect()
    }

    /// What the model says of the adjoint and of forward sensitivities, in nanoseconds, and which one it takes.
    fn said(&self) -> Option<([f64; 2], usize)> {
        let compilation = self.model("auto").compile(&BTreeMap::new(), false);
        let compilation = compilation.unwrap_or_else(|error| panic!("{error}"));
        let [choice] = &compilation.report.forms[..] else { return None };
        let cost = |index: usize| choice.forms[index].1 as f64 / 1e3;
        Some(([cost(0), cost(1)], choice.taken[0]))
    }
}

/// One step of each form in turn; the fastest of each, in nanoseconds.
fn measured(steps: &mut [Step; 2], inputs: &Tensors) -> [f64; 2] {
    let mut best = [Duration::MAX; 2];
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed().as_secs_f64() < 2.0 * SECONDS || rounds < 3 {
        for (step, best) in steps.iter_mut().zip(&mut best) {
            let mut state = State::new(0);
            let start = Instant::now();
            step.evaluate(&mut state, inputs).unwrap_or_else(|error| panic!("{error}"));
            *best = start.elapsed().min(*best);
        }
        rounds += 1;
    }
    best.map(|best| best.as_nanos() as f64)
}

fn main() {
    println!(
        "| system | n | p | first state | B | T | adjoint, measured | forward, measured | adjoint, by the model | forward, by the model | taken | slower by |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut lines, mut right, mut worst) = (0, 0, 1.0f64);
    for system in SYSTEMS {
        for first in [false, true] {
            for (batch, times) in SIZES {
                let line = Line { system: *system, first, batch: *batch, times: *times };
                let inputs = line.inputs();
                let Some((said, taken)) = line.said() else { continue };
                let mut steps = ["adjoint", "forward"]
                    .map(|mode| line.model(mode).jit_with_threads(1).unwrap_or_else(|error| panic!("{error}")));
                let found = measured(&mut steps, &inputs);
                let slower = found[taken] / found[0].min(found[1]);
                let (name, _, n, _, p) = system;
                let micro = |nanoseconds: f64| format!("{:.1} us", nanoseconds / 1e3);
                println!(
                    "| {name} | {n} | {p} | {} | {batch} | {times} | {} | {} | {} | {} | {} | {:.0} % |",
                    if first { "trained" } else { "given" },
                    micro(found[0]),
                    micro(found[1]),
                    micro(said[0]),
                    micro(said[1]),
                    ["adjoint", "forward"][taken],
                    100.0 * (slower - 1.0)
                );
                lines += 1;
                right += usize::from(slower == 1.0);
                worst = worst.max(slower);
            }
        }
    }
    println!(
        "\nThe faster form was taken in {right} of {lines} lines; the worst choice was {worst:.2} times as slow as the other."
    );
}
