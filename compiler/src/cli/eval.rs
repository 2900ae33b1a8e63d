//! `bpc eval`: the outputs of a model on its evaluation data.

use super::arguments::Eval;
use super::run::parameters;
use super::train::{evaluate, text};
use super::{Failure, data, open};
use bpc::State;

/// Measures and prints one line.
pub fn run(options: &Eval) -> Result<(), Failure> {
    let model = open(&options.program)?;
    let settings = data::settings(&model, &options.program, &options.work, options.batch)?;
    let split = data::open(&model, &settings)?;
    let mut state = State::new(settings.seed);
    state.load(&parameters(&options.params)?)?;
    let mut step = model.jit_with_threads(options.work.threads)?;
    let dataset = split.test.unwrap_or(split.train);
    let rows = dataset.rows();
    println!("{rows} rows: {}", text(&evaluate(&mut step, &mut state, dataset, settings.batch)?));
    Ok(())
}
