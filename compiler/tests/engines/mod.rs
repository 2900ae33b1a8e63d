//! Programs run as machine code, for the tests that compare engines.

use bpc::codegen::Host;
use bpc::codegen::backend::{Argument, Backend, CompiledStep};
use bpc::codegen::memory::AlignedBytes;
use bpc::kernel::evaluate::Blocks;
use bpc::kernel::ir::{BufferRole, Program};

/// The blocks after one step of machine code, which one, two and three threads leave with the same bits.
pub fn run_code(program: &Program, blocks: &Blocks) -> Blocks {
    let step = Host.compile(program).expect("compiles");
    let mut found = Vec::new();
    for threads in [1, 2, 3] {
        let mut state = AlignedBytes::zeros(blocks.state.len());
        let mut workspace = AlignedBytes::zeros(blocks.workspace.len());
        state.elements_mut(0, blocks.state.len()).copy_from_slice(&blocks.state);
        workspace.elements_mut(0, blocks.workspace.len()).copy_from_slice(&blocks.workspace);
        let mut given = blocks.arguments.clone();
        let roles = program.arguments().into_iter().map(|id| program.buffers[id].role);
        let arguments = given.iter_mut().zip(roles).map(|(bytes, role)| match role {
            BufferRole::Output => Argument::Output(bytes),
            _ => Argument::Input(bytes),
        });
        step.run(&step.context(threads), &mut state, &mut workspace, &mut arguments.collect::<Vec<_>>());
        found.push(Blocks {
            arguments: given,
            state: state.elements(0, blocks.state.len()).to_vec(),
            workspace: workspace.elements(0, blocks.workspace.len()).to_vec(),
        });
    }
    assert!(found[0] == found[1] && found[0] == found[2], "threads change the result");
    found.swap_remove(0)
}
