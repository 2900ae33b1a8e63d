//! The forward pass, evaluation, memory, sharing, and what the rule costs.

use super::*;

#[test]
fn the_value_is_that_without_the_rule_bit_for_bit() {
    for (rule, sizes) in [(" via wht(k = 2)", [49, 20, 33]), (" via wht(k = 3, block = 4, extra = 1)", [37, 8, 5])] {
        let inputs = single(&layer_inputs(3, sizes));
        let [_, with] = both(&layer(rule, sizes, "f32"), &inputs);
        let [_, without] = both(&layer("", sizes, "f32"), &inputs);
        assert_eq!(with.get("y"), without.get("y"));
        assert_ne!(with.get("grad_x"), without.get("grad_x"));
    }
}

const TRAINED: &str = "
model trained {
    in image: f32[B, 49, 12]
    grad { linear in slow => wht(k = 2) }
    let hidden = dense(image, 24)
    let slow = dense(hidden, 40)
    out mean_of = mean(slow)
    minimize mean(slow * slow) using sgd
}";

#[test]
fn evaluation_has_no_transform() {
    let image: &[(&str, &[u64])] = &[("image", &[2, 49, 12])];
    assert_eq!(names(&compiled(TRAINED, image, true).optimized, "block_wht"), 2);
    let plain = TRAINED.replace("grad { linear in slow => wht(k = 2) }", "");
    let (with, without) = (compiled(TRAINED, image, false), compiled(&plain, image, false));
    assert_eq!(names(&with.optimized, "block_wht") + names(&with.optimized, "block_wht_t"), 0);
    assert_eq!(names(&with.optimized, "matmul"), names(&without.optimized, "matmul"));
}

/// The moments at which each call of a transform runs, and whether a buffer as large as `hidden` lives across both of them.
fn holds_hidden(program: &Program) -> bool {
    let hidden = 2 * 49 * 24;
    let transforms: Vec<_> = program
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Call(call) if matches!(call.op, Op::BlockWht { .. }) => Some(call.result),
            _ => None,
        })
        .collect();
    let lives = lives(program);
    let born = |buffer| lives.iter().find(|life| life.buffer == buffer).map(|life| life.first).unwrap();
    let (kept, used) = match transforms[..] {
        [kept, used] => (born(kept), born(used)),
        _ => panic!("one transform of x and one of its cotangent"),
    };
    assert!(kept < used);
    lives
        .iter()
        .any(|life| program.buffers[life.buffer].ty.elements() == hidden && life.first <= kept && life.last >= used)
}

#[test]
fn a_training_step_does_not_hold_x() {
    let image: &[(&str, &[u64])] = &[("image", &[2, 49, 12])];
    assert!(!holds_hidden(&compiled(TRAINED, image, true).kernels));
    // Where another value needs it, it is there.
    let squared = TRAINED.replace("mean(slow * slow)", "mean(slow * slow) + mean(hidden * hidden * hidden)");
    assert!(holds_hidden(&compiled(&squared, image, true).kernels));
}

#[test]
fn tokens_in_front_do_not_hold_x_either() {
    let text = TRAINED.replace("wht(k = 2)", "wht(k = 2, extra = 13)");
    let program = compiled(&text, &[("image", &[2, 49, 12])], true).kernels;
    let kept = program
        .steps
        .iter()
        .position(|step| matches!(step, Step::Call(call) if matches!(&call.op, Op::BlockWht { block, .. } if block[..] == [8, 8])))
        .unwrap();
    let reads_hidden = program.steps[kept + 1..].iter().any(|step| match step {
        Step::Call(call) => call.operands.iter().any(|(_, ty)| ty.elements() == 2 * 49 * 24),
        Step::Product(product) => [&product.a, &product.b].iter().any(|operand| {
            program.buffers[operand.buffer].ty.elements() == 2 * 49 * 24
                && lives(&program).iter().any(|life| life.buffer == operand.buffer && life.first == 0)
        }),
        _ => false,
    });
    assert!(!reads_hidden);
}

#[test]
fn projections_are_shared() {
    let text = "
model shared {
    in x: f32[B, 49, 16]
    grad { linear => wht(k = 2) }
    let before = dense(x, 16, bias = false)
    let q = dense(before, 16)
    let k = dense(before, 16)
    let v = dense(before, 16)
    let loss = mean(q * k * k * v * v * v)
    minimize loss using sgd
}";
    let graph = compiled(text, &[("x", &[2, 49, 16])], true).optimized;
    // Kept: of x and of what comes before q, k and v. Backward: one for each of q, k, v, one for their sum.
    assert_eq!(names(&graph, "block_wht"), 2 + 3 + 1);
    // The way back is one for the sum of the three, and none to the data.
    assert_eq!(names(&graph, "block_wht_t"), 1);
}

#[test]
fn work_and_residuals_are_those_of_the_method() {
    let text = "
model costs {
    in x: f32[B, 49, 448]
    in weight: f32[448, 448]
    in gy: f32[B, 49, 448]
    let y = linear(x, weight) via wht(k = 4)
    let loss = sum(y * gy)
    out grad_x = grad(loss, x)
    out grad_weight = grad(loss, weight)
}";
    let sizes: &[(&str, &[u64])] = &[("x", &[1, 49, 448]), ("weight", &[448, 448]), ("gy", &[1, 49, 448])];
    let compilation = compiled(text, sizes, true);
    let costs = measure::rule_costs(&compilation.lowered.graph, "linear", &rule_of(&compilation)).unwrap();
    assert_eq!(costs.backward_products, 8_028_160);
    assert_eq!(costs.kept_bytes, 4 * 10 * 448);
    assert_eq!(costs.spared_bytes, 4 * 49 * 448);
}

fn rule_of(compilation: &Compilation) -> String {
    compilation.lowered.sites.iter().find_map(|site| site.rule.clone()).unwrap()
}
