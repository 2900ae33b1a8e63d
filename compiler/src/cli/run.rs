//! `bpc run`: the outputs of a model on given inputs.

use super::arguments::Run;
use super::{Failure, open, pair, print};
use bpc::{State, Tensors};
use bpc_runtime::error::DataError;
use bpc_runtime::json_tensor::to_text;
use bpc_runtime::tensor::HostTensor;
use bpc_runtime::tensor_file::{read_tensors, write_tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Compiles for the shapes of the inputs, runs once, writes the outputs.
pub fn run(options: &Run) -> Result<(), Failure> {
    let mut model = open(&options.program)?;
    let mut inputs: BTreeMap<String, HostTensor> = BTreeMap::new();
    if let Some(path) = &options.inputs {
        inputs.extend(read_tensors(path)?);
    }
    for forced in &options.force {
        let (site, file) = pair(forced, "--force wants SITE=FILE, as in --force noise=noise.npz")?;
        let mut tensors = read_tensors(Path::new(file))?;
        let tensor = match tensors.len() {
            1 => tensors.pop().map(|(_, tensor)| tensor),
            _ => tensors.into_iter().find(|(name, _)| name == site).map(|(_, tensor)| tensor),
        };
        let tensor = tensor
            .ok_or_else(|| Failure::Usage(format!("{file}: holds several tensors and none is named `{site}`")))?;
        model = model.force(site);
        inputs.insert(site.to_string(), tensor);
    }
    let inputs: Tensors = inputs.into_iter().collect();
    let mut state = State::new(options.seed);
    let given = options.params.as_deref().map(|path| Ok::<_, Failure>((path, parameters(path)?))).transpose()?;
    if let Some((_, given)) = &given {
        state.load(given)?;
    }
    let outputs = if options.interpret {
        model.interpret(&mut state, &inputs)?
    } else {
        model.jit_with_threads(options.threads)?.evaluate(&mut state, &inputs)?
    };
    if let Some((path, given)) = &given {
        all_given(&state, path, given)?;
    }
    let named: Vec<(String, HostTensor)> =
        outputs.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    match &options.outputs {
        Some(path) => write_tensors(path, &named)?,
        None => print(to_text(&named) + "\n")?,
    }
    Ok(())
}

/// Whether the file at `path` gave every parameter: a model that is partly at its first values measures nothing.
pub fn all_given(state: &State, path: &Path, given: &Tensors) -> Result<(), Failure> {
    let parameters = state.parameters();
    let missing: Vec<&str> = parameters.iter().map(|(name, _)| name).filter(|name| given.get(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let problem = format!("has no parameter {}", missing.join(", "));
    Err(DataError::in_file(path, problem, "give the parameters that `bpc train --save` wrote for this model").into())
}

/// Parameters from a file of any kind that holds named tensors.
pub fn parameters(path: &Path) -> Result<Tensors, Failure> {
    Ok(read_tensors(path)?.into_iter().collect())
}
