//! Packed bits in memory: bit i % 8 of byte i / 8.
//!
//! Expects: addresses of packed buffers, whose bits begin with their first byte.
//! Guarantees: a write keeps the other bits of its byte; bits that are written or read together lie in one byte.
//! Leaves out: where bits lie (`kernel::pack`).

use super::emitter::Emitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

impl Emitter<'_, '_> {
    /// The byte that holds a bit, of which it is the one of number index % 8.
    fn byte_of(&mut self, base: Value, index: Value) -> Value {
        let byte = self.builder.ins().ushr_imm_u(index, 3);
        self.builder.ins().iadd(base, byte)
    }

    /// One bit as 0 or 1; where the condition does not hold, `otherwise`.
    pub(super) fn load_bit(&mut self, base: Value, index: Value, condition: Option<(Value, Value)>) -> Value {
        let mut index = index;
        if let Some((holds, _)) = condition {
            // There is a first bit.
            let zero = self.integer(0);
            index = self.builder.ins().select(holds, index, zero);
        }
        let address = self.byte_of(base, index);
        let byte = self.load(types::I8, address, 0);
        // The processor takes the amount of a shift modulo the width.
        let shifted = self.builder.ins().ushr(byte, index);
        let bit = self.builder.ins().band_imm_u(shifted, 1);
        match condition {
            Some((holds, otherwise)) => self.builder.ins().select(holds, bit, otherwise),
            None => bit,
        }
    }

    /// As many bits from one on as a vector has lanes, as a mask; the index is a multiple of their number.
    pub(super) fn load_bits(&mut self, base: Value, index: Value, lanes: u32) -> Value {
        let address = self.byte_of(base, index);
        let byte = self.load(types::I8, address, 0);
        let shifted = self.builder.ins().ushr(byte, index);
        let lane = if lanes == 2 { types::I64 } else { types::I32 };
        let wide = self.builder.ins().uextend(lane, shifted);
        let ty = lane.by(lanes).expect("bug in bpc: a vector of unknown width");
        let all = self.builder.ins().splat(ty, wide);
        let masks: Vec<u8> =
            (0..lanes).flat_map(|bit| (1u64 << bit).to_le_bytes()[..lane.bytes() as usize].to_vec()).collect();
        let masks = self.builder.func.dfg.constants.insert(masks.into());
        let masks = self.builder.ins().vconst(ty, masks);
        let own = self.builder.ins().band(all, masks);
        self.builder.ins().icmp(IntCC::Equal, own, masks)
    }

    /// Writes one bit, 0 or 1.
    pub(super) fn store_bit(&mut self, bit: Value, base: Value, index: Value) {
        self.replace_bits(bit, 1, base, index);
    }

    /// Writes the lanes of a mask from a bit on; the index is a multiple of their number.
    pub(super) fn store_bits(&mut self, mask: Value, base: Value, index: Value, lanes: u32) {
        let bits = self.builder.ins().vhigh_bits(types::I32, mask);
        let bits = self.builder.ins().ireduce(types::I8, bits);
        self.replace_bits(bits, lanes, base, index);
    }

    fn replace_bits(&mut self, bits: Value, count: u32, base: Value, index: Value) {
        let address = self.byte_of(base, index);
        let before = self.load(types::I8, address, 0);
        let ones = self.builder.ins().iconst(types::I8, (1 << count) - 1);
        let place = self.builder.ins().ishl(ones, index);
        let bits = self.builder.ins().ishl(bits, index);
        let kept = self.builder.ins().band_not(before, place);
        let after = self.builder.ins().bor(kept, bits);
        self.store(after, address, 0);
    }
}
