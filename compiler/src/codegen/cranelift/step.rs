//! The main function `step(context, state, workspace, arguments)`: everything a step does, in order.
//!
//! Expects: the kernels of all nests and marches, in the order in which the program names them.
//! Guarantees: whether workers share a kernel depends on the program alone; nothing is allocated.
//! Leaves out: what a kernel does (`kernel`).

use super::emitter::Emitter;
use super::kernel::{Iterations, Kernel};
use crate::kernel::ir::{AffineMap, BufferId, Call, Product, ProductOperand, Program, Repeat, Step};
use crate::kernel::library::{self, ProductRoutine, Routine};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, StackSlot, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Module};
use std::mem::offset_of;

use bpc_runtime::product::ProductShape;

/// Less work than this is not worth waking a worker.
const SHARED_NANOSECONDS: f64 = 20_000.0;

/// About how long a worker is busy before it asks for more.
const GRAIN_NANOSECONDS: f64 = 10_000.0;

/// What stands in the frame before the turns of repeats.
pub(super) const FRAME_HEAD: i32 = 2;

/// Whether workers share a kernel.
pub(super) fn is_shared(iterations: &Iterations) -> bool {
    iterations.nanoseconds >= SHARED_NANOSECONDS && iterations.count > 1
}

/// The signature of the main function.
pub(super) fn signature(convention: CallConv) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.resize(4, AbiParam::new(types::I64));
    signature
}

struct Main<'a, 'b> {
    emitter: Emitter<'a, 'b>,
    context: Value,
    /// What kernels get: the addresses of the state and of the arguments' addresses, and the turns of the repeats around.
    frame: StackSlot,
    kernels: std::slice::Iter<'a, FuncId>,
}

/// Emits the main function.
pub(super) fn emit(mut builder: FunctionBuilder<'_>, module: &mut dyn Module, program: &Program, kernels: &[FuncId]) {
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let [context, state, workspace, arguments] = builder.block_params(entry)[..] else {
        panic!("bug in bpc: the main function has four parameters");
    };
    let mut emitter = Emitter::new(builder, module, program, [state, arguments, workspace], None);
    let frame = emitter.new_slot(8 * (FRAME_HEAD as u32 + depth(&program.steps) as u32));
    emitter.builder.ins().stack_store(types::I64, state, frame, 0);
    emitter.builder.ins().stack_store(types::I64, arguments, frame, 8);
    let mut main = Main { emitter, context, frame, kernels: kernels.iter() };
    main.steps(&program.steps, 0);
    main.emitter.finish();
}

/// How deep repeats stand in each other.
fn depth(steps: &[Step]) -> usize {
    let depths = steps.iter().map(|step| match step {
        Step::Repeat(repeat) => 1 + depth(&repeat.steps),
        _ => 0,
    });
    depths.max().unwrap_or(0)
}

impl Main<'_, '_> {
    fn steps(&mut self, steps: &[Step], depth: usize) {
        for step in steps {
            match step {
                Step::Nest(nest) => self.kernel(&Kernel::Nest(nest).iterations()),
                Step::March(march) => self.kernel(&Kernel::March(march).iterations()),
                Step::Product(product) => self.product(product),
                Step::Call(call) => self.call(call),
                Step::Repeat(repeat) => self.repeat(repeat, depth),
            }
        }
    }

    /// Runs the next kernel.
    fn kernel(&mut self, iterations: &Iterations) {
        let kernel = *self.kernels.next().expect("bug in bpc: a step without kernel");
        if iterations.count == 0 {
            return;
        }
        let emitter = &mut self.emitter;
        let kernel = emitter.module.declare_func_in_func(kernel, emitter.builder.func);
        let frame = emitter.builder.ins().stack_addr(types::I64, self.frame, 0);
        let workspace = emitter.workspace;
        let count = emitter.integer(iterations.count as i64);
        if !is_shared(iterations) {
            let scratch = emitter.call_runtime("bpc_scratch", &[self.context]);
            let scratch = scratch.expect("bug in bpc: bpc_scratch gives an address");
            let zero = emitter.integer(0);
            emitter.builder.ins().call(kernel, &[frame, workspace, scratch, zero, count]);
        } else {
            let each = iterations.nanoseconds / iterations.count as f64;
            let grain = emitter.integer(((GRAIN_NANOSECONDS / each) as i64).max(1));
            let kernel = emitter.builder.ins().func_addr(types::I64, kernel);
            emitter.call_runtime("bpc_parallel", &[self.context, kernel, frame, workspace, count, grain]);
        }
    }

