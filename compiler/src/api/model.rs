//! A program with the settings of its user.
//!
//! Expects: a file, or a text with a way to read what it uses.
//! Guarantees: a [`Model`] exists only for a program that passed all checks.
//! Leaves out: running it (`step`).

use super::error::Error;
use super::state::{State, tensor_type};
use super::step::{Step, compiled, memory};
use super::values::Tensors;
use crate::codegen::backend::{Argument, CompiledStep};
use crate::initial;
use crate::ir::graph::OutputRole;
use crate::ir::interpret::{self, Tensor};
use crate::ir::types::TensorType;
use crate::lower::{self, Options, Setting, Signature};
use crate::pipeline::{self, Compilation};
use crate::trial_sizes::check_gradients;
use bpc_lang::choice::read_choice;
use bpc_lang::diagnostics::{Diagnostic, Severity};
use bpc_lang::loader::load;
use bpc_lang::program::Program;
use bpc_runtime::error::DataError;
use bpc_runtime::tensor::HostTensor;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A checked program, one of its models, and settings.
#[derive(Clone, Debug)]
pub struct Model {
    program: Program,
    options: Options,
    warnings: Vec<Diagnostic>,
}

/// Reads and checks a program.
///
/// ```no_run
/// let mut step = bpc::compile_file("examples/digits.bp")?.jit()?;
/// # Ok::<(), bpc::Error>(())
/// ```
///
/// # Errors
/// Where the file cannot be read, or the program has errors.
pub fn compile_file(path: impl AsRef<Path>) -> Result<Model, Error> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path)
        .map_err(|error| DataError::in_file(path, error.to_string(), "give the path of a .bp program"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    compile_text(&path.display().to_string(), &text, &mut read)
}

/// Checks a program that is in memory; `path` is what messages call it, `read` gives the texts of the modules beside it.
///
/// # Errors
/// Where the program has errors.
pub fn compile_text(path: &str, text: &str, read: &mut dyn FnMut(&str) -> Option<String>) -> Result<Model, Error> {
    let (program, mut diagnostics) = load(path, text, read);
    if diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        diagnostics.extend(lower::check(&program));
    }
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Error::Program { diagnostics, sources: program.sources });
    }
    Ok(Model { program, options: Options::default(), warnings: diagnostics })
}

/// The most workers of a step.
const MOST_THREADS: usize = 1024;

impl Model {
    /// Chooses a model of the program; needed where there are several.
    pub fn choose(mut self, model: impl Into<String>) -> Model {
        self.options.model = Some(model.into());
        self
    }

