//! What every part of the backend writes code with: one function in the making, its loops, addresses and runtime calls.
//!
//! Expects: buffers that have a place.
//! Guarantees: loops over empty ranges emit nothing that runs; memory accesses never assume alignment.
//! Leaves out: arithmetic (`arithmetic`) and the order of loops (`scalar`, `vector`, `step`).

use super::runtime;
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{AffineMap, BufferId, Place, Program, Repeat};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, Endianness, FuncRef, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Type,
    Value, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{Linkage, Module};
use std::collections::BTreeMap;

/// Accesses that cannot fault, of any alignment.
pub(super) const MEMORY: MemFlagsData = MemFlagsData::new().with_notrap();

/// Reads of what no step writes: they may move.
const UNCHANGING: MemFlagsData = MemFlagsData::trusted().with_readonly().with_can_move();

/// For casts between vectors of different lanes.
pub(super) const BITS: MemFlagsData = MemFlagsData::new().with_endianness(Endianness::Little);

/// A function in the making.
pub(super) struct Emitter<'a, 'b> {
    pub(super) builder: FunctionBuilder<'b>,
    pub(super) module: &'a mut dyn Module,
    pub(super) program: &'a Program,
    /// Address of the state block.
    pub(super) state: Value,
    /// Address of the addresses of the arguments.
    pub(super) arguments: Value,
    /// Address of the workspace.
    pub(super) workspace: Value,
    /// Address of the scratch of this worker; the main function has none.
    pub(super) scratch: Option<Value>,
    /// For every slice buffer of the repeats around: the turn.
    pub(super) turns: BTreeMap<BufferId, Value>,
    runtime: BTreeMap<&'static str, FuncRef>,
    slots: BTreeMap<(&'static str, u32), StackSlot>,
}

impl<'a, 'b> Emitter<'a, 'b> {
    /// Starts a function at its entry block.
    pub(super) fn new(
        builder: FunctionBuilder<'b>,
        module: &'a mut dyn Module,
        program: &'a Program,
        [state, arguments, workspace]: [Value; 3],
        scratch: Option<Value>,
    ) -> Self {
        let (runtime, slots, turns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Emitter { builder, module, program, state, arguments, workspace, scratch, turns, runtime, slots }
    }

    /// Ends the function.
    pub(super) fn finish(mut self) {
        self.builder.ins().return_(&[]);
        self.builder.seal_all_blocks();
        let config = self.module.target_config();
        self.builder.finalize(config);
    }

    /// Says which turn of a repeat this is.
    pub(super) fn enter(&mut self, repeat: &Repeat, turn: Value) {
        let slices =
            repeat.sequences.iter().map(|(_, slice)| slice).chain(repeat.stacks.iter().map(|(slice, _)| slice));
        self.turns.extend(slices.map(|slice| (*slice, turn)));
    }

    /// A 64-bit number.
    pub(super) fn integer(&mut self, value: i64) -> Value {
        self.builder.ins().iconst(types::I64, value)
    }

    /// value + number, without an instruction for 0.
    pub(super) fn plus(&mut self, value: Value, number: i64) -> Value {
        if number == 0 { value } else { self.builder.ins().iadd_imm_s(value, number) }
    }

    /// value * number, without an instruction for 1.
    pub(super) fn times(&mut self, value: Value, number: i64) -> Value {
        match number {
            1 => value,
            _ if number > 1 && number.count_ones() == 1 => {
                self.builder.ins().ishl_imm_u(value, i64::from(number.trailing_zeros()))
            }
            _ => self.builder.ins().imul_imm_s(value, number),
        }
    }

    /// A literal as one element.
    pub(super) fn literal(&mut self, literal: Literal) -> Value {
        match literal.dtype {
            Dtype::F32 => self.builder.ins().f32const(literal.as_f64() as f32),
            Dtype::F64 => self.builder.ins().f64const(literal.as_f64()),
            Dtype::I64 => self.integer(literal.as_i64()),
            Dtype::I32 => self.builder.ins().iconst(types::I32, i64::from(literal.as_i64() as i32 as u32)),
            Dtype::U32 => self.builder.ins().iconst(types::I32, i64::from(literal.as_i64() as u32)),
            Dtype::Bool => self.builder.ins().iconst(types::I8, literal.as_i64()),
        }
    }

    /// The address of the first byte of a buffer.
    pub(super) fn base(&mut self, buffer: BufferId) -> Value {
        match self.program.buffers[buffer].place {
            Place::State(offset) => self.plus(self.state, offset as i64),
            Place::Argument(number) => {
                self.builder.ins().load(types::I64, UNCHANGING, self.arguments, 8 * number as i32)
            }
            Place::Workspace(offset) => self.plus(self.workspace, offset as i64),
            Place::Scratch(offset) => {
                let scratch = self.scratch.expect("bug in bpc: a scratch buffer outside of nests");
                self.plus(scratch, offset as i64)
            }
            Place::Slice(whole) => {
                let whole = self.base(whole);
                let turn = *self.turns.get(&buffer).expect("bug in bpc: a slice outside of its repeat");
                let offset = self.times(turn, self.program.buffers[buffer].ty.bytes() as i64);
                self.builder.ins().iadd(whole, offset)
            }
            Place::Unplanned => panic!("bug in bpc: buffer {buffer} has no place"),
        }
    }

    /// The value of an affine function where `axes` are the loop axes; `skip` counts as zero.
    pub(super) fn affine(&mut self, map: &AffineMap, axes: &[Value], skip: Option<usize>) -> Value {
        let mut sum = None;
        for (axis, (index, stride)) in axes.iter().zip(&map.strides).enumerate() {
            if *stride != 0 && Some(axis) != skip {
                let term = self.times(*index, *stride);
                sum = Some(sum.map_or(term, |sum| self.builder.ins().iadd(sum, term)));
            }
        }
        match sum {
            Some(sum) => self.plus(sum, map.offset),
            None => self.integer(map.offset),
        }
    }

    /// The address of the element of a buffer that a map names; `skip` counts as zero.
    pub(super) fn address(&mut self, buffer: BufferId, map: &AffineMap, axes: &[Value], skip: Option<usize>) -> Value {
        let bytes = self.program.buffers[buffer].ty.dtype.bytes() as i64;
        let strides = map.strides.iter().map(|stride| stride * bytes).collect();
        let base = self.base(buffer);
        let offset = self.affine(&AffineMap { offset: 0, strides }, axes, skip);
        // The constant comes last, so that elements of one row share all that comes before.
        let row = self.builder.ins().iadd(base, offset);
        self.plus(row, map.offset * bytes)
    }

    /// `body` for every index from `low` up to `high` (not included) in strides of `stride`.
    pub(super) fn loop_range(&mut self, low: Value, high: Value, stride: i64, body: impl FnOnce(&mut Self, Value)) {
        let (inside, after, index) = self.begin_loop(low, high);
        body(self, index);
        self.end_loop(index, high, stride, inside, after);
    }

    /// Begins a loop that ends at [`Emitter::end_loop`]: its block, the block after it, and the index.
    pub(super) fn begin_loop(&mut self, low: Value, high: Value) -> (Block, Block, Value) {
        let (inside, after) = (self.builder.create_block(), self.builder.create_block());
        let index = self.builder.append_block_param(inside, types::I64);
        let enters = self.builder.ins().icmp(IntCC::SignedLessThan, low, high);
        self.builder.ins().brif(enters, inside, &[BlockArg::Value(low)], after, &[]);
        self.builder.switch_to_block(inside);
        (inside, after, index)
    }

    /// Ends a loop.
    pub(super) fn end_loop(&mut self, index: Value, high: Value, stride: i64, inside: Block, after: Block) {
        let next = self.plus(index, stride);
        let again = self.builder.ins().icmp(IntCC::SignedLessThan, next, high);
        self.builder.ins().brif(again, inside, &[BlockArg::Value(next)], after, &[]);
        self.builder.seal_block(inside);
        self.builder.seal_block(after);
        self.builder.switch_to_block(after);
    }

    /// `body` for every place of the axes with these sizes, the last one fastest; `body` is told the indices.
    pub(super) fn loop_nest(&mut self, sizes: &[u64], body: &mut dyn FnMut(&mut Self, &[Value])) {
        if sizes.contains(&0) {
            return;
        }
        self.loop_nest_from(sizes, &mut Vec::new(), body);
    }

    fn loop_nest_from(&mut self, sizes: &[u64], indices: &mut Vec<Value>, body: &mut dyn FnMut(&mut Self, &[Value])) {
        let Some(size) = sizes.get(indices.len()) else {
            return body(self, indices);
        };
        let zero = self.integer(0);
        if *size == 1 {
            indices.push(zero);
            self.loop_nest_from(sizes, indices, body);
            indices.pop();
            return;
        }
        let size = self.integer(*size as i64);
        self.loop_range(zero, size, 1, |this, index| {
            indices.push(index);
            this.loop_nest_from(sizes, indices, body);
            indices.pop();
        });
    }

    /// Calls a routine of the runtime.
    pub(super) fn call_runtime(&mut self, name: &'static str, arguments: &[Value]) -> Option<Value> {
        let routine = match self.runtime.get(name) {
            Some(routine) => *routine,
            None => {
                let signature = runtime::signature(name, self.module.isa().default_call_conv());
                let id = self
                    .module
                    .declare_function(name, Linkage::Import, &signature)
                    .expect("bug in bpc: a runtime routine with two signatures");
                let routine = self.module.declare_func_in_func(id, self.builder.func);
                self.runtime.insert(name, routine);
                routine
            }
        };
        let call = self.builder.ins().call(routine, arguments);
        self.builder.inst_results(call).first().copied()
    }

    /// The address of a piece of stack of so many bytes, the same for every use of this purpose in this function.
    pub(super) fn slot(&mut self, purpose: &'static str, bytes: u32) -> Value {
        let slot = match self.slots.get(&(purpose, bytes)) {
            Some(slot) => *slot,
            None => self.new_slot(bytes),
        };
        self.slots.insert((purpose, bytes), slot);
        self.builder.ins().stack_addr(types::I64, slot, 0)
    }

    /// A piece of stack.
    pub(super) fn new_slot(&mut self, bytes: u32) -> StackSlot {
        self.builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4))
    }

    /// Reads one value of this type.
    pub(super) fn load(&mut self, ty: Type, address: Value, offset: i32) -> Value {
        self.builder.ins().load(ty, MEMORY, address, offset)
    }

    /// Writes a value.
    pub(super) fn store(&mut self, value: Value, address: Value, offset: i32) {
        self.builder.ins().store(MEMORY, value, address, offset);
    }
}

/// The type of one element.
pub(super) fn element_type(dtype: Dtype) -> Type {
    match dtype {
        Dtype::F32 => types::F32,
        Dtype::F64 => types::F64,
        Dtype::I32 | Dtype::U32 => types::I32,
        Dtype::I64 => types::I64,
        Dtype::Bool => types::I8,
    }
}
