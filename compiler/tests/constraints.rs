//! Parameters under constraints: the first value is the one written, and no stored numbers leave the set.

use bpc::{State, Tensors, compile_text};
use bpc_runtime::tensor::HostTensor;

/// The value of a parameter `x` at its first value and at other stored numbers.
fn values(ty: &str, constraint: &str, init: &str, stored: Option<&[f64]>) -> Result<Vec<f64>, String> {
    let text = format!(
        "use std.constraints\nfn of(shape: dims, dtype: dtype, numbers: list) {{ reshape(concat(parts(numbers), axis = 0), shape) }}
fn parts(numbers: list) {{
    let all = []
    repeat len(numbers) as i {{ next all = all + [full([1], numbers[i], f64)] }}
    all
}}
model m {{ param x: {ty} in {constraint} ~ {init}; out x = x }}"
    );
    let model = compile_text("m.bp", &text, &mut |_| None).map_err(|error| error.to_string())?;
    let mut state = State::new(0);
    let mut step = model.jit().unwrap();
    if let Some(stored) = stored {
        let tensor = HostTensor::from_slice([stored.len() as u64], stored).unwrap();
        state.load(&Tensors::new().with_tensor("x", tensor)).unwrap();
    }
    let outputs = step.evaluate(&mut state, &Tensors::new()).map_err(|error| error.to_string())?;
    Ok(outputs.get("x").unwrap().to_f64())
}

fn assert_near(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-14, "{found} and not {wanted}");
    }
}

#[test]
fn first_values_are_those_written() {
    for (ty, constraint, numbers) in [
        ("f64[2]", "positive", vec![2.0, 0.3]),
        ("f64[2]", "positive(low = 0.1)", vec![2.0, 0.3]),
        ("f64[2]", "between(-1, 3)", vec![2.5, -0.75]),
        ("f64[3]", "simplex", vec![0.2, 0.5, 0.3]),
        ("f64[3]", "simplex(total = 4)", vec![1.0, 2.5, 0.5]),
        ("f64[2, 2]", "positive_definite", vec![2.0, -0.5, -0.5, 1.0]),
        ("f64[3, 3]", "positive_definite", vec![2.0, 0.5, 0.1, 0.5, 1.5, -0.2, 0.1, -0.2, 0.7]),
        ("f64[3]", "principal_inertia", vec![0.03, 0.04, 0.0698]),
        ("f64[6]", "inertia", vec![0.045, 0.051, 0.068, 0.002, -0.0015, 0.001]),
    ] {
        let init = format!("of({numbers:?})");
        assert_near(&values(ty, constraint, &init, None).unwrap(), &numbers);
    }
}

#[test]
fn stored_numbers_do_not_leave_the_set() {
    let principal = values("f64[3]", "principal_inertia", "constant(1)", Some(&[3.0, -2.0, -4.0])).unwrap();
    let [a, b, c] = principal[..] else { panic!("three moments") };
    assert!(a > 0.0 && b > 0.0 && c > 0.0 && a < b + c && b < a + c && c < a + b, "{principal:?}");

    let full = values("f64[6]", "inertia", "of([1, 1, 1, 0, 0, 0])", Some(&[0.3, -1.1, 0.2, 2.0, -0.4, -0.9])).unwrap();
    let [xx, yy, zz, xy, xz, yz] = full[..] else { panic!("six entries") };
    // The second moments tr(J)/2 I - J are positive definite: all leading minors are positive.
    let half = (xx + yy + zz) / 2.0;
    let (a, b, c) = (half - xx, half - yy, half - zz);
    let determinant = a * (b * c - yz * yz) - xy * (xy * c + yz * xz) - xz * (xy * yz + b * xz);
    assert!(a > 0.0 && a * b - xy * xy > 0.0 && determinant > 0.0, "{full:?}");

    let shares = values("f64[3]", "simplex(total = 2)", "of([1, 0.5, 0.5])", Some(&[700.0, -700.0, 3.0])).unwrap();
    assert_near(&[shares.iter().sum()], &[2.0]);
    assert!(shares.iter().all(|share| *share >= 0.0));
}

#[test]
fn a_first_value_outside_is_an_error() {
    let message = values("f64[]", "positive", "constant(-1)", None).unwrap_err();
    assert!(message.contains("the first value of `x` does not lie in `positive`"), "{message}");
    let message = values("f64[3]", "principal_inertia", "of([1, 1, 3])", None).unwrap_err();
    assert!(message.contains("does not lie in `principal_inertia`"), "{message}");
}

#[test]
fn a_constraint_has_an_inverse_and_the_type_of_the_parameter() {
    let message = values("f64[]", "exp", "ones", None).unwrap_err();
    assert!(message.contains("`exp` has no parameter `inverse`"), "{message}");
    let message = values("f64[2, 3]", "positive_definite", "ones", None).unwrap_err();
    assert!(message.contains("positive_definite") || message.contains("cholesky"), "{message}");
}
