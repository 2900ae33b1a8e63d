//! The `train` block of a program as settings of a run, and its data opened.
//!
//! Expects: the plain values of the block (`bpc::lower::TrainBlock`).
//! Guarantees: an unknown entry, source or keyword is an error that lists the known ones.
//! Leaves out: the loop over batches (`train`, `eval`).

use super::Failure;
use super::arguments::{ProgramOptions, WorkOptions};
use bpc::Model;
use bpc::lower::{SignatureDim, TrainArgument, TrainBlock, TrainValue, train_block};
use bpc_runtime::data::batches::BatchSize;
use bpc_runtime::data::{self, SourceSpec, Split, WantedInput};
use bpc_runtime::tensor::Element;
use std::path::{Path, PathBuf};

/// What a `train` block says.
pub struct Settings {
    /// Where the data comes from.
    pub source: SourceSpec,
    /// Passes over the data.
    pub epochs: Option<u64>,
    /// Training steps, if the block counts steps.
    pub steps: Option<u64>,
    /// Rows of a batch.
    pub batch: BatchSize,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether every epoch has a new order.
    pub shuffle: bool,
}

/// The settings of a model's `train` block, with what the command line says instead; paths are relative to the folder of
/// the program unless the command line names another.
pub fn settings(
    model: &Model,
    program: &ProgramOptions,
    work: &WorkOptions,
    rows: Option<u64>,
) -> Result<Settings, Failure> {
    let own = program.program.parent().unwrap_or(Path::new("."));
    let folder = work.data.as_deref().unwrap_or(own);
    let name = model.signature()?.model;
    let block = train_block(model.program(), &name)
        .map_err(|diagnostics| bpc::Error::Program { diagnostics, sources: model.program().sources.clone() })?;
    let Some(block) = block else {
        return Err(wrong(format!("the program has no `train {name}` block; add one that names the data")));
    };
    let source = match entry(&block, "data") {
        Some(TrainValue::Call { name, arguments }) => source(name, arguments, folder)?,
        Some(_) => return Err(wrong("`data` wants a source: csv(..), idx(..), npz(..) or text(..)")),
        None => return Err(wrong(format!("the block `train {name}` has no `data` line"))),
    };
    const KNOWN: [&str; 6] = ["data", "epochs", "steps", "batch", "seed", "shuffle"];
    if let Some((unknown, ..)) = block.entries.iter().find(|(name, ..)| !KNOWN.contains(&name.as_str())) {
        return Err(wrong(format!("a `train` block has no `{unknown}` line; it may have: {}", KNOWN.join(", "))));
    }
    let batch = match (rows, entry(&block, "batch")) {
        (Some(rows), _) => BatchSize::Rows(rows),
        (None, None) => BatchSize::Rows(32),
        (None, Some(TrainValue::Word(word))) if word == "all" => BatchSize::All,
        (None, Some(value)) => BatchSize::Rows(count("batch", value)?),
    };
    let shuffle = match entry(&block, "shuffle") {
        None => true,
        Some(TrainValue::Flag(flag)) => *flag,
        Some(_) => return Err(wrong("`shuffle` wants true or false")),
    };
    Ok(Settings {
        source,
        epochs: entry(&block, "epochs").map(|value| count("epochs", value)).transpose()?,
        steps: entry(&block, "steps").map(|value| count("steps", value)).transpose()?,
        batch,
        seed: match work.seed {
            Some(seed) => seed,
            None => entry(&block, "seed").map(|value| count("seed", value)).transpose()?.unwrap_or(0),
        },
        shuffle,
    })
}

/// Opens the data and fits it to the inputs of the model.
pub fn open(model: &Model, settings: &Settings) -> Result<Split, Failure> {
    let wanted: Vec<WantedInput> = model
        .signature()?
        .inputs
        .iter()
        .map(|input| WantedInput {
            name: input.name.clone(),
            dtype: Element::from_name(input.dtype.name()).expect("bug in bpc: the runtime knows every dtype"),
            row_shape: input
                .dims
                .iter()
                .skip(1)
                .map(|dim| match dim {
                    SignatureDim::Size(size) => Some(*size),
                    SignatureDim::Name(_) | SignatureDim::Expression(_) => None,
                })
                .collect(),
        })
        .collect();
    Ok(data::open(&settings.source, &wanted, settings.seed)?)
}

fn entry<'a>(block: &'a TrainBlock, name: &str) -> Option<&'a TrainValue> {
    block.entries.iter().find(|(known, ..)| known == name).map(|(_, value, _)| value)
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::Error(bpc::Error::Call(message.into()))
}

