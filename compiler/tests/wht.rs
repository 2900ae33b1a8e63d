//! LBP-WHT: the rule page `std.rules.wht` against numbers of its authors' code, against the facts that hold for any such rule, and
//! through every stage of the compiler.

use bpc::ir::graph::{Graph, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::TensorType;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::{BufferRole, Program, Step};
use bpc::kernel::plan::lives;
use bpc::measure;
use bpc::pipeline::Compilation;
use bpc::{Mode, Model, State, Tensors, compile_text};
use bpc_runtime::json_tensor;
use bpc_runtime::philox::{fill_normal_f64, fill_uniform_f64};
use bpc_runtime::tensor::{Element, HostTensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

const USES: &str = "use std.nn\nuse std.optim { sgd }\nuse std.rules.wht { layout, project, back }\n";

fn model(text: &str) -> Model {
    let text = format!("{USES}{text}");
    compile_text("wht.bp", &text, &mut |_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The outputs by the interpreter and as machine code.
fn both(text: &str, inputs: &Tensors) -> [Tensors; 2] {
    let interpreted =
        model(text).interpret(&mut State::new(0), inputs).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let mut step = model(text).jit_with_threads(2).unwrap();
    [interpreted, step.evaluate(&mut State::new(0), inputs).unwrap()]
}

/// A linear layer under a rule in the middle of a graph: cotangent `gy` arrives with a factor of 2.5 that is taken out again.
fn layer(rule: &str, [length, inputs, outputs]: [u64; 3], dtype: &str) -> String {
    format!(
        "model under_a_rule {{
    in x: {dtype}[B, {length}, {inputs}]
    in weight: {dtype}[{outputs}, {inputs}]
    in bias: {dtype}[{outputs}]
    in gy: {dtype}[B, {length}, {outputs}]
    let before = 2 * x
    let product = linear(before / 2, weight){rule}
    let after = product + bias
    let loss = sum(2.5 * after * gy) / 2.5
    out y = after
    out grad_x = grad(loss, x)
    out grad_weight = grad(loss, weight)
    out grad_bias = grad(loss, bias)
}}"
    )
}

fn normal(seed: u32, shape: &[u64]) -> HostTensor {
    let mut numbers = vec![0.0; shape.iter().product::<u64>() as usize];
    fill_normal_f64([seed, 7], 3, 11, 0, &mut numbers);
    HostTensor::from_slice(shape, &numbers).unwrap()
}

fn layer_inputs(batch: u64, [length, inputs, outputs]: [u64; 3]) -> Tensors {
    Tensors::new()
        .with_tensor("x", normal(1, &[batch, length, inputs]))
        .with_tensor("weight", normal(2, &[outputs, inputs]))
        .with_tensor("bias", normal(3, &[outputs]))
        .with_tensor("gy", normal(4, &[batch, length, outputs]))
}

fn single(tensors: &Tensors) -> Tensors {
    tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.convert(Element::F32).unwrap())).collect()
}

