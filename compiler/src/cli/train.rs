//! `bpc train`: epochs over the data of the `train` block.
//!
//! Expects: a program with a `train` block.
//! Guarantees: metrics of an epoch are means over its rows; nothing but timing depends on the number of workers.
//! Leaves out: resuming.

use super::arguments::Train;
use super::data::tell_left_out;
use super::run::parameters;
use super::{Failure, data, open, print};
use bpc::{State, Step, Tensors};
use bpc_runtime::checkpoint;
use bpc_runtime::data::batches::{Batch, Batches, Plan};
use bpc_runtime::data::dataset::Dataset;
use bpc_runtime::file::check_writable;
use bpc_runtime::tensor::HostTensor;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

/// Trains and prints a summary.
pub fn run(options: &Train) -> Result<(), Failure> {
    let started = Instant::now();
    if let Some(path) = &options.save
        && path.extension().is_none_or(|extension| extension != "safetensors")
    {
        let problem = format!("--save {}: parameters are saved as safetensors", path.display());
        return Err(Failure::Usage(format!("{problem}; give a name that ends in .safetensors")));
    }
    if let Some(path) = &options.save {
        check_writable(path)?;
    }
    let model = open(&options.program)?;
    let settings = data::settings(&model, &options.program, &options.work, options.batch)?;
    let split = data::open(&model, &settings)?;
    let names = field_names(&split.train);
    let per_epoch = data::batches(&model, &settings, split.train.clone(), settings.training(1))?.batches_per_epoch();
    tell_left_out("training", &split.train, &settings.training(1));
    if let Some(test) = &split.test {
        // Too few rows for a batch are an error now and not after the first epoch.
        data::batches(&model, &settings, test.clone(), settings.evaluation())?;
        tell_left_out("evaluation", test, &settings.evaluation());
    }
    let steps = match (options.steps, options.epochs) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => epochs.saturating_mul(per_epoch),
        (None, None) => settings.steps.unwrap_or(settings.epochs.unwrap_or(1).saturating_mul(per_epoch)),
    };
    if steps == 0 {
        return Err(Failure::Usage("0 steps train nothing; give --steps or --epochs of 1 at least".to_string()));
    }
    let epochs = steps.div_ceil(per_epoch.max(1));
    let mut state = State::new(settings.seed);
    if let Some(path) = &options.params {
        state.load(&parameters(path)?)?;
    }
    let mut step = model.jit_with_threads(options.work.threads)?;

    let bar = progress_bar(steps);
    let mut batches = Batches::new(split.train, settings.training(epochs))?.prefetch();
    let mut done = 0;
    let mut means = Means::default();
    let mut warned = BTreeSet::new();
    let mut last = BTreeMap::new();
    let mut in_steps = 0.0;
    while done < steps
        && let Some(batch) = batches.next()
    {
        let batch = batch?;
        let rows = rows_of(&batch);
        let (epoch, index) = (batch.epoch, batch.index);
        let inputs = named(&names, &batch.tensors);
        batches.recycle(batch);
        let before = Instant::now();
        let outputs = step.step(&mut state, &inputs)?;
        in_steps += before.elapsed().as_secs_f64();
        means.add(&outputs, rows);
        done += 1;
        for warning in step.warnings() {
            if warned.insert(warning.name.clone()) {
                say(&bar, &format!("warning: step {done}, {}: {}", warning.site, warning.message));
            }
        }
        bar.set_position(done);
        if index + 1 == per_epoch || done == steps {
            last = means.take();
            let mut line = format!("epoch {:>3}/{epochs}  {}", epoch + 1, text(&last));
            if let Some(test) = &split.test {
                let measured = evaluate(&mut step, &mut state, test.clone(), settings.evaluation())?;
                line += &format!("  |  test {}", text(&measured));
                last = measured;
            }
            say(&bar, &line);
        } else if done % 16 == 0 {
            bar.set_message(text(&means.peek()));
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    print(format!(
        "{done} steps in {seconds:.2} s ({:.3} ms a step): {}\n",
        1000.0 * in_steps / done.max(1) as f64,
        text(&last)
    ))?;
    if let Some(bad) = last.iter().find(|(_, value)| !value.is_finite()) {
        eprintln!(
            "warning: `{}` is {}; NaN in the data, a label outside of the classes, or a learning rate that is too large are the usual reasons",
            bad.0, bad.1
        );
    }
    if let Some(path) = &options.save {
        save(path, &state)?;
        print(format!("parameters saved to {}\n", path.display()))?;
    }
    Ok(())
}

/// Means of the scalar outputs over a data set, in the order of the file.
pub fn evaluate(
    step: &mut Step,
    state: &mut State,
    dataset: Dataset,
    plan: Plan,
) -> Result<BTreeMap<String, f64>, Failure> {
    let names = field_names(&dataset);
    let mut batches = Batches::new(dataset, plan)?;
    let mut means = Means::default();
    let mut spare = Batch::default();
    while let Some(batch) = batches.next_into(spare)? {
        let outputs = step.evaluate(state, &named(&names, &batch.tensors))?;
        means.add(&outputs, rows_of(&batch));
        spare = batch;
    }
    Ok(means.take())
}

/// `loss 0.1234  accuracy 0.9876`
pub fn text(values: &BTreeMap<String, f64>) -> String {
    let (losses, others): (Vec<_>, Vec<_>) = values.iter().partition(|(name, _)| name.starts_with("loss"));
    let parts: Vec<String> =
        losses.into_iter().chain(others).map(|(name, value)| format!("{name} {value:.4}")).collect();
    parts.join("  ")
}

fn field_names(dataset: &Dataset) -> Vec<String> {
    dataset.fields().iter().map(|field| field.name().to_string()).collect()
}

fn rows_of(batch: &Batch) -> u64 {
    batch.tensors.first().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(1)
}

fn named(names: &[String], tensors: &[HostTensor]) -> Tensors {
    names.iter().cloned().zip(tensors.iter().cloned()).collect()
}

/// A line above the progress bar, or where there is none.
fn say(bar: &ProgressBar, line: &str) {
    bar.println(line);
    if bar.is_hidden() {
        eprintln!("{line}");
    }
}

fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {per_sec}, {eta} left  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Writes the parameters.
fn save(path: &Path, state: &State) -> Result<(), Failure> {
    let parameters = state.parameters();
    let named: Vec<(String, HostTensor)> =
        parameters.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    Ok(checkpoint::save(path, &named, "{}")?)
}

/// Means of scalar outputs, weighted by rows.
#[derive(Default)]
struct Means {
    sums: BTreeMap<String, f64>,
    rows: u64,
}

impl Means {
    fn add(&mut self, outputs: &Tensors, rows: u64) {
        let metrics = outputs.iter().filter(|(_, tensor)| tensor.shape().is_empty());
        for (name, tensor) in metrics {
            *self.sums.entry(name.to_string()).or_default() += tensor.to_f64()[0] * rows as f64;
        }
        self.rows += rows;
    }

    fn peek(&self) -> BTreeMap<String, f64> {
        self.sums.iter().map(|(name, sum)| (name.clone(), sum / self.rows.max(1) as f64)).collect()
    }

    fn take(&mut self) -> BTreeMap<String, f64> {
        let means = self.peek();
        *self = Means::default();
        means
    }
}
