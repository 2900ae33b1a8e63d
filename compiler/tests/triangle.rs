//! Principal moments of inertia near the limit of the triangle inequality, from noisy records of 40 seeds: fits of raw moments leave the set of
//! bodies, those with a penalty leave it by less, and those of second moments cannot leave it.

use bpc::{State, Tensors, compile_text};
use bpc_runtime::philox;
use bpc_runtime::tensor::HostTensor;

const TRUTH: [f64; 3] = [0.03, 0.04, 0.0698];
const SEEDS: u64 = 40;
const TIMES: usize = 100;
const NOISE: f64 = 1e-2;

const PROGRAM: &str = "
use std.physics { rk4, principal_rotation, with_first }
use std.constraints { principal_inertia }
use std.optim { levenberg_marquardt }
fn start(shape: dims, dtype: dtype) { full(shape, 0.05, dtype) }
fn tumble(first: f[3], torque: f[T, 3], J: f[3]) {
    let (last, path) = scan w = first over push in torque {
        let y = rk4(principal_rotation, w, push, J, dt = 0.1)
        next w = y
        yield y
    }
    with_first(first, path)
}
fn excess(J: f[3]) { concat([J[0:1] - J[1:2] - J[2:], J[1:2] - J[2:] - J[0:1], J[2:] - J[0:1] - J[1:2]], axis = 0) }
model body {
    in torque: f64[T, 3]
    in w: f64[T + 1, 3]
    param J: f64[3] LIMITS ~ start
    param shift: f64[3] ~ zeros
    let miss = reshape(tumble(w[0] + shift, torque, J) - w, [3 * (T + 1)]) / sqrt(f64(T + 1))
    out J = J
    out excess = max(excess(J))
    minimize RESIDUAL using levenberg_marquardt
}
model record {
    in torque: f64[T, 3]
    in first: f64[3]
    in J: f64[3]
    out w = tumble(first, torque, J)
}";

fn torque() -> Vec<f64> {
    let wave = |k: usize, axis: usize| {
        let turns = [0.05, 0.08, 0.11][axis] * 0.1 * k as f64;
        2e-3 * (2.0 * std::f64::consts::PI * turns + axis as f64).sin()
    };
    (0..TIMES).flat_map(|k| (0..3).map(move |axis| wave(k, axis))).collect()
}

/// The number of fits of another than a body, by how much the worst of them is none, and the median of the relative errors.
fn fits(limits: &str, residual: &str) -> (usize, f64, f64) {
    let text = PROGRAM.replace("LIMITS", limits).replace("RESIDUAL", residual);
    let model = compile_text("body.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let torque = HostTensor::from_slice([TIMES as u64, 3], &torque()).unwrap();
    let given = Tensors::new().with_tensor("torque", torque.clone());
    let truth =
        given.clone().with_slice("J", &[3], &TRUTH).unwrap().with_slice("first", &[3], &[0.2, -0.15, 0.3]).unwrap();
    let mut record = model.clone().choose("record").jit_with_threads(1).unwrap();
    let exact = record.evaluate(&mut State::new(0), &truth).unwrap().get("w").unwrap().to_f64();
    let mut step = model.choose("body").jit_with_threads(1).unwrap();
    let (mut violations, mut worst, mut errors) = (0, 0.0f64, Vec::new());
    for seed in 0..SEEDS {
        let mut noise = vec![0f32; exact.len()];
        philox::fill_normal_f32([seed as u32, 17], 0, 0, 0, &mut noise);
        let noisy: Vec<f64> = exact.iter().zip(&noise).map(|(x, e)| x + NOISE * f64::from(*e)).collect();
        let inputs = given.clone().with_slice("w", &[TIMES as u64 + 1, 3], &noisy).unwrap();
        let mut state = State::new(0);
        for _ in 0..25 {
            step.step(&mut state, &inputs).unwrap();
        }
        let found = step.evaluate(&mut state, &inputs).unwrap();
        let (excess, moments) = (found.scalar("excess").unwrap(), found.get("J").unwrap().to_f64());
        violations += usize::from(excess > 0.0);
        worst = worst.max(excess);
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let miss: Vec<f64> = moments.iter().zip(&TRUTH).map(|(one, two)| one - two).collect();
        errors.push(length(&miss) / length(&TRUTH));
    }
    errors.sort_by(f64::total_cmp);
    (violations, worst, errors[errors.len() / 2])
}

#[test]
fn second_moments_alone_are_always_those_of_a_body() {
    let raw = fits("", "miss");
    let hinged = fits("", "concat([miss, sqrt(f64(10)) * maximum(excess(J), 0)], axis = 0)");
    let second = fits("in principal_inertia", "miss");
    println!("violations, the worst one, median error: raw {raw:?}, penalty {hinged:?}, second moments {second:?}");
    for (_, _, error) in [raw, hinged, second] {
        assert!(error <= 0.015, "{error}");
    }
    // The record of these seeds shows what the limit is good for.
    assert!(raw.0 >= 4 && raw.1 > 1e-4, "{raw:?}");
    assert!(hinged.1 < raw.1, "{hinged:?} and {raw:?}");
    assert_eq!((second.0, second.1), (0, 0.0));
}
