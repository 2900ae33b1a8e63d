//! `bpc eval`: the outputs of a model on its evaluation data.

use super::arguments::Eval;
use super::run::parameters;
use super::train::{evaluate, folder, text};
use super::{Failure, data, open};
use bpc::State;
use bpc_runtime::data::batches::BatchSize;

/// Measures and prints one line.
pub fn run(options: &Eval) -> Result<(), Failure> {
    let model = open(&options.program)?;
    let mut settings = data::settings(&model, &folder(&options.program, &options.work))?;
    if let Some(batch) = options.batch {
        settings.batch = BatchSize::Rows(batch);
    }
    if let Some(seed) = options.work.seed {
        settings.seed = seed;
    }
    let split = data::open(&model, &settings)?;
    let mut state = State::new(settings.seed);
    state.load(&parameters(&options.params)?)?;
    let mut step = model.jit_with_threads(options.work.threads)?;
    let dataset = split.test.unwrap_or(split.train);
    let rows = dataset.rows();
    println!("{rows} rows: {}", text(&evaluate(&mut step, &mut state, dataset, settings.batch)?));
    Ok(())
}
