//! A model that runs: one compiled function for each mode and set of shapes.
//!
//! Expects: a checked model.
//! Guarantees: a step either runs whole or not at all; inputs are checked by name, shape and dtype before it. Tensors are read and
//! written where they are; the memory of results that the caller has dropped is used again.
//! Leaves out: loops over data.

use super::error::Error;
use super::model::Model;
use super::state::{State, tensor_type};
use super::values::Tensors;
use crate::codegen::Host;
use crate::codegen::backend::{Argument, Backend, CompiledStep};
use crate::codegen::memory::AlignedBytes;
use crate::ir::types::TensorType;
use crate::kernel::ir::{BufferRole, Place, Program};
use crate::lower::Warning;
use crate::pipeline::Compilation;
use bpc_runtime::pool::Context;
use bpc_runtime::tensor::HostTensor;
use std::collections::BTreeMap;

/// What a step does with the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Updates them; `training` is true in the program.
    Train,
    /// Leaves them alone; `training` is false.
    Evaluate,
}

/// A handle of a compiled model.
///
/// ```
/// use ndarray::{array, Array2};
/// let program = "
/// use std.nn { dense, mse }
/// use std.optim { sgd }
/// model line {
///     in x: f32[B, 1]
///     in y: f32[B, 1]
///     let fit = dense(x, 1)
///     minimize mse(fit, y) using sgd(lr = 0.1)
/// }";
/// let mut step = bpc::compile_text("line.bp", program, &mut |_| None)?.jit()?;
/// let mut state = bpc::State::new(0);
/// let x: Array2<f32> = array![[0.0], [1.0], [2.0]];
/// let y = x.mapv(|x| 3.0 * x - 1.0);
/// let batch = bpc::Tensors::new().with("x", x.view()).with("y", y.view());
/// for _ in 0..400 {
///     step.step(&mut state, &batch)?;
/// }
/// let slope = state.parameters().scalar("fit.weight")?;
/// assert!((slope - 3.0).abs() < 1e-2);
/// # Ok::<(), bpc::Error>(())
/// ```
pub struct Step {
    model: Model,
    threads: usize,
    context: Context,
    specialisations: BTreeMap<(Mode, Vec<(String, TensorType)>), Specialisation>,
    warned: Vec<Warning>,
}

struct Specialisation {
    compilation: Compilation,
    code: <Host as Backend>::Step,
    workspace: AlignedBytes,
    /// In the order in which the program numbers them.
    arguments: Vec<ArgumentType>,
    /// What the last step gave, in the order of the arguments.
    outputs: Vec<HostTensor>,
    /// Names, offsets in the workspace, and how many numbers follow the condition; a condition alone is a byte.
    warnings: Vec<(String, usize, Option<usize>)>,
}

struct ArgumentType {
    name: String,
    ty: TensorType,
    is_output: bool,
}

impl Step {
    pub(super) fn new(model: Model, threads: usize) -> Result<Step, Error> {
        model.signature()?;
        Ok(Step {
            model,
            threads,
            context: Context::new(threads, 0),
            specialisations: BTreeMap::new(),
            warned: Vec::new(),
        })
    }

    /// One training step: gives the losses and the `out` lines, and updates the state.
    ///
    /// # Errors
    /// An input that is missing, unknown or of another type; diagnostics where the model does not compile for these shapes.
    pub fn step(&mut self, state: &mut State, inputs: &Tensors) -> Result<Tensors, Error> {
        self.run(Mode::Train, state, inputs)
    }

    /// The losses and `out` lines with the parameters as they are.
    ///
    /// # Errors
    /// As [`Step::step`].
    pub fn evaluate(&mut self, state: &mut State, inputs: &Tensors) -> Result<Tensors, Error> {
        self.run(Mode::Evaluate, state, inputs)
    }

    /// Generates the code for these inputs if there is none yet; gives all stages of its compilation.
    ///
    /// # Errors
    /// Diagnostics where the model does not compile for these shapes.
    pub fn prepare(&mut self, mode: Mode, inputs: &Tensors) -> Result<&Compilation, Error> {
        Ok(&self.specialisation(mode, inputs)?.compilation)
    }

