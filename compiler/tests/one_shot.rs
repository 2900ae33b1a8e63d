//! Rollouts of physical systems in double precision: the programs in `tests/golden/one_shot` against the numbers beside them, which come
//! from the formulas of the adjoint, of forward sensitivities and of the complex step; by the reference interpreter and as machine code.

use bpc::{Model, State, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::tensor::{Dtype, HostTensor};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// One golden case: its program, and the record of numbers.
struct Case {
    name: &'static str,
    text: String,
    record: Value,
}

fn case(name: &'static str) -> Case {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/one_shot");
    let text = fs::read_to_string(folder.join(format!("{name}.bp"))).unwrap();
    let record = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    Case { name, text, record: serde_json::from_str(&record).unwrap() }
}

fn tensor(value: &Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

fn model(name: &str, text: &str) -> Model {
    compile_text(&format!("{name}.bp"), text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
}

/// The outputs by the interpreter and as machine code.
fn both(name: &str, text: &str, inputs: &Tensors) -> [Tensors; 2] {
    let interpreted = model(name, text).interpret(&mut State::new(0), inputs).unwrap();
    let mut step = model(name, text).jit_with_threads(2).unwrap();
    [interpreted, step.evaluate(&mut State::new(0), inputs).unwrap()]
}

impl Case {
    /// What the program asks for: the numbers of the case, the matrices of its penalties, and a nudge of the states, by which the
    /// derivative is the costate.
    fn inputs(&self) -> Tensors {
        let signature = model(self.name, &self.text).signature().unwrap();
        let named = signature.inputs.iter().map(|input| {
            let tensor = match input.name.as_str() {
                "nudge" => {
                    let states = tensor(&self.record["states"]).shape().to_vec();
                    HostTensor::zeros(Dtype::F64, [states[1] - 1, states[0], states[2]]).unwrap()
                }
                "M" | "m0" => tensor(&self.record["penalties"][0][&input.name]),
                name => tensor(&self.record[name]),
            };
            (input.name.clone(), tensor)
        });
        named.collect()
    }

    /// Held to the record: states to 1e-12, losses and gradients to 1e-11 of the largest entry.
    fn check(&self) {
        for (engine, found) in ["interpreter", "machine code"].iter().zip(both(self.name, &self.text, &self.inputs())) {
            for (name, found) in found.iter() {
                let what = format!("{}, {engine}, {name}", self.name);
                let wanted = match name {
                    "costates" => after_the_first(&tensor(&self.record["costates"])),
                    _ => tensor(&self.record[name]).to_f64(),
                };
                close(&what, &found.to_f64(), &wanted, if name == "states" { 1e-12 } else { 1e-11 });
            }
        }
    }
}

/// [B, T + 1, n] without the first time, as [T, B, n].
fn after_the_first(costates: &HostTensor) -> Vec<f64> {
    let [batch, times, n] = costates.shape().iter().map(|size| *size as usize).collect::<Vec<_>>()[..] else {
        panic!("costates have three axes")
    };
    let values = costates.to_f64();
    let place = |time: usize, lane: usize, i: usize| values[(lane * times + time) * n + i];
    (1..times)
        .flat_map(|time| (0..batch).flat_map(move |lane| (0..n).map(move |i| (time, lane, i))))
        .map(|(time, lane, i)| place(time, lane, i))
        .collect()
}

fn close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let scale = wanted.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(scale > 0.0, "{what}: the record says nothing");
    for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (found - wanted).abs() / scale;
        assert!(error <= tolerance, "{what}[{place}] is {found}, not {wanted}: off by {error:e}");
    }
}

/// The form of the gradient that is named, in the first loop; without the nudge, which is a trained sequence and has no forward form.
fn in_form(mode: &str, case: &Case) -> Case {
    let mut text = String::new();
    let mut loops = 0;
    for line in case.text.lines().filter(|line| !line.contains("in nudge:") && !line.contains("costates")) {
        let line = line.replace(", small in nudge", "").replace(" + small", "");
        if line == "    }" && loops == 0 {
            loops += 1;
            text += &format!("    }} via one_shot(mode = \"{mode}\")\n");
        } else {
            text += &format!("{line}\n");
        }
    }
    assert!(loops == 1 && !text.contains("nudge") && !text.contains("small"), "{text}");
    Case { name: case.name, text, record: case.record.clone() }
}

#[test]
fn both_forms_of_the_gradient() {
    for name in ["rigid_principal_rk4", "rigid_full_euler_torque_free", "duffing_midpoint", "tanks_euler_truncated"] {
        let case = case(name);
        let mut found = Vec::new();
        for mode in ["adjoint", "forward"] {
            let case = in_form(mode, &case);
            case.check();
            found.push(both(case.name, &case.text, &case.inputs()));
        }
        for (adjoint, forward) in found[0].iter().zip(&found[1]) {
            for (output, adjoint) in adjoint.iter() {
                close(&format!("{name}, {output}"), &forward.get(output).unwrap().to_f64(), &adjoint.to_f64(), 1e-12);
            }
        }
    }
}

#[test]
fn principal_rotation_by_runge_kutta() {
    case("rigid_principal_rk4").check();
}

#[test]
fn full_rotation_without_torque() {
    let case = case("rigid_full_euler_torque_free");
    case.check();
    // The scale of the inertia changes nothing, so that the gradient stands across theta.
    let theta = tensor(&case.record["theta"]).to_f64();
    for found in both(case.name, &case.text, &case.inputs()) {
        let gradient = found.get("grad_theta").unwrap().to_f64();
        let product: f64 = theta.iter().zip(&gradient).map(|(one, two)| one * two).sum();
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(product.abs() <= 1e-14 * length(&theta) * length(&gradient), "{product:e}");
    }
}

#[test]
fn duffing_by_the_implicit_midpoint() {
    case("duffing_midpoint").check();
}

#[test]
fn tanks_with_a_truncated_gradient() {
    case("tanks_euler_truncated").check();
}

#[test]
fn gauss_newton_products_of_a_rollout() {
    let case = case("rigid_principal_rk4");
    let text = "
use std.physics { rk4, principal_rotation, with_first }
optimizer probe(row: int) for w: f[P], residual, jacobian {
    let slope = sum(jacobian * unsqueeze(residual, -1), axis = 0)
    next w = if row == P { slope } else { (transpose(jacobian) @ jacobian)[row] }
}
model probed(row: int = 0) {
    in u: f64[1, T, 3]
    in data: f64[1, T + 1, 3]
    in w: f64[T + 1]
    in Q: f64[3, 3]
    param theta: f64[3] ~ zeros
    param x0: f64[3] ~ zeros
    let (last, path) = scan x = x0 over push in u[0] {
        let y = rk4(principal_rotation, x, push, theta, dt = 0.05)
        next x = y
        yield y
    }
    # Q is diagonal.
    let root = sqrt(unsqueeze(w, -1) * sum(Q, axis = 0))
    minimize root * (with_first(x0, path) - data[0]) using probe(row)
}";
    let part = |name: &str| tensor(&case.record[name]);
    let inputs: Tensors = ["u", "data", "w", "Q"].iter().map(|name| (name.to_string(), part(name))).collect();
    let first = HostTensor::from_slice([3], &part("x0").to_f64()).unwrap();
    let start = Tensors::new().with_tensor("theta", part("theta")).with_tensor("x0", first);
    let normal = part("gauss_newton_N").to_f64();
    for row in 0..7 {
        let mut state = State::new(0);
        state.load(&start).unwrap();
        let mut step = model("probed", text).set("row", row as i64).jit_with_threads(1).unwrap();
        step.step(&mut state, &inputs).unwrap();
        let left = state.parameters();
        let found = [left.get("theta").unwrap().to_f64(), left.get("x0").unwrap().to_f64()].concat();
        let wanted = if row == 6 { part("gauss_newton_v").to_f64() } else { normal[row * 6..row * 6 + 6].to_vec() };
        close(&format!("row {row}"), &found, &wanted, 1e-11);
    }
}

/// A batch of driven pendulums by each integrator, with weights for each sample.
const PENDULUMS: &str = "
use std.physics { rk4, pendulum, with_first, weighted_square_error }
model pendulums {
    in theta: f64[3]
    in x0: f64[B, 2]
    in u: f64[T, B, 1]
    in data: f64[T + 1, B, 2]
    in weight: f64[T + 1, B]
    let (last, path) = scan x = x0 over push in u {
        let y = rk4(pendulum, x, push, theta, dt = 0.1)
        next x = y
        yield y
    } RULE
    let loss = weighted_square_error(weight, with_first(x0, path), data)
    out loss = loss
    out grad_theta = grad(loss, theta)
    out grad_x0 = grad(loss, x0)
}";

/// Numbers between -1 and 1 that repeat after a long time.
fn wave(count: usize, pitch: f64) -> Vec<f64> {
    (0..count).map(|k| (pitch * (k as f64 + 1.0)).sin()).collect()
}

struct Pendulums {
    times: usize,
    batch: usize,
    theta: Vec<f64>,
    x0: Vec<f64>,
    u: Vec<f64>,
    data: Vec<f64>,
    weight: Vec<f64>,
}

impl Pendulums {
    fn new(times: usize, batch: usize) -> Pendulums {
        Pendulums {
            times,
            batch,
            theta: vec![2.0, 0.3, 0.7],
            x0: wave(batch * 2, 0.9),
            u: wave(times * batch, 1.7),
            data: wave((times + 1) * batch * 2, 2.3),
            weight: wave((times + 1) * batch, 0.37).iter().map(|x| 1.0 + 0.5 * x).collect(),
        }
    }

    /// The trajectories in another order, or some of them.
    fn lanes(&self, lanes: &[usize]) -> Pendulums {
        let pick = |values: &[f64], width: usize| -> Vec<f64> {
            values
                .chunks(self.batch * width)
                .flat_map(|row| lanes.iter().flat_map(|lane| row[lane * width..(lane + 1) * width].to_vec()))
                .collect()
        };
        Pendulums {
            times: self.times,
            batch: lanes.len(),
            theta: self.theta.clone(),
            x0: pick(&self.x0, 2),
            u: pick(&self.u, 1),
            data: pick(&self.data, 2),
            weight: pick(&self.weight, 1),
        }
    }

    /// Loss, gradient by theta and gradient by x0: by the interpreter and by machine code, which agree.
    fn run_by(&self, rule: &str) -> [Vec<f64>; 3] {
        let (times, batch) = (self.times as u64, self.batch as u64);
        let inputs: Tensors = [
            ("theta", vec![3], &self.theta),
            ("x0", vec![batch, 2], &self.x0),
            ("u", vec![times, batch, 1], &self.u),
            ("data", vec![times + 1, batch, 2], &self.data),
            ("weight", vec![times + 1, batch], &self.weight),
        ]
        .into_iter()
        .map(|(name, shape, values)| (name.to_string(), HostTensor::from_slice(shape, values).unwrap()))
        .collect();
        let parts = |found: &Tensors| ["loss", "grad_theta", "grad_x0"].map(|name| found.get(name).unwrap().to_f64());
        let [interpreted, compiled] = both("pendulums", &PENDULUMS.replace("RULE", rule), &inputs);
        for (one, two) in parts(&interpreted).iter().zip(&parts(&compiled)) {
            for (one, two) in one.iter().zip(two) {
                let alike = (one - two).abs() <= 1e-12 * (1.0 + one.abs());
                assert!(alike || (one.is_nan() && two.is_nan()), "{one} and {two}");
            }
        }
        parts(&compiled)
    }

    fn run(&self) -> [Vec<f64>; 3] {
        self.run_by("")
    }
}

#[test]
fn no_steps_leave_the_loss_of_the_first_state() {
    let case = Pendulums::new(0, 3);
    let [loss, theta, x0] = case.run();
    let misses: Vec<f64> = case.x0.iter().zip(&case.data).map(|(x, y)| x - y).collect();
    let weights: Vec<f64> = case.weight.iter().flat_map(|w| [*w, *w]).collect();
    close("loss", &loss, &[misses.iter().zip(&weights).map(|(e, w)| w * e * e).sum()], 1e-14);
    close("grad_x0", &x0, &misses.iter().zip(&weights).map(|(e, w)| 2.0 * w * e).collect::<Vec<_>>(), 1e-14);
    assert_eq!(theta, [0.0; 3]);
}

#[test]
fn no_trajectories_and_no_weights_give_nothing() {
    let [loss, theta, x0] = Pendulums::new(7, 0).run();
    assert_eq!((loss, theta, x0), (vec![0.0], vec![0.0; 3], vec![]));
    let mut case = Pendulums::new(7, 3);
    case.weight = vec![0.0; 24];
    let [loss, theta, x0] = case.run();
    assert_eq!((loss, theta, x0), (vec![0.0], vec![0.0; 3], vec![0.0; 6]));
}

#[test]
fn data_without_weight_never_enter() {
    let mut case = Pendulums::new(9, 3);
    let hidden = [4, 11, 20];
    for sample in hidden {
        case.weight[sample] = 0.0;
    }
    let seen = case.run();
    for sample in hidden {
        case.data[2 * sample] = f64::NAN;
        case.data[2 * sample + 1] = f64::INFINITY;
    }
    assert_eq!(seen, case.run());
    // Under a weight they are seen.
    case.weight[4] = 1.0;
    assert!(case.run()[0][0].is_nan());
}

#[test]
fn the_gradient_of_a_batch_is_the_sum_of_single_ones() {
    let case = Pendulums::new(13, 5);
    let [_, theta, x0] = case.run();
    let singles: Vec<[Vec<f64>; 3]> = (0..5).map(|lane| case.lanes(&[lane]).run()).collect();
    let sum: Vec<f64> = (0..3).map(|i| singles.iter().map(|single| single[1][i]).sum()).collect();
    close("grad_theta", &theta, &sum, 1e-14);
    close("grad_x0", &x0, &singles.iter().flat_map(|single| single[2].clone()).collect::<Vec<_>>(), 1e-15);
    let [loss, turned, _] = case.lanes(&[3, 0, 4, 2, 1]).run();
    close("loss", &loss, &case.run()[0], 1e-15);
    close("grad_theta of another order", &turned, &theta, 1e-14);
}

#[test]
fn the_first_weight_changes_only_the_gradient_of_the_first_state() {
    let mut case = Pendulums::new(6, 2);
    let [_, theta, x0] = case.run();
    case.weight[0] += 1.0;
    case.weight[1] += 1.0;
    let [_, other_theta, other_x0] = case.run();
    assert_eq!(theta, other_theta);
    assert!(x0.iter().zip(&other_x0).all(|(one, two)| one != two));
}

#[test]
fn a_window_longer_than_the_rollout_truncates_nothing() {
    let case = Pendulums::new(11, 3);
    assert_eq!(case.run_by("via one_shot(mode = \"adjoint\")"), case.run_by("via truncated(every = 12)"));
    assert_ne!(case.run()[1], case.run_by("via truncated(every = 4)")[1]);
}

/// Without its cubic spring the oscillator is linear, and the costate at the beginning is the sum of (A^k)' l[k].
#[test]
fn a_linear_oscillator_has_the_gradient_of_powers() {
    let text = "
use std.physics { implicit_midpoint, duffing, jacobian, with_first }
fn turn(x: f[.., 2], u: f[.., 1], theta: f[4]) -> f[.., 2] { implicit_midpoint(duffing, x, u, theta, dt = 0.1) }
model linear {
    in theta: f64[4]
    in x0: f64[2]
    let silent = zeros([1], f64)
    let (last, path) = scan x = x0 over k in range(30) {
        let y = turn(x, silent, theta)
        next x = y
        yield y
    }
    let states = with_first(x0, path)
    let loss = sum(square(states))
    out states = states
    out A = jacobian(turn, x0, silent, theta)
    out grad_x0 = grad(loss, x0)
}";
    let vector = |values: &[f64]| HostTensor::from_slice([values.len() as u64], values).unwrap();
    let inputs =
        Tensors::new().with_tensor("theta", vector(&[1.2, 0.3, 2.0, 0.0])).with_tensor("x0", vector(&[0.7, -0.4]));
    for found in both("linear", text, &inputs) {
        let [states, a, gradient] = ["states", "A", "grad_x0"].map(|name| found.get(name).unwrap().to_f64());
        let mut power = [1.0, 0.0, 0.0, 1.0];
        let mut sum = [0.0, 0.0];
        for state in states.chunks(2) {
            let l = [2.0 * state[0], 2.0 * state[1]];
            sum[0] += power[0] * l[0] + power[2] * l[1];
            sum[1] += power[1] * l[0] + power[3] * l[1];
            power = [
                a[0] * power[0] + a[1] * power[2],
                a[0] * power[1] + a[1] * power[3],
                a[2] * power[0] + a[3] * power[2],
                a[2] * power[1] + a[3] * power[3],
            ];
        }
        close("grad_x0", &gradient, &sum, 1e-12);
    }
}

#[test]
fn a_wrong_entry_of_one_jacobian_is_seen() {
    let mut case = case("rigid_principal_rk4");
    case.text = case.text.replace("rk4(principal_rotation,", "rk4(turned,")
        + "
fn turned(w: f[.., 3], torque: f[.., 3], J: f[3]) -> f[.., 3] { principal_rotation(w, torque, J) }
exact for turned(w: f[.., 3], torque: f[.., 3], J: f[3]) -> rate {
    let pull = sum(grad rate * principal_rotation(w, torque, J))
    grad w = grad(pull, w) + 1e-3 * grad rate[.., 1:2] * f(range(3) == 0)
    grad torque = grad(pull, torque)
    grad J = grad(pull, J)
}
";
    for found in both(case.name, &case.text, &case.inputs()) {
        let (found, wanted) = (found.get("grad_x0").unwrap().to_f64(), tensor(&case.record["grad_x0"]).to_f64());
        assert!(found.iter().zip(&wanted).any(|(one, two)| (one - two).abs() > 1e-6), "{found:?}");
    }
}
