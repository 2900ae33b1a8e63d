//! A compiled program in memory, and the calls into it: where generated code meets Rust.
//!
//! Expects: a module of [`super::module`] for the program it is with.
//! Guarantees: [`JitStep`] refuses blocks that are smaller than the program needs, and other arguments than it has; a run
//! allocates nothing for at most [`INLINE_ADDRESSES`] arguments that begin where an element may.
//! Leaves out: what the code does.

use crate::codegen::backend::{Argument, CompiledStep};
use crate::codegen::memory::AlignedBytes;
use crate::kernel::ir::{BufferRole, Program};
use bpc_runtime::pool::Context;
use cranelift_jit::JITModule;
use cranelift_module::FuncId;
use smallvec::SmallVec;

/// The main function; `arguments` points at the address of each.
type Main =
    unsafe extern "C" fn(context: *const Context, state: *mut u8, workspace: *mut u8, arguments: *const *mut u8);

/// Addresses of more arguments than these are listed on the heap.
const INLINE_ADDRESSES: usize = 32;

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
    fn scratch_bytes(&self) -> usize {
        self.scratch_bytes
    }

    fn run(
        &self,
        context: &Context,
        state: &mut AlignedBytes,
        workspace: &mut AlignedBytes,
        arguments: &mut [Argument<'_>],
    ) {
        assert!(state.len() >= self.state_bytes, "bug in bpc: the state block is smaller than the program needs");
        assert!(workspace.len() >= self.workspace_bytes, "bug in bpc: the workspace is smaller than the program needs");
        assert!(
            context.scratch_bytes() >= self.scratch_bytes,
            "bug in bpc: the workers' scratch is smaller than the program needs"
        );
        let given = arguments.iter().map(|argument| match argument {
            Argument::Input(bytes) => (bytes.len(), false),
            Argument::Output(bytes) => (bytes.len(), true),
        });
        assert!(given.eq(self.arguments.iter().copied()), "bug in bpc: the arguments are not those of the program");
        // Bytes that do not begin where an element may are worked on in a copy.
        let mut copies: Vec<(usize, AlignedBytes)> = Vec::new();
        let mut addresses: SmallVec<[*mut u8; INLINE_ADDRESSES]> = SmallVec::with_capacity(arguments.len());
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
            addresses.push(copy.as_mut_ptr());
            copies.push((index, copy));
        }
        let (state, workspace) = (state.as_mut_ptr(), workspace.as_mut_ptr());
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