    /// The `warn` lines whose condition held in the last step or evaluation.
    pub fn warnings(&self) -> &[Warning] {
        &self.warned
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn run(&mut self, mode: Mode, state: &mut State, inputs: &Tensors) -> Result<Tensors, Error> {
        self.specialisation(mode, inputs)?;
        let key = (mode, types_of(inputs));
        let Some(special) = self.specialisations.get_mut(&key) else {
            unreachable!("bug in bpc: the specialisation was just made")
        };
        if !state.fits(&special.compilation) {
            let types = key.1.iter().cloned().collect();
            self.model.prepare(state, &special.compilation, &types, mode == Mode::Train, self.threads)?;
        }
        let is_output = |argument: &&ArgumentType| argument.is_output;
        let mut last = std::mem::take(&mut special.outputs).into_iter();
        for ArgumentType { ty, .. } in special.arguments.iter().filter(is_output) {
            let output = match last.next() {
                Some(tensor) if !tensor.is_shared() => tensor,
                _ => HostTensor::zeros(ty.dtype, ty.shape.clone())?,
            };
            special.outputs.push(output);
        }
        let mut outputs = special.outputs.iter_mut();
        let mut arguments = Vec::new();
        for ArgumentType { name, ty, is_output } in &special.arguments {
            if *is_output {
                let output = outputs.next().expect("bug in bpc: an output without memory");
                arguments.push(Argument::Output(output.bytes_mut()));
                continue;
            }
            let given = inputs.get(name).ok_or_else(|| Error::Call(format!("the input `{name}` ({ty}) is missing")))?;
            if given.shape() != ty.shape || given.dtype() != ty.dtype {
                return Err(Error::Call(format!("the input `{name}` is {} and should be {ty}", given.type_text())));
            }
            arguments.push(Argument::Input(given.bytes()));
        }
        special.code.run(&self.context, &mut state.block, &mut special.workspace, &mut arguments);
        self.warned.clear();
        for (name, offset, numbers) in &special.warnings {
            let (holds, at) = match numbers {
                Some(count) => {
                    let all = special.workspace.elements::<i32>(*offset, 1 + count);
                    (all[0] != 0, format!(", at {:?}", &all[1..]))
                }
                None => (special.workspace.elements::<u8>(*offset, 1)[0] != 0, String::new()),
            };
            let known = special.compilation.lowered.warnings.iter();
            let said = known.filter(|warning| holds && warning.name == *name).cloned();
            self.warned.extend(said.map(|warning| Warning { message: warning.message + &at, ..warning }));
        }
        let names = special.arguments.iter().filter(is_output).map(|argument| argument.name.clone());
        Ok(names.zip(special.outputs.iter().cloned()).collect())
    }

    fn specialisation(&mut self, mode: Mode, inputs: &Tensors) -> Result<&Specialisation, Error> {
        let key = (mode, types_of(inputs));
        if !self.specialisations.contains_key(&key) {
            self.model.check_names(inputs)?;
            let compilation = self.model.compile(&key.1.iter().cloned().collect(), mode == Mode::Train)?;
            let code = compiled(&compilation.kernels)?;
            if self.context.scratch_bytes() < code.scratch_bytes() {
                self.context = code.context(self.threads);
            }
            let workspace = memory("workspace of a step", compilation.kernels.workspace_bytes)?;
            let buffers = &compilation.kernels.buffers;
            let arguments = compilation.kernels.arguments().into_iter().map(|id| ArgumentType {
                name: buffers[id].name.clone(),
                ty: buffers[id].ty.clone(),
                is_output: buffers[id].role == BufferRole::Output,
            });
            let warnings = buffers.values().filter_map(|buffer| match (buffer.role, buffer.place) {
                (BufferRole::Warning, Place::Workspace(offset)) => {
                    let numbers = buffer.ty.shape.first().map(|count| *count as usize - 1);
                    Some((buffer.name.clone(), offset as usize, numbers))
                }
                _ => None,
            });
            let (arguments, warnings) = (arguments.collect(), warnings.collect());
            let special = Specialisation { compilation, code, workspace, arguments, outputs: Vec::new(), warnings };
            self.specialisations.insert(key.clone(), special);
        }
        Ok(&self.specialisations[&key])
    }
}

fn types_of(inputs: &Tensors) -> Vec<(String, TensorType)> {
    inputs.iter().map(|(name, tensor)| (name.to_string(), tensor_type(tensor))).collect()
}

/// The code of a program.
pub(super) fn compiled(kernels: &Program) -> Result<<Host as Backend>::Step, Error> {
    Host.compile(kernels).map_err(|error| Error::Call(format!("no code for this machine: {error}")))
}

/// This many zeros, if the machine has as much memory.
pub(super) fn memory(what: &str, bytes: u64) -> Result<AlignedBytes, Error> {
    AlignedBytes::try_zeros(bytes)
        .ok_or_else(|| Error::Call(format!("the {what} takes {bytes} bytes, which this machine does not have")))
}
