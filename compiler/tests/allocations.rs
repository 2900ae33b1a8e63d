//! What a compiled step takes from the system while it runs: nothing. What `Step::step` takes: names and lists.
//!
//! Expects: nothing else that runs in this process, so that all is in one test.
//! Guarantees: from the second run on, a step allocates nothing on any thread, whatever routines it calls; `Step::step`
//! takes no memory for tensors where its caller has dropped the last results.
//! Leaves out: more arguments than the list on the stack holds, and the first run.

use bpc::codegen::Host;
use bpc::codegen::backend::{Argument, Backend, CompiledStep};
use bpc::codegen::memory::AlignedBytes;
use bpc::ir::types::Dtype;
use bpc::kernel::ir::{BufferRole, Place, Program, Step};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

/// Counts while [`COUNTED`] is set.
struct Counting;

static COUNTED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    if COUNTED.load(Ordering::SeqCst) {
        CALLS.fetch_add(usize::from(bytes > 0), Ordering::SeqCst);
        let live = LIVE.fetch_add(bytes, Ordering::SeqCst) + bytes;
        MOST.fetch_max(live, Ordering::SeqCst);
    }
}

// SAFETY: the system's allocator does the work; counting allocates nothing. `realloc` and `alloc_zeroed` come by here too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one run, the most bytes at a time, and what is left of them.
struct Taken {
    calls: usize,
    most: isize,
    left: isize,
}

/// The second run of a program on so many threads.
fn second_run(program: &Program, threads: usize) -> Taken {
    let step = Host.compile(program).expect("compiles");
    let context = step.context(threads);
    let mut state = AlignedBytes::zeros(program.state_bytes as usize);
    let mut workspace = AlignedBytes::zeros(program.workspace_bytes as usize);
    let given = program.arguments();
    let mut tensors: Vec<AlignedBytes> =
        given.iter().map(|buffer| AlignedBytes::zeros(program.buffers[*buffer].ty.bytes() as usize)).collect();
    for (seed, buffer) in program.buffers.values().enumerate() {
        let (block, offset) = match (buffer.role, buffer.place) {
            (BufferRole::Parameter, Place::State(offset)) => (&mut state, offset),
            (BufferRole::Data, Place::Argument(number)) => (&mut tensors[number as usize], 0),
            _ => continue,
        };
        if buffer.ty.dtype == Dtype::F32 {
            let numbers = block.elements_mut::<f32>(offset as usize, buffer.ty.elements() as usize);
            for (place, number) in numbers.iter_mut().enumerate() {
                *number = ((place * 37 + seed * 11) % 64) as f32 / 32.0 - 1.0;
            }
        }
    }
    let mut arguments: Vec<Argument<'_>> = given
        .iter()
        .zip(&mut tensors)
        .map(|(buffer, tensor)| {
            let bytes = tensor.elements_mut(0, tensor.len());
            match program.buffers[*buffer].role {
                BufferRole::Data => Argument::Input(bytes),
                _ => Argument::Output(bytes),
            }
        })
        .collect();
    // A thread that starts allocates, and frees what it was started with: so each takes one turn, and waits for the others.
    let all = Barrier::new(threads);
    context.parallel(threads as u64, 1, &|_, _, _| {
        all.wait();
    });
    step.run(&context, &mut state, &mut workspace, &mut arguments);
    taken(|| step.run(&context, &mut state, &mut workspace, &mut arguments))
}

/// What this takes.
fn taken(run: impl FnOnce()) -> Taken {
    CALLS.store(0, Ordering::SeqCst);
    LIVE.store(0, Ordering::SeqCst);
    MOST.store(0, Ordering::SeqCst);
    COUNTED.store(true, Ordering::SeqCst);
    run();
    COUNTED.store(false, Ordering::SeqCst);
    Taken { calls: CALLS.load(Ordering::SeqCst), most: MOST.load(Ordering::SeqCst), left: LIVE.load(Ordering::SeqCst) }
}

