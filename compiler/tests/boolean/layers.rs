//! The layers of `std.boolean` against loops over their bits.

use crate::golden::outputs;
use bpc::Tensors;
use bpc_runtime::philox::uniform_f64;

fn bits(count: usize, stream: i32) -> Vec<bool> {
    (0..count as u64).map(|place| uniform_f64([3, 4], stream, 0, place) < 0.5).collect()
}

#[test]
fn a_dense_layer_of_any_gate_with_a_bias() {
    let (x, weight, bias) = (bits(5 * 70, 1), bits(9 * 70, 2), bits(9, 3));
    let params =
        Tensors::new().with_slice("y.weight", &[9, 70], &weight).unwrap().with_slice("y.bias", &[9], &bias).unwrap();
    let inputs = Tensors::new().with_slice("x", &[5, 70], &x).unwrap();
    type Gate = fn(bool, bool) -> bool;
    let gates: [(&str, f64, Gate); 4] = [
        ("xnor", 0.0, |x, w| x == w),
        ("xor", 0.0, |x, w| x != w),
        ("and", 18.0, |x, w| x && w),
        ("or", 52.5, |x, w| x || w),
    ];
    for (name, tau, gate) in gates {
        let text = format!(
            "use std.boolean {{ boolean_dense }}
model dense {{ in x: bool[B, 70]; let y = boolean_dense(x, 9, gate = \"{name}\", bias = true, tau = {tau:?}); out bits = y }}"
        );
        let middle = if tau > 0.0 { tau } else { 71.0 / 2.0 };
        let mut wanted = Vec::new();
        for row in x.chunks(70) {
            for (weight, bias) in weight.chunks(70).zip(&bias) {
                let hits = row.iter().zip(weight).filter(|(x, w)| gate(**x, **w)).count();
                wanted.push(f64::from(u8::from((hits + usize::from(*bias)) as f64 >= middle)));
            }
        }
        assert!(wanted.contains(&0.0) && wanted.contains(&1.0), "{name} says nothing");
        for found in outputs(&text, &params, &inputs) {
            assert_eq!(found.get("bits").unwrap().to_f64(), wanted, "{name}");
        }
    }
}

/// The gates and, or do not lie around half the fan-in.
#[test]
fn a_gate_off_the_middle_wants_its_threshold() {
    let text = "use std.boolean { boolean_dense }
model dense { in x: bool[B, 70]; let y = boolean_dense(x, 9, gate = \"and\"); out bits = y }";
    let inputs = Tensors::new().with_slice("x", &[1, 70], &[true; 70]).unwrap();
    let error = match crate::golden::model(text).jit().unwrap().evaluate(&mut bpc::State::new(0), &inputs) {
        Ok(_) => panic!("it has a threshold"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("BP0210") && error.contains("give tau"), "{error}");
}

#[test]
fn a_pooled_convolution_is_the_or_of_its_bits() {
    let (height, width) = (7, 6);
    let (x, weight) = (bits(2 * 3 * height * width, 4), bits(4 * 27, 5));
    let text = "use std.boolean { boolean_conv2d }
model maps { in x: bool[2, 3, 7, 6]; let y = boolean_conv2d(x, 4, kernel = 3, padding = 1, pool = 2); out bits = y }";
    let params = Tensors::new().with_slice("y.weight", &[4, 3, 3, 3], &weight).unwrap();
    let inputs = Tensors::new().with_slice("x", &[2, 3, height as u64, width as u64], &x).unwrap();
    let fires = |image: usize, map: usize, row: usize, column: usize| {
        let mut count = 0;
        for channel in 0..3 {
            for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                let (r, c) = (row + i, column + j);
                let inside = (1..=height).contains(&r) && (1..=width).contains(&c);
                // False pads.
                let bit = inside && x[((image * 3 + channel) * height + r - 1) * width + c - 1];
                count += usize::from(bit == weight[((map * 3 + channel) * 3 + i) * 3 + j]);
            }
        }
        2 * count >= 27
    };
    let mut wanted = Vec::new();
    for (image, map) in (0..2).flat_map(|image| (0..4).map(move |map| (image, map))) {
        for (row, column) in (0..3).flat_map(|row| (0..3).map(move |column| (2 * row, 2 * column))) {
            let any = [(0, 0), (0, 1), (1, 0), (1, 1)].iter().any(|(i, j)| fires(image, map, row + i, column + j));
            wanted.push(f64::from(u8::from(any)));
        }
    }
    assert!(wanted.contains(&0.0));
    for found in outputs(text, &params, &inputs) {
        assert_eq!(found.get("bits").unwrap().shape(), [2, 4, 3, 3]);
        assert_eq!(found.get("bits").unwrap().to_f64(), wanted);
    }
}
