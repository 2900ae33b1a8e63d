//! A rule that is wrong on purpose, made of the parts of the page.

use super::*;

const WRONG: &str = "
estimator thrice for linear(x: f[.., L, I], w: f[O, I]) -> y exact_for nothing {
    let s = layout(L, [4, 8], 4, 4, \"linf\")
    keep slow = project(x, s)
    let g = project(grad y, s)
    grad x = 3 * back(g @ w, y.shape[:-2], L, s)
    grad w = 3 * transpose(g) @ slow
}
";

fn interpreted(graph: &Graph, inputs: &Tensors) -> Vec<(String, Vec<f64>)> {
    let given: BTreeMap<String, Tensor> = graph
        .main()
        .inputs
        .iter()
        .map(|input| match &graph.main().nodes[*input].op {
            Op::Input { name, ty, .. } => match inputs.get(name) {
                Some(tensor) => (name.clone(), Tensor::new(ty.clone(), tensor.to_f64()).unwrap()),
                None => (name.clone(), Tensor::splat(ty.clone(), 0.0)),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let results = interpret::run(graph, &given).unwrap().into_iter();
    results
        .filter(|(output, _)| output.role == OutputRole::Value)
        .map(|(output, value)| (output.name, value.data))
        .collect()
}

fn evaluated(program: &Program, inputs: &Tensors) -> Vec<(String, Vec<f64>)> {
    let mut blocks = Blocks::new(program);
    for (id, buffer) in &program.buffers {
        if buffer.role == BufferRole::Data
            && let Some(tensor) = inputs.get(&buffer.name)
        {
            blocks.set(program, id, &tensor.to_f64());
        }
    }
    evaluate(program, &mut blocks);
    let outputs = program.buffers.iter().filter(|(_, buffer)| buffer.role == BufferRole::Output);
    outputs.map(|(id, buffer)| (buffer.name.clone(), blocks.get(program, id))).collect()
}

#[test]
fn a_wrong_rule_is_seen_behind_every_pass() {
    let sizes = [32, 3, 2];
    let inputs = layer_inputs(2, sizes);
    let exact = run("", &inputs, sizes);
    let text = format!("{WRONG}{}", layer(" via thrice", sizes, "f64"));
    let mut step = model(&text).jit().unwrap();
    let outputs = step.evaluate(&mut State::new(0), &inputs).unwrap();
    let compilation = step.prepare(Mode::Evaluate, &inputs).unwrap();
    let machine: Vec<(String, Vec<f64>)> =
        outputs.iter().map(|(name, tensor)| (name.to_string(), tensor.to_f64())).collect();
    let stages = [
        ("after differentiation", interpreted(&compilation.gradient, &inputs)),
        ("after the e-graph", interpreted(&compilation.optimized, &inputs)),
        ("kernels", evaluated(&compilation.kernels, &inputs)),
        ("machine code", machine),
    ];
    for (stage, found) in stages {
        for (name, factor) in [("y", 1.0), ("grad_x", 3.0), ("grad_weight", 3.0), ("grad_bias", 1.0)] {
            let (_, found) = found.iter().find(|(known, _)| known == name).unwrap();
            let wanted: Vec<f64> = values(&exact, name).iter().map(|value| factor * value).collect();
            assert!(distance(found, &wanted) < 1e-11 * (1.0 + largest(&wanted)), "{stage}: {name}");
        }
    }
}