    /// Gives a size or setting of the model.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Setting>) -> Model {
        self.options.settings.insert(name.into(), value.into());
        self
    }

    /// The value that [`Model::set`] gave.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.options.settings.get(name)
    }

    /// Chooses a gradient rule: `sample_onehot=reinmax`, `linear in blocks.*=wht(k = 2)`.
    ///
    /// # Errors
    /// Diagnostics that point into the text of the choice.
    pub fn choose_rule(mut self, choice: &str) -> Result<Model, Error> {
        match read_choice(&mut self.program, choice) {
            Ok(choice) => {
                self.options.grad_overrides.push(choice);
                Ok(self)
            }
            Err(diagnostics) => Err(self.error(diagnostics)),
        }
    }

    /// Makes the values of a random site an input of the same name.
    pub fn force(mut self, site: impl Into<String>) -> Model {
        self.options.forced.insert(site.into());
        self
    }

    /// Warnings about the program.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The inputs of the model, with the dims as they are written.
    ///
    /// # Errors
    /// Where the program has no such model, or several and none is chosen.
    pub fn signature(&self) -> Result<Signature, Error> {
        lower::signature(&self.program, self.options.model.as_deref()).map_err(|diagnostics| self.error(diagnostics))
    }

    /// All stages of the compilation for inputs of these shapes.
    ///
    /// # Errors
    /// Diagnostics, such as a dim that the shapes leave open.
    pub fn compile(&self, inputs: &BTreeMap<String, TensorType>, training: bool) -> Result<Compilation, Error> {
        self.compile_observed(inputs, training, &mut |_| {})
    }

    /// The same; `passed` hears the name of each pass when it is over.
    ///
    /// # Errors
    /// As [`Model::compile`].
    pub fn compile_observed(
        &self,
        inputs: &BTreeMap<String, TensorType>,
        training: bool,
        passed: &mut dyn FnMut(&'static str),
    ) -> Result<Compilation, Error> {
        let options = self.solved(inputs, training)?;
        pipeline::compile_observed(&self.program, &options, passed).map_err(|diagnostics| self.error(diagnostics))
    }

    /// What only differentiation finds wrong with a training step for inputs of these shapes; sizes are tried for dims that they leave
    /// open. Gives why the model could not be looked at, if it could not.
    ///
    /// # Errors
    /// Diagnostics of the program.
    pub fn check_gradients(&self, inputs: &BTreeMap<String, TensorType>) -> Result<Option<String>, Error> {
        check_gradients(&self.program, &self.options, inputs).map_err(|diagnostics| self.error(diagnostics))
    }

    /// The options, with the sizes that inputs of these shapes imply.
    fn solved(&self, inputs: &BTreeMap<String, TensorType>, training: bool) -> Result<Options, Error> {
        let mut options = self.options.clone();
        options.training = training;
        options.settings = lower::solve_dims(&self.program, options.model.as_deref(), &options.settings, inputs)
            .map_err(|diagnostics| self.error(diagnostics))?;
        Ok(options)
    }

    /// Gives a state the places and first values of a compilation. What was loaded under a name that only training knows
    /// (a parameter inside `if training`) is kept for it.
    pub(super) fn prepare(
        &self,
        state: &mut State,
        compilation: &Compilation,
        inputs: &BTreeMap<String, TensorType>,
        training: bool,
        threads: usize,
    ) -> Result<(), Error> {
        let fresh = state.lay_out_for(compilation)?;
        self.initialise(state, compilation, &fresh, threads)?;
        if state.has_unplaced() && !training {
            let options = self.solved(inputs, true)?;
            let lowered = lower::lower(&self.program, &options).map_err(|diagnostics| self.error(diagnostics))?;
            state.keep(&lowered.parameters)?;
        }
        state.refuse_unplaced()
    }

    /// Makes first values by compiled code.
    fn initialise(
        &self,
        state: &mut State,
        compilation: &Compilation,
        fresh: &BTreeSet<String>,
        threads: usize,
    ) -> Result<(), Error> {
        let kernels = initial::kernels(&self.program, compilation, fresh);
        if let Some(kernels) = kernels.map_err(|diagnostics| self.error(diagnostics))? {
            let code = compiled(&kernels)?;
            let mut workspace = memory("workspace of first values", kernels.workspace_bytes)?;
            let given: Vec<Vec<u8>> = kernels
                .arguments()
                .into_iter()
                .map(|id| match &kernels.buffers[id] {
                    buffer if buffer.name == initial::SEED => {
                        state.seed_words().into_iter().flat_map(u32::to_le_bytes).collect()
                    }
                    buffer => vec![0; buffer.ty.bytes() as usize],
                })
                .collect();
            let mut arguments: Vec<Argument<'_>> = given.iter().map(|bytes| Argument::Input(bytes)).collect();
            code.run(&code.context(threads), &mut state.block, &mut workspace, &mut arguments);
        }
        state.check_constraints(&compilation.lowered, fresh)
    }

    /// A handle that runs the model; code is generated for each shape when it first comes.
    ///
    /// # Errors
    /// Where the program has no such model, or several and none is chosen.
    pub fn jit(self) -> Result<Step, Error> {
        Step::new(self, 1)
    }

    /// The same with several workers (0: one a core); results do not depend on their number.
    ///
    /// # Errors
    /// As [`Model::jit`].
    pub fn jit_with_threads(self, threads: usize) -> Result<Step, Error> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given if given > MOST_THREADS => {
                return Err(Error::Call(format!("{given} workers are too many; {MOST_THREADS} are the most")));
            }
            given => given,
        };
        Step::new(self, threads)
    }

    /// The losses and `out` lines by the f64 reference interpreter, with the parameters of the state.
    ///
    /// # Errors
    /// As for a compiled evaluation.
    pub fn interpret(&self, state: &mut State, inputs: &Tensors) -> Result<Tensors, Error> {
        self.check_names(inputs)?;
        let types: BTreeMap<_, _> =
            inputs.iter().map(|(name, tensor)| (name.to_string(), tensor_type(tensor))).collect();
        let compilation = self.compile(&types, false)?;
        self.prepare(state, &compilation, &types, false, 1)?;
        let mut values = BTreeMap::new();
        let kept = state.all();
        for (name, tensor) in inputs.iter().chain(kept.iter().map(|(name, tensor)| (*name, tensor))) {
            let tensor = Tensor::new(tensor_type(tensor), tensor.to_f64()).map_err(Error::Call)?;
            values.insert(name.to_string(), tensor);
        }
        values.retain(|name, _| compilation.gradient.main().input_named(name).is_some());
        let results = interpret::run(&compilation.gradient, &values).map_err(Error::Call)?;
        let outputs = results.into_iter().filter(|(output, _)| output.role == OutputRole::Value);
        outputs
            .map(|(output, value)| Ok((output.name, HostTensor::from_slice(value.ty.shape.clone(), &value.data)?)))
            .collect()
    }

    /// Whether these are the inputs of the model and the forced sites, by name.
    pub(super) fn check_names(&self, inputs: &Tensors) -> Result<(), Error> {
        let known: Vec<String> = self.signature()?.inputs.into_iter().map(|input| input.name).collect();
        let unknown = |name: &str| !known.iter().any(|input| input == name) && !self.options.forced.contains(name);
        if let Some((name, _)) = inputs.iter().find(|(name, _)| unknown(name)) {
            return Err(Error::Call(format!("the model has no input `{name}`; it has: {}", known.join(", "))));
        }
        let missing: Vec<&str> = known.iter().map(String::as_str).filter(|name| inputs.get(name).is_none()).collect();
        match missing.as_slice() {
            [] => Ok(()),
            [name] => Err(Error::Call(format!("the input `{name}` is missing"))),
            names => Err(Error::Call(format!("the inputs {} are missing", names.join(", ")))),
        }
    }

    fn error(&self, diagnostics: Vec<Diagnostic>) -> Error {
        Error::Program { diagnostics, sources: self.program.sources.clone() }
    }
}