/// A step by the Rust interface, whose input, parameter and output have 16 KiB each.
fn step_of_the_interface() -> Taken {
    let text = "use std.optim { sgd }
model wide {
    in x: f32[4096]
    param w: f32[4096] ~ ones
    out y = w * x
    minimize sum(square(w * x)) using sgd(lr = 1e-3)
}";
    let model = bpc::compile_text("wide", text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let mut step = model.jit().unwrap_or_else(|error| panic!("{error}"));
    let mut state = bpc::State::new(0);
    let inputs = bpc::Tensors::new().with_slice("x", &[4096], &[0.5f32; 4096]).expect("a tensor");
    let mut run = || drop(step.step(&mut state, &inputs).unwrap_or_else(|error| panic!("{error}")));
    run();
    run();
    taken(run)
}

/// Each with the routines that it must call, so that the test holds what it is meant to hold.
const MODELS: &[(&str, &[&str], &str)] = &[
    (
        "mlp",
        &[],
        "use std.nn { dense, relu, cross_entropy }
use std.optim { adam }
model mlp {
    in x: f32[ROWS, WIDTH]
    in label: i32[ROWS]
    let hidden = relu(dense(x, WIDTH))
    let logits = dense(hidden, 4)
    minimize cross_entropy(logits, label) using adam(lr = 0.01)
}",
    ),
    (
        "conv",
        &[],
        "use std.nn { conv2d, dense, relu, max_pool2d, flatten, cross_entropy }
use std.optim { sgd }
model conv {
    in image: f32[ROWS, 1, 4, 4]
    in label: i32[ROWS]
    let first = max_pool2d(relu(conv2d(image, 2, kernel = 3, padding = 1)), size = 2)
    let logits = dense(flatten(first), WIDTH)
    minimize cross_entropy(logits, label) using sgd(lr = 0.01)
}",
    ),
    (
        "moe",
        &["counting_sort", "segment_matmul", "segment_outer"],
        "use std.moe { moe, route }
use std.rules.sparsemixer
use std.optim { sgd }
model mixture {
    in x: f32[ROWS, WIDTH]
    grad { route => switch(noise = 0) }
    let (y, _balance, _load) = moe(x, experts = 3, hidden = WIDTH)
    minimize sum(y * y) using sgd(lr = 1e-3)
}",
    ),
    (
        "wht",
        &["block_wht"],
        "use std.nn { linear }
use std.rules.wht
model slow {
    in x: f32[1, 16, WIDTH]
    in weight: f32[WIDTH, WIDTH]
    in gy: f32[1, 16, WIDTH]
    let y = linear(x, weight) via wht(k = 2)
    out grad_x = grad(sum(y * gy), x)
    out grad_weight = grad(sum(y * gy), weight)
}",
    ),
    (
        "bits",
        &["bit_count"],
        "use std.boolean { boolean, boolean_dense, boolean_logits }
use std.nn { cross_entropy }
model bits {
    in image: f32[ROWS, WIDTH]
    in label: i32[ROWS]
    let hidden = boolean_dense(concat([image >= 0, image >= 0.5]), 70)
    let logits = boolean_logits(hidden, 10)
    minimize cross_entropy(logits, label) using boolean(eta = 15)
}",
    ),
];

/// Names of the library operations of a program.
fn calls<'p>(steps: &'p [Step], found: &mut Vec<&'p str>) {
    for step in steps {
        match step {
            Step::Call(call) => found.push(call.op.name()),
            Step::Repeat(repeat) => calls(&repeat.steps, found),
            _ => {}
        }
    }
}

#[test]
fn a_step_takes_nothing() {
    let of_interface = step_of_the_interface();
    assert!(of_interface.most < 4096, "{} bytes at a time are more than names and lists", of_interface.most);
    assert_eq!(of_interface.left, 0);
    for (name, wanted, text) in MODELS {
        // Products of at most 4096 multiplications, and larger ones.
        for (rows, width) in [(8, 8), (96, 72)] {
            let text = text.replace("ROWS", &rows.to_string()).replace("WIDTH", &width.to_string());
            let model = bpc::compile_text(name, &text, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
            let compilation = model.compile(&BTreeMap::new(), true).unwrap_or_else(|error| panic!("{error}"));
            let program = &compilation.kernels;
            let mut found = Vec::new();
            calls(&program.steps, &mut found);
            assert!(wanted.iter().all(|op| found.contains(op)), "{name} calls {found:?}");
            for threads in [1, 2, 3] {
                let taken = second_run(program, threads);
                let what = format!("{name}, {rows} rows, {threads} threads");
                assert_eq!(taken.calls, 0, "{what}: up to {} bytes", taken.most);
                assert_eq!(taken.left, 0, "{what}");
            }
        }
    }
}
