//! Facts that hold for every such rule, and pointwise convolutions.

use super::*;

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
