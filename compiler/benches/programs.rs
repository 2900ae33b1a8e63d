//! Generated kernels and the compiler itself: `cargo bench -p bpc -- GROUP`, where the groups are `kernel` (layer norm, cross entropy and GELU, forward and backward,
//! on one thread), `step` (a network of bits beside one of floats) and `compile` (from a file's text to machine code, in one process).

use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::{State, Tensors, compile_file};
use bpc_runtime::philox;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    for (place, rows, columns) in [("inside L2", 128, 512), ("outside L2", 8192, 1024)] {
        let count = rows * columns;
        let mut x = vec![0f32; count];
        philox::fill_normal_f32([0, 0], 0, 0, 0, &mut x);
        let label: Vec<i32> = (0..rows).map(|row| (row * 7 % columns) as i32).collect();
        let shape = [rows as u64, columns as u64];
        let alone = Tensors::new().with_slice("x", &shape, &x).expect("as many numbers");
        let with_cotangent = alone.clone().with_slice("cotangent", &shape, &x).expect("as many numbers");
        let with_label = alone.with_slice("label", &shape[..1], &label).expect("as many labels");
        for (name, model, inputs) in [
            ("layer norm", "norm", &with_cotangent),
            ("gelu", "smooth", &with_cotangent),
            ("cross entropy", "entropy", &with_label),
        ] {
            let program = compile_file(file("benches/peers/kernels.bp")).expect("a program").choose(model);
            let mut step = program.jit_with_threads(1).expect("a model");
            let mut state = State::new(0);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}, {place}"), |bencher| {
                bencher.iter(|| step.evaluate(&mut state, inputs).expect("the inputs of the model"));
            });
        }
    }
}

/// A step of a network of bits, and one of floats with Adam: 784-512-512-10 on 100 rows. What they need in memory: `bpc explain examples/boolean_mnist.bp
/// --set B=100`, and `bpc explain benches/peers/mlp.bp --model adam_step --set B=100`.
fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    let mut pixels = vec![0f32; 100 * 784];
    philox::fill_uniform_f32([0, 0], 0, 0, 0, &mut pixels);
    pixels.iter_mut().for_each(|pixel| *pixel *= 255.0);
    let label: Vec<i32> = (0..100).map(|row| row * 7 % 10).collect();
    let with_label = Tensors::new().with_slice("label", &[100], &label).expect("as many labels");
    for (name, path, model, input, shape) in [
        ("bits", "examples/boolean_mnist.bp", "boolean_mnist", "image", &[100, 28, 28][..]),
        ("floats with Adam", "benches/peers/mlp.bp", "adam_step", "x", &[100, 784]),
    ] {
        let inputs = with_label.clone().with_slice(input, shape, &pixels).expect("as many numbers");
        let program = compile_file(file(path)).expect("a program").choose(model);
        let mut step = program.jit_with_threads(1).expect("a model");
        let mut state = State::new(0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| step.step(&mut state, &inputs).expect("the inputs of the model"));
        });
    }
}

fn compilation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    for (name, path) in [("digits", "examples/digits.bp"), ("transformer", "benches/peers/transformer.bp")] {
        let path = file(path);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let model = compile_file(&path).expect("a program").set("B", 32);
                let compilation = model.compile(&BTreeMap::new(), true).expect("a model");
                Host.compile(&compilation.kernels).expect("code for this machine")
            });
        });
    }
}

criterion_group! {
    name = programs;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = kernels, steps, compilation
}
criterion_main!(programs);
