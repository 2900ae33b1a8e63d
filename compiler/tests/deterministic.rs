//! Same program and options, same bytes; any number of workers, same bits.

use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::ir::text::print;
use bpc::kernel;
use bpc::{Mode, Model, State, Tensors, compile_file};
use bpc_runtime::philox::uniform_f32;
use bpc_runtime::tensor::HostTensor;
use std::path::PathBuf;

fn example(name: &str) -> Model {
    compile_file(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn floats(site: u32, shape: &[u64]) -> HostTensor {
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|index| 200.0 * uniform_f32([3, 4], 0, site, index)).collect();
    HostTensor::from_slice(shape, &values).unwrap()
}

fn classes(site: u32, shape: &[u64], count: f32) -> HostTensor {
    let values: Vec<i32> =
        (0..shape.iter().product()).map(|index| (count * uniform_f32([3, 4], 0, site, index)) as i32).collect();
    HostTensor::from_slice(shape, &values).unwrap()
}

fn cases() -> Vec<(&'static str, Model, Tensors)> {
    let image = |batch: u64| Tensors::new().with_tensor("image", floats(0, &[batch, 28, 28]));
    vec![
        (
            "digits",
            example("digits.bp"),
            Tensors::new().with_tensor("image", floats(0, &[37, 64])).with_tensor("label", classes(1, &[37], 10.0)),
        ),
        ("mnist", example("mnist.bp"), image(64).with_tensor("label", classes(1, &[64], 10.0))),
        ("mnist_conv", example("mnist_conv.bp"), image(17).with_tensor("label", classes(1, &[17], 10.0))),
        ("vae", example("vae.bp"), image(50)),
        (
            "char_transformer",
            example("char_transformer.bp").set("width", 48).set("depth", 2),
            Tensors::new()
                .with_tensor("tokens", classes(0, &[5, 33], 65.0))
                .with_tensor("target", classes(1, &[5, 33], 65.0)),
        ),
    ]
}

fn stages(model: &Model, inputs: &Tensors) -> Vec<String> {
    let mut step = model.clone().jit().unwrap();
    let compilation = step.prepare(Mode::Train, inputs).unwrap();
    vec![
        print(&compilation.lowered.graph),
        print(&compilation.gradient),
        print(&compilation.optimized),
        format!("{:?}", compilation.report),
        kernel::text::print(&compilation.kernels),
        Host.intermediate(&compilation.kernels).unwrap(),
    ]
}

#[test]
fn every_stage_is_the_same_twice() {
    for (name, model, inputs) in cases() {
        assert_eq!(stages(&model, &inputs), stages(&model, &inputs), "{name}");
    }
}

#[test]
fn workers_do_not_change_bits() {
    for (name, model, inputs) in cases() {
        let trained = |threads: usize| {
            let mut step = model.clone().jit_with_threads(threads).unwrap();
            let mut state = State::new(5);
            let losses: Vec<HostTensor> =
                (0..4).map(|_| step.step(&mut state, &inputs).unwrap().get("loss").unwrap().clone()).collect();
            assert!(losses[0] != losses[3], "{name}: nothing is trained");
            (losses, state.parameters())
        };
        let one = trained(1);
        assert!(one.0.iter().all(|loss| loss.to_f64()[0].is_finite()), "{name}: the loss is not finite");
        assert!(one == trained(2), "{name}: two workers");
        assert!(one == trained(3), "{name}: three workers");
        assert!(one == trained(1), "{name}: once more");
    }
}
