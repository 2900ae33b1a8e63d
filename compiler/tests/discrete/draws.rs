//! Draws: their frequencies, that no rule changes them, and how ties end.

use super::*;

fn drawn(rule: &str, threads: usize, inputs: &Tensors) -> Tensors {
    let text = format!(
        "{USES}model draws {{
    in logits: f32[B, 8]
    let d = sample_onehot(logits) via {rule}
    out d = d
    out counts = sum(d, axis = 0)
    out slope = grad(sum(d * range_of(logits)), logits)
}}
fn range_of(x: f[.., K]) -> f[.., K] {{ expand(f(range(K)), x.shape) }}"
    );
    model(&text).jit_with_threads(threads).unwrap().evaluate(&mut State::new(7), inputs).unwrap()
}

#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: usize = 1_000_000;
    let logits = [0.3f32, -1.2, 2.0, f32::NEG_INFINITY, 0.0, 0.0, -3.5, 1.1];
    let inputs = Tensors::new().with_slice("logits", &[DRAWS as u64, 8], &logits.repeat(DRAWS)).unwrap();
    let counts = drawn("straight_through", 2, &inputs).get("counts").unwrap().to_f64();
    let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    assert_eq!(counts[3], 0.0);
    assert_eq!(counts.iter().sum::<f64>(), DRAWS as f64);
    let mut square = 0.0;
    for (count, logit) in counts.iter().zip(logits).filter(|(_, logit)| logit.is_finite()) {
        let wanted = DRAWS as f64 * f64::from(logit).exp() / total;
        square += (count - wanted).powi(2) / wanted;
    }
    // The 1 - 1e-4 quantile of chi square with 6 degrees of freedom.
    assert!(square < 27.86, "chi square {square}: {counts:?}");
}

#[test]
fn every_rule_and_every_number_of_threads_draws_the_same() {
    let logits: Vec<f32> = (0..8 * 4096).map(|place| ((place * 7919) % 1000) as f32 / 300.0).collect();
    let inputs = Tensors::new().with_slice("logits", &[4096, 8], &logits).unwrap();
    let first = drawn("straight_through", 1, &inputs);
    for rule in ["straight_through(0.5)", "gumbel_straight_through(0.7)", "reinmax", "reinmax(1.3)"] {
        let (one, four) = (drawn(rule, 1, &inputs), drawn(rule, 4, &inputs));
        assert_eq!(one.get("d"), first.get("d"), "{rule}");
        assert_eq!(one, four, "{rule}");
        assert_ne!(one.get("slope"), first.get("slope"), "{rule}");
    }
}

#[test]
fn the_lowest_of_equals_is_taken() {
    let text = format!(
        "{USES}model ties {{\n    in logits: f32[B, 3]\n    let d = sample_onehot(logits)\n    out d = d\n    out mode = mode_onehot(logits)\n}}"
    );
    let inputs = Tensors::new()
        .with_slice("logits", &[2, 3], &[1.0f32, 1.0, 1.0, 0.0, 2.0, 2.0])
        .unwrap()
        .with_slice(NOISE, &[2, 3], &[0.5f32; 6])
        .unwrap();
    let found = model(&text).force(NOISE).jit().unwrap().evaluate(&mut State::new(0), &inputs).unwrap();
    for name in ["d", "mode"] {
        assert_eq!(found.get(name).unwrap().to_f64(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "{name}");
    }
    let one = format!(
        "{USES}model one {{\n    in logits: f32[1]\n    let d = sample_onehot(logits) via reinmax\n    out d = d\n    out slope = grad(sum(3 * d), logits)\n}}"
    );
    let found = model(&one)
        .jit()
        .unwrap()
        .evaluate(&mut State::new(0), &Tensors::new().with_slice("logits", &[1], &[0.4f32]).unwrap());
    let found = found.unwrap();
    assert_eq!((found.scalar_of("d"), found.scalar_of("slope")), (1.0, 0.0));
}

trait ScalarOf {
    fn scalar_of(&self, name: &str) -> f64;
}

impl ScalarOf for Tensors {
    fn scalar_of(&self, name: &str) -> f64 {
        self.get(name).unwrap().to_f64()[0]
    }
}
