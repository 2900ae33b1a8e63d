//! `bpc eval`: the outputs of a model on its evaluation data.

use super::arguments::Eval;
use super::data::tell_left_out;
use super::run::{all_given, parameters};
use super::train::{evaluate, text};
use super::{Failure, data, open, print};
use bpc::State;

/// Measures and prints one line.
pub fn run(options: &Eval) -> Result<(), Failure> {
    let model = open(&options.program)?;
    let settings = data::settings(&model, &options.program, &options.work, options.batch)?;
    let split = data::open(&model, &settings)?;
    let dataset = split.test.unwrap_or(split.train);
    let plan = settings.evaluation();
    let rows = data::batches(&model, &settings, dataset.clone(), plan)?.rows_per_epoch();
    tell_left_out("evaluation", &dataset, &plan);
    let mut state = State::new(settings.seed);
    let given = parameters(&options.params)?;
    state.load(&given)?;
    let mut step = model.jit_with_threads(options.work.threads)?;
    let measured = evaluate(&mut step, &mut state, dataset, plan)?;
    all_given(&state, &options.params, &given)?;
    print(format!("{rows} rows: {}\n", text(&measured)))
}