fn count(name: &str, value: &TrainValue) -> Result<u64, Failure> {
    match value {
        TrainValue::Integer(number) if *number >= 0 => Ok(*number as u64),
        _ => Err(wrong(format!("`{name}` wants a whole number that is not negative"))),
    }
}

/// Arguments of a source: what it has a meaning for, and the rest, which are inputs of the model.
struct SourceArguments<'a> {
    source: &'a str,
    path: Option<PathBuf>,
    split: Option<f64>,
    length: Option<u64>,
    test: Option<&'a [TrainArgument]>,
    inputs: Vec<(String, &'a TrainValue)>,
}

fn read_arguments<'a>(
    source: &'a str,
    arguments: &'a [TrainArgument],
    folder: &Path,
) -> Result<SourceArguments<'a>, Failure> {
    let mut read = SourceArguments { source, path: None, split: None, length: None, test: None, inputs: Vec::new() };
    for argument in arguments {
        match (argument.name.as_deref(), &argument.value) {
            (None, TrainValue::Text(path)) if read.path.is_none() => read.path = Some(folder.join(path)),
            (None, _) => return Err(wrong(format!("`{source}` takes one path without a keyword, and then keywords"))),
            (Some("split"), TrainValue::Real(part)) => read.split = Some(*part),
            (Some("split"), TrainValue::Integer(part)) => read.split = Some(*part as f64),
            (Some("length"), value) => read.length = Some(count("length", value)?),
            (Some("test"), TrainValue::Call { arguments, .. }) => read.test = Some(arguments),
            (Some(name), value) => read.inputs.push((name.to_string(), value)),
        }
    }
    if let Some(split) = read.split
        && !(0.0..=1.0).contains(&split)
    {
        return Err(wrong(format!("`split = {split}`: the part for training lies between 0 and 1")));
    }
    Ok(read)
}

impl SourceArguments<'_> {
    fn path(&self) -> Result<PathBuf, Failure> {
        self.path.clone().ok_or_else(|| wrong(format!("`{}` wants the path of a file first", self.source)))
    }

    fn texts(&self) -> Result<Vec<(String, String)>, Failure> {
        let text = |(name, value): &(String, &TrainValue)| match value {
            TrainValue::Text(text) => Ok((name.clone(), text.clone())),
            _ => Err(wrong(format!("`{name}` of `{}` wants a string", self.source))),
        };
        self.inputs.iter().map(text).collect()
    }

    fn files(&self, folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
        Ok(self.texts()?.into_iter().map(|(name, path)| (name, folder.join(path))).collect())
    }
}

fn source(name: &str, arguments: &[TrainArgument], folder: &Path) -> Result<SourceSpec, Failure> {
    let read = read_arguments(name, arguments, folder)?;
    match name {
        "csv" => {
            let columns = read.inputs.iter().map(|(input, value)| Ok((input.clone(), columns(input, value)?)));
            Ok(SourceSpec::Csv {
                path: read.path()?,
                columns: columns.collect::<Result<_, Failure>>()?,
                split: read.split,
            })
        }
        "idx" => {
            let test = match read.test {
                Some(arguments) => Some(read_arguments("idx", arguments, folder)?.files(folder)?),
                None => None,
            };
            Ok(SourceSpec::Idx { fields: read.files(folder)?, test, split: read.split })
        }
        "npz" => Ok(SourceSpec::Npz { path: read.path()?, fields: read.texts()?, split: read.split }),
        "text" => {
            let texts = read.texts()?;
            let keyword = |wanted: &str| texts.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.clone());
            let input =
                keyword("input").ok_or_else(|| wrong("`text` wants `input = \"..\"`, the input that gets a window"))?;
            if let Some((unknown, _)) = texts.iter().find(|(name, _)| name != "input" && name != "target") {
                return Err(wrong(format!("`text` has no keyword `{unknown}`; it has: input, target, split, length")));
            }
            Ok(SourceSpec::Text {
                path: read.path()?,
                input,
                target: keyword("target"),
                split: read.split,
                length: read.length,
            })
        }
        _ => Err(wrong(format!("there is no data source `{name}`; there are: csv, idx, npz, text"))),
    }
}

fn columns(input: &str, value: &TrainValue) -> Result<Vec<String>, Failure> {
    let text = |value: &TrainValue| match value {
        TrainValue::Text(text) => Ok(text.clone()),
        _ => Err(wrong(format!("`{input}` of `csv` wants the name of a column or a list of names"))),
    };
    match value {
        TrainValue::List(values) => values.iter().map(text).collect(),
        single => Ok(vec![text(single)?]),
    }
}
