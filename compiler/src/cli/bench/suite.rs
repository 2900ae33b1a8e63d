//! The list of workloads: `suite.json`.
//!
//! ```json
//! [{"name": "mlp-sgd", "program": "mlp.bp", "peer": "mlp.py", "case": "sgd", "tolerance": 1e-3,
//!   "inputs": {"x": {"dtype": "f32", "shape": [128, 784]}, "label": {"dtype": "i32", "shape": [128], "below": 10}}}]
//! ```
//!
//! Expects: a text of this form. `inputs` gives random tensors: normal deviates, or whole numbers from 0 to `below`. Optional: `model`
//! (where the program has several), `grad` (a list of choices of rules), `force` (random sites given as inputs), `evaluate` (true: the workload
//! is an evaluation and updates nothing), `peer` and `case` (the script and its argument).
//! Guarantees: an error names the entry and what is wrong with it.
//! Leaves out: the programs.

use super::super::Failure;
use bpc_runtime::error::DataError;
use bpc_runtime::tensor::Dtype;
use serde_json::Value;
use std::path::Path;

/// One entry.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What the table calls it.
    pub name: String,
    /// The program, in the folder of the suite.
    pub program: String,
    /// The script of the peers, in the same folder.
    pub peer: Option<String>,
    /// What the script is asked for.
    pub case: String,
    /// Largest difference between results, as a part of the largest element.
    pub tolerance: f64,
    /// How `bpc` runs it.
    pub run: RunOptions,
    /// Inputs and forced sites.
    pub inputs: Vec<Input>,
}

/// How `bpc` runs a workload.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Of the program.
    pub model: Option<String>,
    /// `TARGET=RULE`
    pub grad: Vec<String>,
    /// Random sites that are inputs.
    pub force: Vec<String>,
    /// Nothing is updated.
    pub evaluate: bool,
}

/// A random tensor.
#[derive(Clone, Debug)]
pub struct Input {
    /// Of the model.
    pub name: String,
    /// Of its elements.
    pub dtype: Dtype,
    /// Sizes.
    pub shape: Vec<u64>,
    /// Whole numbers lie in 0 .. below.
    pub below: u64,
}

/// Reads the suite of a folder.
pub fn read(folder: &Path) -> Result<Vec<Workload>, Failure> {
    let path = folder.join("suite.json");
    let remedy = "give a folder with a suite of workloads, as benches/peers is";
    let broken = |problem: String| DataError::in_file(&path, problem, remedy);
    let text = std::fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let entries = value.as_array().ok_or_else(|| broken("is no list of workloads".to_string()))?;
    let workloads = entries.iter().enumerate().map(|(index, entry)| {
        workload(entry).map_err(|what| broken(format!("entry {}: `{what}` is missing or of another kind", index + 1)))
    });
    Ok(workloads.collect::<Result<Vec<_>, _>>()?)
}

/// The workload of a name.
pub fn find<'a>(workloads: &'a [Workload], name: &str) -> Result<&'a Workload, Failure> {
    workloads.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let names: Vec<&str> = workloads.iter().map(|workload| workload.name.as_str()).collect();
        Failure::Usage(format!("--only {name}: the workloads are {}", names.join(", ")))
    })
}

/// An entry; the error is the name of the first field that is wrong.
fn workload(entry: &Value) -> Result<Workload, &'static str> {
    let text = |field: &'static str| entry[field].as_str().map(str::to_string).ok_or(field);
    let optional = |field: &'static str| match &entry[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(field),
    };
    let list = |field: &'static str| match &entry[field] {
        Value::Null => Ok(Vec::new()),
        value => texts(value).ok_or(field),
    };
    let inputs = entry["inputs"].as_object().ok_or("inputs")?.iter().map(|(name, value)| input(name, value));
    Ok(Workload {
        name: text("name")?,
        program: text("program")?,
        peer: optional("peer")?,
        case: optional("case")?.unwrap_or_default(),
        tolerance: entry["tolerance"].as_f64().ok_or("tolerance")?,
        run: RunOptions {
            model: optional("model")?,
            grad: list("grad")?,
            force: list("force")?,
            evaluate: entry["evaluate"].as_bool().unwrap_or(false),
        },
        inputs: inputs.collect::<Option<_>>().ok_or("inputs")?,
    })
}

/// Strings of a list.
pub fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_string)).collect()
}

fn input(name: &str, value: &Value) -> Option<Input> {
    let shape = value["shape"].as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()?;
    let dtype = Dtype::from_name(value["dtype"].as_str()?)?;
    Some(Input { name: name.to_string(), dtype, shape, below: value["below"].as_u64().unwrap_or(2) })
}
