//! What all engines of a workload are given: `inputs.npz`, `parameters.npz`, and `request.json` for our own.
//!
//! Expects: a folder of one workload's own.
//! Guarantees: the same numbers whenever they are made: they come from one seed.
//! Leaves out: how an engine reads them.

use super::super::Failure;
use super::suite::{Input, RunOptions, Workload};
use bpc::{Model, State, Tensors};
use bpc_runtime::error::DataError;
use bpc_runtime::philox;
use bpc_runtime::tensor::{Dtype, HostTensor};
use bpc_runtime::tensor_file::{read_tensors, write_tensors};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const INPUTS: &str = "inputs.npz";
const PARAMETERS: &str = "parameters.npz";
const REQUEST: &str = "request.json";

/// What our own engine needs.
pub struct Request {
    /// The program.
    pub program: PathBuf,
    /// How to run it.
    pub run: RunOptions,
    /// Inputs and forced sites.
    pub inputs: Tensors,
    /// The parameters before the first step.
    pub parameters: Tensors,
}

/// Writes the files; the parameters are those that the program initialises.
pub fn prepare(suite: &Path, workload: &Workload, folder: &Path) -> Result<(), Failure> {
    let inputs: Vec<(String, HostTensor)> = workload
        .inputs
        .iter()
        .enumerate()
        .map(|(site, input)| Ok((input.name.clone(), random(input, site as u32)?)))
        .collect::<Result<_, DataError>>()?;
    write_tensors(&folder.join(INPUTS), &inputs)?;
    let program = suite.join(&workload.program);
    let mut state = State::new(0);
    model(&program, &workload.run)?.jit()?.evaluate(&mut state, &inputs.into_iter().collect())?;
    let parameters = state.parameters();
    let parameters: Vec<(String, HostTensor)> =
        parameters.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    write_tensors(&folder.join(PARAMETERS), &parameters)?;
    let RunOptions { model, grad, force, evaluate } = &workload.run;
    let request = json!({"program": program, "model": model, "grad": grad, "force": force, "evaluate": evaluate});
    let path = folder.join(REQUEST);
    std::fs::write(&path, request.to_string()).map_err(|error| DataError::in_file(&path, error.to_string(), ""))?;
    Ok(())
}

/// Reads them back.
pub fn read(folder: &Path) -> Result<Request, Failure> {
    let path = folder.join(REQUEST);
    let broken = || DataError::in_file(&path, "is no request of `bpc bench`", "run `bpc bench`, which writes it");
    let text = std::fs::read_to_string(&path).map_err(|_| broken())?;
    let request: Value = serde_json::from_str(&text).map_err(|_| broken())?;
    let list = |field: &str| super::suite::texts(&request[field]).ok_or_else(broken);
    Ok(Request {
        program: request["program"].as_str().ok_or_else(broken)?.into(),
        run: RunOptions {
            model: request["model"].as_str().map(str::to_string),
            grad: list("grad")?,
            force: list("force")?,
            evaluate: request["evaluate"].as_bool().ok_or_else(broken)?,
        },
        inputs: read_tensors(&folder.join(INPUTS))?.into_iter().collect(),
        parameters: read_tensors(&folder.join(PARAMETERS))?.into_iter().collect(),
    })
}

/// The model of a workload.
pub fn model(program: &Path, run: &RunOptions) -> Result<Model, Failure> {
    let mut model = bpc::compile_file(program)?;
    if let Some(name) = &run.model {
        model = model.choose(name);
    }
    for choice in &run.grad {
        model = model.choose_rule(choice)?;
    }
    for site in &run.force {
        model = model.force(site);
    }
    Ok(model)
}

fn random(input: &Input, site: u32) -> Result<HostTensor, DataError> {
    let mut doubles = vec![0f64; input.shape.iter().product::<u64>() as usize];
    if input.dtype.is_integer() || input.dtype == Dtype::Bool {
        philox::fill_uniform_f64([0, 0], 0, site, 0, &mut doubles);
        doubles.iter_mut().for_each(|value| *value = (*value * input.below as f64).floor());
    } else {
        philox::fill_normal_f64([0, 0], 0, site, 0, &mut doubles);
    }
    HostTensor::from_slice(input.shape.clone(), &doubles)?.convert(input.dtype)
}
