//! A rule that is wrong on purpose, and what rules keep of the forward pass.

use super::*;

/// Functions of x with their rules, three times what they should be, and that: the cotangent is 2.5 times x squared.
const WRONG: &[(&str, &str)] = &[
    ("sample_onehot", "softmax_pullback(softmax(x), g)"),
    ("mode_onehot", "softmax_pullback(softmax(x), g)"),
    ("round", "g"),
    ("sign", "g"),
    ("threshold", "g"),
    ("spike", "g"),
];

fn wrong(function: &str, right: &str, factor: f64) -> Model {
    let (params, argument) = match function {
        "sample_onehot" | "mode_onehot" => ("x: f[.., K]", "x"),
        "threshold" | "spike" => ("x: f[..], level: real", "x"),
        _ => ("x", "x"),
    };
    model(&format!(
        "{USES}
estimator wrong for {function}({params}) -> y exact_for nothing {{
    let g = grad y
    grad {argument} = 3 * {right}
}}
model wrong {{
    in x: f64[N, 4]
    let y = {function}(x) via wrong
    let g = 2.5 * x * x
    out y = y
    out dx = grad(sum(y * g), y)
    out found = grad(sum(y * stop(g)), x)
    out wanted = {factor} * {right}
}}"
    ))
}

fn outputs_of(graph: &Graph, x: &[f64]) -> BTreeMap<String, Vec<f64>> {
    let inputs = graph.main().inputs.iter().map(|input| match &graph.main().nodes[*input].op {
        Op::Input { name, ty, .. } if name == "x" => (name.clone(), Tensor::new(ty.clone(), x.to_vec()).unwrap()),
        Op::Input { name, ty, .. } => (name.clone(), Tensor::splat(ty.clone(), 0.0)),
        other => panic!("{other:?}"),
    });
    let results = interpret::run(graph, &inputs.collect()).unwrap();
    results.into_iter().map(|(output, tensor)| (output.name, tensor.data)).collect()
}

fn outputs_of_kernels(program: &Program, x: &[f64]) -> BTreeMap<String, Vec<f64>> {
    let buffers = |role: BufferRole| program.buffers.iter().filter(move |(_, buffer)| buffer.role == role);
    let mut blocks = Blocks::new(program);
    let input = buffers(BufferRole::Data).find(|(_, buffer)| buffer.name == "x").unwrap().0;
    blocks.set(program, input, x);
    evaluate(program, &mut blocks);
    buffers(BufferRole::Output).map(|(id, buffer)| (buffer.name.clone(), blocks.get(program, id))).collect()
}

#[test]
fn a_wrong_rule_is_seen_behind_every_pass() {
    let x = [0.3, -1.2, 0.8, 2.0, -0.1, 1.4, 0.6, -0.7];
    for (function, right) in WRONG {
        let model = wrong(function, right, 3.0);
        let inputs = Tensors::new().with_slice("x", &[2, 4], &x).unwrap();
        let mut step: Step = model.jit().unwrap();
        let outputs = step.evaluate(&mut State::new(0), &inputs).unwrap();
        let code: BTreeMap<String, Vec<f64>> =
            outputs.iter().map(|(name, tensor)| (name.to_string(), tensor.to_f64())).collect();
        let compilation = step.prepare(Mode::Evaluate, &inputs).unwrap();
        let all = [
            ("after differentiation", outputs_of(&compilation.gradient, &x)),
            ("after the e-graph", outputs_of(&compilation.optimized, &x)),
            ("kernels", outputs_of_kernels(&compilation.kernels, &x)),
            ("machine code", code),
        ];
        for (place, found) in &all {
            assert_close(&format!("{function}, {place}"), &found["found"], &found["wanted"], 1e-12);
            assert!(found["found"].iter().any(|slope| slope.abs() > 0.1), "{function}, {place}: {:?}", found["found"]);
        }
    }
}

#[test]
fn what_a_rule_reads_of_the_forward_pass() {
    let read = |rule: &str, text: &str| {
        let program = format!(
            "{USES}model reads {{\n    in x: f32[128, 64, 8]\n    param shift: f32[8] ~ zeros\n    let d = sample_onehot(x + shift) via {rule}\n    out slope = grad(sum(d * x), shift)\n}}"
        );
        let compilation = model(&program).compile(&BTreeMap::new(), false).unwrap();
        bpc::measure::kept_bytes(&compilation.gradient, "sample_onehot", text)
    };
    let (rows, classes) = (128 * 64, 8);
    // The class as i32 and p; at another temperature the warmer softmax too.
    assert_eq!(read("reinmax", "reinmax(temperature = 1.0)"), rows * (4 + 4 * classes));
    assert_eq!(read("reinmax(1.3)", "reinmax(temperature = 1.3)"), rows * (4 + 2 * 4 * classes));
    assert_eq!(read("straight_through", "straight_through(temperature = 1.0)"), rows * 4 * classes);
}
