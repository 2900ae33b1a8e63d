//! Memory of compiled steps and the calls into them: where generated code meets Rust.
//!
//! Expects: code from [`super::cranelift`] for the program it is with.
//! Guarantees: [`JitStep`] refuses blocks that are smaller than the program needs, and other arguments than it has; all
//! `unsafe` of this crate is here.
//! Leaves out: which bytes of a block belong to which tensor (`kernel::ir::Buffer::place`).

use super::backend::{Argument, CompiledStep};
use crate::kernel::ir::{BufferRole, Program};
use bpc_runtime::pool::Context;
use cranelift_jit::JITModule;
use cranelift_module::FuncId;

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Bytes that begin at a multiple of 64, zero at first.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    bytes: usize,
}

/// What tensors consist of: any bits are a value.
///
/// # Safety
/// The type has no padding, every bit pattern is valid, and its alignment divides 64.
pub unsafe trait Element: Copy {}
// SAFETY: plain numbers.
unsafe impl Element for f32 {}
// SAFETY: plain numbers.
unsafe impl Element for f64 {}
// SAFETY: plain numbers.
unsafe impl Element for i32 {}
// SAFETY: plain numbers.
unsafe impl Element for i64 {}
// SAFETY: plain numbers.
unsafe impl Element for u32 {}
// SAFETY: plain numbers.
unsafe impl Element for u8 {}

impl AlignedBytes {
    /// This many zeros.
    pub fn zeros(bytes: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line([0; 64]); bytes.div_ceil(64)], bytes }
    }

    /// The same, or `None` where the machine does not have as much memory.
    pub fn try_zeros(bytes: u64) -> Option<AlignedBytes> {
        let bytes = usize::try_from(bytes).ok()?;
        let mut lines = Vec::new();
        lines.try_reserve_exact(bytes.div_ceil(64)).ok()?;
        lines.resize(bytes.div_ceil(64), Line([0; 64]));
        Some(AlignedBytes { lines, bytes })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// `count` elements from byte `offset` on.
    ///
    /// # Panics
    /// Where they reach beyond the end or `offset` is not a multiple of their size.
    pub fn elements<E: Element>(&self, offset: usize, count: usize) -> &[E] {
        self.check::<E>(offset, count);
        // SAFETY: `check` holds; any bits are an element.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>().add(offset).cast(), count) }
    }

    /// The same to be written.
    ///
    /// # Panics
    /// As [`AlignedBytes::elements`].
    pub fn elements_mut<E: Element>(&mut self, offset: usize, count: usize) -> &mut [E] {
        self.check::<E>(offset, count);
        // SAFETY: `check` holds; any bits are an element; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>().add(offset).cast(), count) }
    }

    fn check<E: Element>(&self, offset: usize, count: usize) {
        let bytes = count.checked_mul(size_of::<E>()).and_then(|bytes| bytes.checked_add(offset));
        assert!(offset.is_multiple_of(size_of::<E>()), "elements at byte {offset} are not aligned");
        assert!(
            bytes.is_some_and(|end| end <= self.bytes),
            "{count} elements at byte {offset} reach beyond a block of {} bytes",
            self.bytes
        );
    }
}

/// The main function; `arguments` points at the address of each.
type Main =
    unsafe extern "C" fn(context: *const Context, state: *mut u8, workspace: *mut u8, arguments: *const *mut u8);

/// The largest alignment of an element.
const ELEMENT_ALIGNMENT: usize = 8;

/// A compiled program in memory.
pub struct JitStep {
    /// Owns the code; taken when it is dropped.
    module: Option<JITModule>,
    main: Main,
    /// Bytes of each argument, and whether it is an output.
    arguments: Vec<(usize, bool)>,
    state_bytes: usize,
    workspace_bytes: usize,
    scratch_bytes: usize,
}

impl JitStep {
    /// Makes the code of a module, whose main function is `main`, executable.
    pub(super) fn new(
        mut module: JITModule,
        main: FuncId,
        program: &Program,
        scratch_bytes: u64,
    ) -> Result<JitStep, String> {
        module.finalize_definitions().map_err(|error| format!("cannot make code executable: {error}"))?;
        let address = module.get_finalized_function(main);
        // SAFETY: the function has this signature (`cranelift::step`), and its code lives as long as the module.
        let main = unsafe { std::mem::transmute::<*const u8, Main>(address) };
        let arguments = program.arguments().into_iter().map(|id| &program.buffers[id]);
        Ok(JitStep {
            module: Some(module),
            main,
            arguments: arguments
                .map(|buffer| (buffer.ty.bytes() as usize, buffer.role == BufferRole::Output))
                .collect(),
            state_bytes: program.state_bytes as usize,
            workspace_bytes: program.workspace_bytes as usize,
            scratch_bytes: scratch_bytes as usize,
        })
    }
}

impl CompiledStep for JitStep {
    fn context(&self, threads: usize) -> Context {
        Context::new(threads, self.scratch_bytes)
    }

    fn run(
        &self,
        context: &Context,
        state: &mut AlignedBytes,
        workspace: &mut AlignedBytes,
        arguments: &mut [Argument<'_>],
    ) {
        assert!(state.len() >= self.state_bytes, "the state block is smaller than the program needs");
        assert!(workspace.len() >= self.workspace_bytes, "the workspace is smaller than the program needs");
        assert!(
            context.scratch_bytes() >= self.scratch_bytes,
            "the workers' scratch is smaller than the program needs"
        );
        let given = arguments.iter().map(|argument| match argument {
            Argument::Input(bytes) => (bytes.len(), false),
            Argument::Output(bytes) => (bytes.len(), true),
        });
        assert!(given.eq(self.arguments.iter().copied()), "the arguments are not those of the program");
        // Bytes that do not begin where an element may are worked on in a copy.
        let mut copies: Vec<(usize, AlignedBytes)> = Vec::new();
        let mut addresses: Vec<*mut u8> = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter_mut().enumerate() {
            let (address, length) = match argument {
                Argument::Input(bytes) => (bytes.as_ptr().cast_mut(), bytes.len()),
                Argument::Output(bytes) => (bytes.as_mut_ptr(), bytes.len()),
            };
            if address.addr().is_multiple_of(ELEMENT_ALIGNMENT) || length == 0 {
                addresses.push(address);
                continue;
            }
            let mut copy = AlignedBytes::zeros(length);
            if let Argument::Input(bytes) = argument {
                copy.elements_mut(0, length).copy_from_slice(bytes);
            }
            addresses.push(copy.lines.as_mut_ptr().cast());
            copies.push((index, copy));
        }
        let (state, workspace) = (state.lines.as_mut_ptr().cast(), workspace.lines.as_mut_ptr().cast());
        // SAFETY: the code touches nothing but these blocks and arguments, whose sizes were compared, at the places of the
        // plan; it writes no argument that is data (`kernel::verify`).
        unsafe {
            (self.main)(context, state, workspace, addresses.as_ptr());
        }
        for (index, copy) in &copies {
            if let Argument::Output(bytes) = &mut arguments[*index] {
                bytes.copy_from_slice(copy.elements(0, bytes.len()));
            }
        }
    }
}

impl Drop for JitStep {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: nothing runs the code: whoever runs it borrows this step.
            unsafe { module.free_memory() };
        }
    }
}