fn values(tensors: &Tensors, name: &str) -> Vec<f64> {
    tensors.get(name).unwrap_or_else(|| panic!("there is no {name}")).to_f64()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn distance(one: &[f64], two: &[f64]) -> f64 {
    assert_eq!(one.len(), two.len());
    one.iter().zip(two).map(|(one, two)| (one - two).abs()).fold(0.0, f64::max)
}

// ---- numbers of the published code

fn golden(name: &str) -> serde_json::Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/lbp_wht/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn tensor(value: &serde_json::Value) -> HostTensor {
    json_tensor::parse(&format!("{{\"x\": {value}}}")).unwrap().remove(0).1
}

/// A case of the published code under a rule; `residual` names the kept coefficients in the record, `transform` computes them.
fn check_golden(name: &str, rule: &str, residual: &str, transform: &str) {
    let record = golden(name);
    let x = tensor(&record["x"]);
    let [_, length, inputs] = x.shape()[..] else { panic!("x has three axes") };
    let weight = tensor(&record["weight"]);
    let outputs = weight.shape()[0];
    let bias = match record.get("bias") {
        Some(bias) => tensor(bias),
        None => HostTensor::zeros(Element::F64, [outputs]).unwrap(),
    };
    let given = Tensors::new()
        .with_tensor("x", x)
        .with_tensor("weight", weight)
        .with_tensor("bias", bias)
        .with_tensor("gy", tensor(&record["grad_y"]));
    for (dtype, given) in [("f64", given.clone()), ("f32", single(&given))] {
        let text = layer(&format!(" via {rule}"), [length, inputs, outputs], dtype);
        let text = text.replace("out y = after", &format!("out y = after\n    out residual = {transform}"));
        for (engine, found) in ["interpreter", "machine code"].iter().zip(both(&text, &given)) {
            let names = [
                ("y", "y"),
                ("residual", residual),
                ("grad_x", "grad_x"),
                ("grad_weight", "grad_weight"),
                ("grad_bias", "grad_bias"),
            ];
            for (ours, theirs) in names {
                let Some(wanted) = record.get(theirs).map(tensor) else { continue };
                let what = format!("{name}, {dtype}, {engine}: {ours}");
                assert_eq!(found.get(ours).unwrap().shape(), wanted.shape(), "{what}");
                let (found, wanted) = (values(&found, ours), wanted.to_f64());
                let allowed = if dtype == "f64" { 1e-12 } else { 1e-5 * largest(&wanted) };
                let off = distance(&found, &wanted);
                assert!(off <= allowed, "{what} is off by {off:e}");
            }
        }
    }
}

#[test]
fn two_slow_functions_on_a_mirrored_map() {
    let transform = "block_wht(reshape(x, [B, 7, 7, 3]), [8, 8], [0, 0, 1], [0, 1, 0], mirror = true)";
    check_golden("l1_2_7x7_mirrored", "wht(k = 2, grid = [7, 7])", "residual_orthonormal_BPQRC", transform);
    check_golden("l1_2_7x7_mirrored", "wht(k = 2)", "residual_orthonormal_BPQRC", transform);
}

#[test]
fn four_slow_functions_also_as_a_list() {
    let pairs = "[[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [3, 0]]";
    let transform = "block_wht(reshape(x, [B, 8, 8, 3]), [8, 8], [0, 0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 1, 2, 3, 0, 1, 2, 0, 1, 0], mirror = true)";
    check_golden("l1_4_8x8", "wht(k = 4)", "residual_orthonormal_BPQRC", transform);
    check_golden("l1_4_8x8", &format!("wht(pairs = {pairs})"), "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_token_in_front_of_the_map_is_exact() {
    let transform =
        "block_wht(reshape(x[:, 1:, :], [B, 8, 12, 3]), [4, 4], [0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 1, 0], mirror = true)";
    let rule = "wht(k = 3, block = 4, grid = [8, 12], extra = 1)";
    check_golden("l1_3_8x12_class_token_block4", rule, "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_square_of_functions_on_a_map_that_is_none() {
    let transform = "block_wht(reshape(x, [B, 10, 5, 4]), [4, 4], [0, 0, 1, 1], [0, 1, 0, 1], mirror = true)";
    let rule = "wht(k = 2, block = 4, grid = [10, 5], select = \"linf\")";
    check_golden("linf_2_10x5", rule, "residual_orthonormal_BPQRC", transform);
}

#[test]
fn a_sequence() {
    let transform =
        "reshape(block_wht(reshape(x, [B, 1, 13, 3]), [1, 4], [0, 0], [0, 1], mirror = true), [B, 4, 2, 3])";
    check_golden("sequence_13_block4_k2", "wht(k = 2, block = 4, grid = [13])", "residual_orthonormal_BPRI", transform);
}

// ---- facts

/// Rows and columns of maps, between 4 and 20, and block sides that can mirror them.
fn maps(count: usize, whole_blocks: bool) -> Vec<([u64; 2], u64)> {
    let mut drawn = vec![0.0; 2 * count];
    fill_uniform_f64([1, 2], 3, u32::from(whole_blocks), 0, &mut drawn);
    drawn
        .chunks(2)
        .enumerate()
        .map(|(index, pair)| {
            let block = [2, 4, 8][index % 3];
            let side = |draw: f64| {
                let side = 4 + (draw * 17.0) as u64;
                if whole_blocks { (side / block).max(1) * block } else { side }
            };
            ([side(pair[0]), side(pair[1])], block)
        })
        .collect()
}

fn run(rule: &str, inputs: &Tensors, sizes: [u64; 3]) -> Tensors {
    model(&layer(rule, sizes, "f64")).interpret(&mut State::new(0), inputs).unwrap()
}

/// The tensor of tokens in which a map holds, for every block, one number per channel.
fn constant_in_blocks(tokens: &HostTensor, [_, columns]: [u64; 2], block: u64) -> HostTensor {
    let [_, length, channels] = tokens.shape()[..] else { panic!("tokens have three axes") };
    let values = tokens.to_f64();
    let of_block = |index: usize| {
        let (token, channel) = (index as u64 / channels % length, index as u64 % channels);
        let image = index as u64 / channels / length;
        let (row, column) = (token / columns / block * block, token % columns / block * block);
        values[((image * length + row * columns + column) * channels + channel) as usize]
    };
    HostTensor::from_slice(tokens.shape().to_vec(), &(0..values.len()).map(of_block).collect::<Vec<_>>()).unwrap()
}

#[test]
fn all_functions_of_whole_blocks_are_exact() {
    for ([rows, columns], block) in maps(6, true) {
        let sizes = [rows * columns, 3, 2];
        let inputs = layer_inputs(2, sizes);
        let rule = format!(" via wht(k = {block}, block = {block}, grid = [{rows}, {columns}], select = \"linf\")");
        let (found, exact) = (run(&rule, &inputs, sizes), run("", &inputs, sizes));
        for name in ["grad_x", "grad_weight", "grad_bias"] {
            let off = distance(&values(&found, name), &values(&exact, name));
            assert!(
                off < 1e-12 * (1.0 + largest(&values(&exact, name))),
                "{rows} x {columns} in {block}: {name} {off:e}"
            );
        }
    }
}

#[test]
fn factors_in_the_span_of_the_functions_are_exact() {
    for ([rows, columns], block) in maps(6, true) {
        let sizes = [rows * columns, 3, 2];
        let inputs = layer_inputs(2, sizes);
        let rule = format!(" via wht(k = 2, block = {block}, grid = [{rows}, {columns}])");
        let smooth = |name: &str| constant_in_blocks(inputs.get(name).unwrap(), [rows, columns], block);
        for (name, exact_x) in [("gy", true), ("x", false)] {
            let inputs = inputs.clone().with_tensor(name, smooth(name));
            let (found, exact) = (run(&rule, &inputs, sizes), run("", &inputs, sizes));
            let off = |name: &str| distance(&values(&found, name), &values(&exact, name));
            assert!(off("grad_weight") < 1e-12 * (1.0 + largest(&values(&exact, "grad_weight"))), "{name}");
            assert_eq!(
                off("grad_x") < 1e-12,
                exact_x,
                "{rows} x {columns} in {block}, smooth {name}: {:e}",
                off("grad_x")
            );
        }
    }
}

/// How often each place of an axis shows in its mirrored padding.
fn counted(size: u64, block: u64) -> Vec<f64> {
    let padded = size.div_ceil(block) * block;
    let before = (padded - size).div_ceil(2) as i64;
    let mut counts = vec![0.0; size as usize];
    for at in 0..padded as i64 {
        let place = (at - before).abs();
        let place = if place >= size as i64 { 2 * (size as i64 - 1) - place } else { place };
        counts[place as usize] += 1.0;
    }
    counts
}

#[test]
fn mirrored_tokens_count_more_than_once_for_the_weight_alone() {
    assert_eq!(counted(7, 8), [1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(counted(4, 8), [1.0, 3.0, 3.0, 1.0]);
    for ([rows, columns], block) in maps(9, false) {
        let sizes = [rows * columns, 3, 2];
        let inputs = layer_inputs(1, sizes);
        let rule = format!(" via wht(k = {block}, block = {block}, grid = [{rows}, {columns}], select = \"linf\")");
        let found = run(&rule, &inputs, sizes);
        let exact = run("", &inputs, sizes);
        let what = format!("{rows} x {columns} in {block}");
        assert!(distance(&values(&found, "grad_x"), &values(&exact, "grad_x")) < 1e-12, "{what}");
        let (down, across) = (counted(rows, block), counted(columns, block));
        let (gy, x) = (values(&inputs, "gy"), values(&inputs, "x"));
        let mut wanted = vec![0.0; 6];
        for token in 0..(rows * columns) as usize {
            let times = down[token / columns as usize] * across[token % columns as usize];
            for o in 0..2 {
                for i in 0..3 {
                    wanted[o * 3 + i] += times * gy[token * 2 + o] * x[token * 3 + i];
                }
            }
        }
        let off = distance(&values(&found, "grad_weight"), &wanted);
        assert!(off < 1e-11 * (1.0 + largest(&wanted)), "{what}: {off:e}");
    }
}

#[test]
fn blocks_are_apart_and_nothing_grows() {
    for ([rows, columns], block) in maps(6, true) {
        let sizes = [rows * columns, 3, 3];
        let inputs = layer_inputs(1, sizes);
        let rule = format!(" via wht(k = 2, block = {block}, grid = [{rows}, {columns}])");
        let found = run(&rule, &inputs, sizes);
        let mut gy = values(&inputs, "gy");
        gy[1] += 1.0;
        let changed = HostTensor::from_slice(inputs.get("gy").unwrap().shape().to_vec(), &gy).unwrap();
        let other = run(&rule, &inputs.clone().with_tensor("gy", changed), sizes);
        let (one, two) = (values(&found, "grad_x"), values(&other, "grad_x"));
        let mut inside = false;
        for (place, (one, two)) in one.iter().zip(&two).enumerate() {
            let token = place as u64 / 3;
            if token / columns < block && token % columns < block {
                inside |= one != two;
            } else {
                assert_eq!(one, two, "a token of another block");
            }
        }
        assert!(inside);
        // An orthogonal projection of gy w over tokens.
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let exact = run("", &inputs, sizes);
        assert!(norm(&one) <= norm(&values(&exact, "grad_x")) * (1.0 + 1e-12));
    }
}

// ---- forward, evaluation, memory, sharing

fn names(graph: &Graph, name: &str) -> usize {
    graph.regions.values().flat_map(|region| region.nodes.values()).filter(|node| node.op.name() == name).count()
}

fn compiled(text: &str, sizes: &[(&str, &[u64])], training: bool) -> Compilation {
    let types: BTreeMap<String, TensorType> = sizes
        .iter()
        .map(|(name, shape)| (name.to_string(), TensorType::new(bpc::ir::types::Dtype::F32, shape.to_vec())))
        .collect();
    model(text).compile(&types, training).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

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

// ---- what it costs

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

// ---- pointwise convolutions

#[test]
fn a_pointwise_convolution_is_the_linear_layer_of_its_places() {
    let image = normal(5, &[2, 3, 7, 10]);
    let gy = normal(6, &[2, 4, 7, 10]);
    let inputs = Tensors::new().with_tensor("x", image).with_tensor("w", normal(7, &[4, 3])).with_tensor("gy", gy);
    let text = |value: &str| {
        format!(
            "model conv {{
    in x: f64[B, 3, 7, 10]
    in w: f64[4, 3]
    in gy: f64[B, 4, 7, 10]
    let y = {value}
    out y = y
    out grad_x = grad(sum(y * gy), x)
    out grad_w = grad(sum(y * gy), w)
}}"
        )
    };
    let tokens = "linear(reshape(permute(x, [0, 2, 3, 1]), [B, 70, 3]), w) via wht(k = 3, block = 4, grid = [7, 10])
    let y = permute(reshape(tokens, [B, 7, 10, 4]), [0, 3, 1, 2])"
        .replacen("linear", "let tokens = linear", 1);
    let linear = text("x").replace("let y = x", &tokens);
    for (conv, linear) in
        both(&text("pointwise(x, w) via wht(k = 3, block = 4)"), &inputs).iter().zip(both(&linear, &inputs))
    {
        for name in ["y", "grad_x", "grad_w"] {
            assert!(distance(&values(conv, name), &values(&linear, name)) < 1e-12, "{name}");
        }
    }
    let exact = both(&text("pointwise(x, w)"), &inputs);
    let kernel = both(&text("convolve2d(x, reshape(w, [4, 3, 1, 1]))"), &inputs);
    for (pointwise, kernel) in exact.iter().zip(&kernel) {
        for name in ["y", "grad_x", "grad_w"] {
            assert!(distance(&values(pointwise, name), &values(kernel, name)) < 1e-12, "{name}");
        }
    }
}

// ---- a rule that is wrong on purpose, made of the page's parts

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

// ---- errors

/// The message for a layer under a rule, with the line to blame.
fn message(rule: &str, shape: &[u64]) -> String {
    let text = format!(
        "{USES}model wrong {{
    in x: f32{shape:?}
    param w: f32[5, {}] ~ normal
    let y = linear(x, w) via {rule}
    minimize mean(y * y) using sgd
}}",
        shape[shape.len() - 1]
    );
    let model = compile_text("wht.bp", &text, &mut |_| None);
    match model.and_then(|model| model.compile(&BTreeMap::new(), true)) {
        Ok(_) => panic!("{rule} compiled"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn settings_that_cannot_be_are_errors_with_their_place() {
    let cases: &[(&str, &[u64], &str)] = &[
        ("wht(k = 2, block = 6)", &[2, 36, 4], "a power of two"),
        ("wht(k = 2, grid = [3, 3])", &[2, 9, 4], "3 places are too few"),
        ("wht(k = 2, grid = [7, 6])", &[2, 49, 4], "grid and extra do not"),
        ("wht(k = 2)", &[2, 50, 4], "no square map"),
        ("wht(k = 2, extra = 50)", &[2, 49, 4], "extra"),
        ("wht(pairs = [[8, 0]])", &[2, 64, 4], "the function (8, 0) does not exist"),
        ("wht(pairs = [[1, 0], [1, 0]])", &[2, 64, 4], "kept twice"),
        ("wht(select = \"l2\", k = 2)", &[2, 64, 4], "select is \"l1\" or"),
        ("wht", &[2, 64, 4], "k = 1, 2"),
        ("wht(k = 2)", &[64, 4], "batch"),
    ];
    for (rule, shape, wanted) in cases {
        let message = message(rule, shape);
        assert!(message.contains(wanted), "{rule}: {message}");
        let first = message.lines().find(|line| line.contains("wht.bp:")).unwrap_or_default();
        assert!(first.contains("wht.bp:7:") && !first.contains("std"), "{rule}: {message}");
    }
}

#[test]
fn a_second_derivative_is_refused() {
    let text = format!(
        "{USES}model twice {{
    in x: f32[2, 64, 4]
    in w: f32[5, 4]
    let y = linear(x, w) via wht(k = 2)
    let slope = grad(sum(y * y), x)
    out curve = grad(sum(slope * slope), x)
}}"
    );
    let model = compile_text("twice.bp", &text, &mut |_| None);
    let message = match model.and_then(|model| model.compile(&BTreeMap::new(), true)) {
        Ok(_) => panic!("the derivative of an estimate was computed"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("BP0412") && message.contains("twice.bp:"), "{message}");
}

#[test]
fn a_nan_stays_in_its_block() {
    let sizes = [128, 2, 2];
    let mut inputs = layer_inputs(1, sizes);
    let mut gy = values(&inputs, "gy");
    gy[0] = f64::NAN;
    inputs = inputs.with_tensor("gy", HostTensor::from_slice([1, 128, 2], &gy).unwrap());
    let found = run(" via wht(k = 1, grid = [8, 16])", &inputs, sizes);
    let is_nan: Vec<bool> = values(&found, "grad_x").chunks(2).map(|token| token[0].is_nan()).collect();
    assert!((0..128).all(|token| is_nan[token] == (token % 16 < 8)));
}