    fn product(&mut self, product: &Product) {
        let operands = [&product.a, &product.b, &product.c];
        let dtype = self.emitter.program.buffers[product.c.buffer].ty.dtype;
        let ProductRoutine { symbol, shape: sizes, loops, strides, .. } = library::product_routine(product, dtype);
        let shape = self.emitter.slot("product", size_of::<ProductShape>() as u32);
        let fields = [
            (offset_of!(ProductShape, m), sizes.m as i64),
            (offset_of!(ProductShape, n), sizes.n as i64),
            (offset_of!(ProductShape, k), sizes.k as i64),
            (offset_of!(ProductShape, a_row), sizes.a_row),
            (offset_of!(ProductShape, a_column), sizes.a_column),
            (offset_of!(ProductShape, b_row), sizes.b_row),
            (offset_of!(ProductShape, b_column), sizes.b_column),
            (offset_of!(ProductShape, c_row), sizes.c_row),
            (offset_of!(ProductShape, c_column), sizes.c_column),
            (offset_of!(ProductShape, batch), sizes.batch as i64),
            (offset_of!(ProductShape, a_batch), sizes.a_batch),
            (offset_of!(ProductShape, b_batch), sizes.b_batch),
            (offset_of!(ProductShape, c_batch), sizes.c_batch),
        ];
        for (offset, value) in fields {
            let value = self.emitter.integer(value);
            self.emitter.store(value, shape, offset as i32);
        }
        let context = self.context;
        self.emitter.loop_nest(&loops, &mut |emitter, batch| {
            let mut arguments = vec![context, shape];
            for (operand, strides) in operands.iter().zip(&strides) {
                arguments.push(matrix(emitter, operand, strides, batch));
            }
            emitter.call_runtime(symbol, &arguments);
        });
    }

    fn call(&mut self, call: &Call) {
        let Routine { symbol, sizes, .. } = call.routine(self.emitter.program);
        let emitter = &mut self.emitter;
        let bytes = 8 * (sizes.len() + call.operands.len() + 2) as u32;
        let arguments = emitter.slot("call", bytes);
        for (place, size) in sizes.iter().enumerate() {
            let size = emitter.integer(*size as i64);
            emitter.store(size, arguments, 8 * place as i32);
        }
        let pointers = 8 * sizes.len() as i64;
        let buffers = call.operands.iter().map(|(buffer, _)| *buffer).chain([call.result]);
        for (place, buffer) in buffers.map(Some).chain([call.memory]).enumerate() {
            let base = match buffer {
                Some(buffer) => emitter.base(buffer),
                None => emitter.integer(0),
            };
            emitter.store(base, arguments, pointers as i32 + 8 * place as i32);
        }
        let pointers = emitter.plus(arguments, pointers);
        emitter.call_runtime(symbol, &[self.context, arguments, pointers]);
    }

    fn repeat(&mut self, repeat: &Repeat, depth: usize) {
        for (first, carry) in &repeat.initial {
            self.copy(*first, *carry);
        }
        let (first, length) = (self.emitter.integer(0), self.emitter.integer(repeat.length as i64));
        let emitter = &mut self.emitter;
        let (body, after, index) = emitter.begin_loop(first, length);
        let mut turn = index;
        if repeat.reverse {
            let last = emitter.plus(length, -1);
            turn = emitter.builder.ins().isub(last, index);
        }
        emitter.builder.ins().stack_store(types::I64, turn, self.frame, 8 * (depth as i32 + FRAME_HEAD));
        emitter.enter(repeat, turn);
        self.steps(&repeat.steps, depth + 1);
        for (next, carry) in &repeat.advance {
            self.copy(*next, *carry);
        }
        self.emitter.end_loop(index, length, 1, body, after);
    }

    /// Copies a whole buffer.
    fn copy(&mut self, from: BufferId, to: BufferId) {
        let bytes = self.emitter.program.buffers[to].ty.bytes();
        let (from, to) = (self.emitter.base(from), self.emitter.base(to));
        if bytes <= 64 {
            let mut offset = 0;
            for ty in [types::I64X2, types::I64, types::I32, types::I8] {
                while bytes - offset >= u64::from(ty.bytes()) {
                    let part = self.emitter.load(ty, from, offset as i32);
                    self.emitter.store(part, to, offset as i32);
                    offset += u64::from(ty.bytes());
                }
            }
            return;
        }
        let bytes = self.emitter.integer(bytes as i64);
        let config = self.emitter.module.target_config();
        self.emitter.builder.call_memcpy(config, to, from, bytes);
    }
}

/// The address of one matrix of a batch.
fn matrix(emitter: &mut Emitter<'_, '_>, operand: &ProductOperand, strides: &[i64], batch: &[Value]) -> Value {
    let map = AffineMap { offset: operand.offset, strides: strides.to_vec() };
    emitter.address(operand.buffer, &map, batch, None)
}

/// The kernels of a program in order, each with the repeats around it.
pub(super) fn kernels(program: &Program) -> Vec<(Kernel<'_>, Vec<&Repeat>)> {
    fn walk<'a>(steps: &'a [Step], repeats: &mut Vec<&'a Repeat>, found: &mut Vec<(Kernel<'a>, Vec<&'a Repeat>)>) {
        for step in steps {
            match step {
                Step::Nest(nest) => found.push((Kernel::Nest(nest), repeats.clone())),
                Step::March(march) => found.push((Kernel::March(march), repeats.clone())),
                Step::Repeat(repeat) => {
                    repeats.push(repeat);
                    walk(&repeat.steps, repeats, found);
                    repeats.pop();
                }
                Step::Product(_) | Step::Call(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&program.steps, &mut Vec::new(), &mut found);
    found
}
