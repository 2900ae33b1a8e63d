//! Accuracy against values from 60 digits (`truth.csv`, made by `truth.py`) and, densely, against the system's f64
//! functions; special values; the same bits on every instruction set.

use super::{array, erf, exp, log, pow, tanh, trigonometric as trig};
use crate::engine::Engine;

type On<T> = unsafe fn(Engine, *mut T, *const T, usize);
type PairOn<T> = unsafe fn(Engine, *mut T, *const T, *const T, usize);

/// Name, arrays, the system's function.
type Family = (&'static str, On<f32>, On<f64>, fn(f64) -> f64);

const FAMILIES: [Family; 7] = [
    ("exp", array::exp_f32_on, array::exp_f64_on, f64::exp),
    ("expm1", array::expm1_f32_on, array::expm1_f64_on, f64::exp_m1),
    ("log", array::log_f32_on, array::log_f64_on, f64::ln),
    ("log1p", array::log1p_f32_on, array::log1p_f64_on, f64::ln_1p),
    ("tanh", array::tanh_f32_on, array::tanh_f64_on, f64::tanh),
    ("sin", array::sin_f32_on, array::sin_f64_on, f64::sin),
    ("cos", array::cos_f32_on, array::cos_f64_on, f64::cos),
];

/// A simple generator (splitmix64), for test points alone.
struct Points(u64);
impl Points {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    /// Any sign, binary exponents -30 to 10 evenly.
    fn wide(&mut self) -> f64 {
        let exponent = (self.word() % 41) as i32 - 30;
        let mantissa = 1.0 + (self.word() >> 12) as f64 / 2f64.powi(52);
        mantissa * 2f64.powi(exponent) * if self.word() & 1 == 0 { 1.0 } else { -1.0 }
    }
}

/// f32 bit patterns over the whole range, with special values.
fn points_f32() -> Vec<f32> {
    let mut points = Points(1);
    let mut xs: Vec<f32> = (0..200_000).map(|_| points.wide() as f32).collect();
    xs.extend((0..100_000).map(|_| f32::from_bits(points.word() as u32)));
    xs.extend([
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
    ]);
    xs.extend([1e-45, -1e-45, 88.72, 88.73, -87.3, -103.9, -104.0, 0.41, -0.29, 0.93, 1e38]);
    xs
}

fn points_f64() -> Vec<f64> {
    let mut points = Points(2);
    let mut xs: Vec<f64> = (0..200_000).map(|_| points.wide()).collect();
    xs.extend((0..50_000).map(|_| f64::from_bits(points.word())));
    xs.extend([
        0.0,
        -0.0,
        1.0,
        -1.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
    ]);
    xs.extend([5e-324, -5e-324, 709.78, 709.79, -708.4, -745.1, -745.2, 134217728.0, 134217727.9, 1e300]);
    xs
}

fn call<T: Copy + Default>(on: On<T>, engine: Engine, x: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    // SAFETY: as many elements in both; the engine is one of the machine's.
    unsafe { on(engine, out.as_mut_ptr(), x.as_ptr(), x.len()) };
    out
}

fn call_pairs<T: Copy + Default>(on: PairOn<T>, engine: Engine, x: &[T], y: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    // SAFETY: as many elements in all three; the engine is one of the machine's.
    unsafe { on(engine, out.as_mut_ptr(), x.as_ptr(), y.as_ptr(), x.len()) };
    out
}

/// |got - truth| in units of the last place of an f32 of the truth's size; 0 for equal special values.
fn error_f32(got: f32, truth: f64) -> f64 {
    let rounded = truth as f32;
    if rounded.is_nan() || rounded.is_infinite() {
        let same = rounded.is_nan() && got.is_nan() || rounded == got;
        // Just below overflow, the largest number is no error worth more than its distance.
        return if same || got == f32::MAX.copysign(rounded) { 0.0 } else { f64::INFINITY };
    }
    let exponent = truth.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
    (f64::from(got) - truth).abs() / 2f64.powi(exponent - 23)
}

/// The same for f64 with the truth in two parts.
fn error_f64(got: f64, truth: f64, rest: f64) -> f64 {
    if truth.is_nan() || truth.is_infinite() {
        return if truth.is_nan() && got.is_nan() || truth == got { 0.0 } else { f64::INFINITY };
    }
    let exponent = (truth.abs().to_bits() >> 52).max(1) as i32 - 1023;
    // In two factors: the unit itself may be below the normal range.
    let distance = ((got - truth) - rest).abs();
    distance * 2f64.powi(-exponent / 2) * 2f64.powi(-exponent - -exponent / 2 + 52)
}

#[test]
fn f32_within_two_units() {
    let xs = points_f32();
    for (name, on, _, truth) in FAMILIES {
        let got = call(on, Engine::best(), &xs);
        let worst = xs.iter().zip(&got).map(|(x, y)| (error_f32(*y, truth(f64::from(*x))), *x, *y));
        let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{name} f32: {worst:?}");
        assert!(worst.0 <= 2.0, "{name}({}) gave {}: {} units", worst.1, worst.2, worst.0);
    }
}

#[test]
fn f64_within_two_units_and_the_systems_own() {
    let xs = points_f64();
    for (name, _, on, truth) in FAMILIES {
        let got = call(on, Engine::best(), &xs);
        let worst = xs.iter().zip(&got).map(|(x, y)| (error_f64(*y, truth(*x), 0.0), *x, *y));
        let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{name} f64: {worst:?}");
        assert!(worst.0 <= 3.0, "{name}({}) gave {}: {} units", worst.1, worst.2, worst.0);
    }
}

#[test]
fn f64_within_two_units_of_sixty_digits() {
    let mut worst = std::collections::BTreeMap::new();
    for line in include_str!("truth.csv").lines() {
        let mut fields = line.split(',');
        let name = fields.next().unwrap();
        let numbers: Vec<f64> = fields.map(|field| f64::from_bits(u64::from_str_radix(field, 16).unwrap())).collect();
        let [arguments @ .., high, low] = &numbers[..] else { panic!("{line}") };
        let x = arguments[0];
        let got = match name {
            "exp" => exp::exp_f64(x),
            "expm1" => exp::expm1_f64(x),
            "log" => log::log_f64(x),
            "log1p" => log::log1p_f64(x),
            "tanh" => tanh::tanh_f64(x),
            "erf" => erf::erf_f64(x),
            "sin" => trig::far_sin_f64(x),
            "cos" => trig::far_cos_f64(x),
            "pow" => pow::pow_f64(x, arguments[1]),
            _ => panic!("{name}"),
        };
        let error = error_f64(got, *high, *low);
        let entry = worst.entry(name).or_insert((0.0, 0, vec![]));
        entry.1 += 1;
        if error > entry.0 {
            (entry.0, entry.2) = (error, arguments.to_vec());
        }
    }
    println!("{worst:?}");
    assert_eq!(worst.len(), 9);
    for (name, (error, count, arguments)) in worst {
        assert!(count > 100 && error <= 2.0, "{name}({arguments:?}): {error} units");
    }
}

/// f32 functions whose f64 twin is the truth: proved above to be good to 2 units of f64.
#[test]
fn erf_and_pow_f32_within_two_units() {
    let xs = points_f32();
    let got = call(array::erf_f32_on, Engine::best(), &xs);
    for (x, y) in xs.iter().zip(&got) {
        let error = error_f32(*y, erf::erf_f64(f64::from(*x)));
        assert!(error <= 2.0, "erf({x}) gave {y}: {error} units");
    }
    let mut points = Points(3);
    let mut ys: Vec<f32> = xs.iter().map(|_| (points.word() % 2001) as f32 / 50.0 - 20.0).collect();
    ys.iter_mut().zip(&xs).step_by(7).for_each(|(y, x)| *y = x.trunc());
    let got = call_pairs(array::pow_f32_on, Engine::best(), &xs, &ys);
    for ((x, y), z) in xs.iter().zip(&ys).zip(&got) {
        let error = error_f32(*z, f64::from(*x).powf(f64::from(*y)));
        assert!(error <= 2.0, "pow({x}, {y}) gave {z}: {error} units");
    }
}

#[test]
fn pow_f64_within_two_units_and_the_systems_own() {
    let xs = points_f64();
    let mut points = Points(4);
    let mut ys: Vec<f64> = xs.iter().map(|_| points.wide()).collect();
    ys.iter_mut().zip(&xs).step_by(7).for_each(|(y, x)| *y = x.trunc());
    ys.iter_mut().step_by(11).for_each(|y| *y = y.round());
    let got = call_pairs(array::pow_f64_on, Engine::best(), &xs, &ys);
    for ((x, y), z) in xs.iter().zip(&ys).zip(&got) {
        let error = error_f64(*z, x.powf(*y), 0.0);
        assert!(error <= 3.0, "pow({x}, {y}) gave {z}: {error} units");
    }
}

#[test]
fn special_values() {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        -2.5,
        1e300,
        -1e300,
        1e-300,
        -1e-300,
        5e-324,
        -5e-324,
        9007199254740993.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    // Zeros, infinities and NaN are exact in every function; so is the sign of a zero.
    let exact = |truth: f64| truth == 0.0 || !truth.is_finite();
    for x in special {
        for (name, on32, on64, truth) in FAMILIES {
            let got = call(on64, Engine::best(), &[x])[0];
            assert!(!exact(truth(x)) || same(got, truth(x)), "{name}({x}) f64 gave {got}");
            let (x, got) = (x as f32, call(on32, Engine::best(), &[x as f32])[0]);
            let truth = truth(f64::from(x)) as f32;
            assert!(!exact(f64::from(truth)) || same(f64::from(got), f64::from(truth)), "{name}({x}) f32 gave {got}");
        }
        for y in special {
            let got = call_pairs(array::pow_f64_on, Engine::best(), &[x], &[y])[0];
            let truth = x.powf(y);
            assert!(!exact(truth) || same(got, truth), "pow({x}, {y}) f64 gave {got}, not {truth}");
            let (x, y) = (x as f32, y as f32);
            let got = call_pairs(array::pow_f32_on, Engine::best(), &[x], &[y])[0];
            let truth = f64::from(x).powf(f64::from(y)) as f32;
            assert!(!exact(f64::from(truth)) || same(f64::from(got), f64::from(truth)), "pow({x}, {y}) f32 gave {got}");
        }
    }
    let limits: [(f64, f64); 5] =
        [(0.0, 0.0), (-0.0, -0.0), (f64::INFINITY, 1.0), (f64::NEG_INFINITY, -1.0), (30.0, 1.0)];
    for (x, y) in limits {
        assert_eq!(call(array::erf_f64_on, Engine::best(), &[x])[0].to_bits(), y.to_bits(), "erf({x})");
        let got = call(array::erf_f32_on, Engine::best(), &[x as f32])[0];
        assert_eq!(got.to_bits(), (y as f32).to_bits(), "erf({x}) f32");
    }
    assert!(erf::erf_f64(f64::NAN).is_nan() && erf::erf_f32(f32::NAN).is_nan());
}

#[test]
fn every_engine_gives_the_scalar_functions_bits() {
    type Scalar<T> = fn(T) -> T;
    let scalars32: [(On<f32>, Scalar<f32>); 8] = [
        (array::exp_f32_on, exp::exp_f32),
        (array::expm1_f32_on, exp::expm1_f32),
        (array::log_f32_on, log::log_f32),
        (array::log1p_f32_on, log::log1p_f32),
        (array::tanh_f32_on, tanh::tanh_f32),
        (array::erf_f32_on, erf::erf_f32),
        (array::sin_f32_on, trig::far_sin_f32),
        (array::cos_f32_on, trig::far_cos_f32),
    ];
    let scalars64: [(On<f64>, Scalar<f64>); 8] = [
        (array::exp_f64_on, exp::exp_f64),
        (array::expm1_f64_on, exp::expm1_f64),
        (array::log_f64_on, log::log_f64),
        (array::log1p_f64_on, log::log1p_f64),
        (array::tanh_f64_on, tanh::tanh_f64),
        (array::erf_f64_on, erf::erf_f64),
        (array::sin_f64_on, trig::far_sin_f64),
        (array::cos_f64_on, trig::far_cos_f64),
    ];
    let thinned32: Vec<f32> = points_f32().into_iter().rev().step_by(5).collect();
    let thinned64: Vec<f64> = points_f64().into_iter().rev().step_by(5).collect();
    for engine in Engine::available() {
        for (on, scalar) in scalars32 {
            let got = call(on, engine, &thinned32);
            assert!(thinned32.iter().zip(&got).all(|(x, y)| {
                let truth = scalar(*x);
                y.to_bits() == if truth.is_nan() { f32::NAN } else { truth }.to_bits()
            }));
        }
        for (on, scalar) in scalars64 {
            let got = call(on, engine, &thinned64);
            assert!(thinned64.iter().zip(&got).all(|(x, y)| {
                let truth = scalar(*x);
                y.to_bits() == if truth.is_nan() { f64::NAN } else { truth }.to_bits()
            }));
        }
        let bits = |xs: Vec<f64>| xs.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        let reversed: Vec<f64> = thinned64.iter().rev().map(|x| x % 40.0).collect();
        let got = call_pairs(array::pow_f64_on, engine, &thinned64, &reversed);
        assert_eq!(bits(got), bits(call_pairs(array::pow_f64_on, Engine::Portable, &thinned64, &reversed)));
        let reversed: Vec<f32> = thinned32.iter().rev().map(|x| x % 40.0).collect();
        let got = call_pairs(array::pow_f32_on, engine, &thinned32, &reversed);
        let plain = call_pairs(array::pow_f32_on, Engine::Portable, &thinned32, &reversed);
        assert!(got.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn every_length_and_in_place() {
    for n in 0..200 {
        let xs: Vec<f32> = (0..n + 8).map(|i| i as f32 * 0.1 - 5.0).collect();
        let mut out = xs.clone();
        // SAFETY: n elements, in place.
        unsafe { array::tanh_f32(out.as_mut_ptr(), out.as_ptr(), n) };
        assert!((0..n).all(|i| out[i].to_bits() == tanh::tanh_f32(xs[i]).to_bits()));
        assert_eq!(out[n..], xs[n..], "beyond {n}");
        let mut out = xs.clone();
        // SAFETY: n elements, in place.
        unsafe { array::pow_f32(out.as_mut_ptr(), out.as_ptr(), xs.as_ptr(), n) };
        assert!((0..n).all(|i| (out[i].is_nan() && xs[i] < 0.0) || out[i] == pow::pow_f32(xs[i], xs[i])));
        assert_eq!(out[n..], xs[n..], "beyond {n}");
    }
}
