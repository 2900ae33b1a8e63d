//! The `train` block of a program as settings of a run, and its data opened.
//!
//! Expects: a program whose `train` block is checked (`bpc::lower::TrainBlock`).
//! Guarantees: batches have the size that the model asks for; rows that no batch takes are spoken of.
//! Leaves out: the loop over batches (`train`, `eval`).

use super::arguments::{ProgramOptions, WorkOptions};
use super::{Failure, report};
use bpc::Model;
use bpc::ir::types::TensorType;
use bpc::lower::{BatchRows, Setting, SignatureDim, SignatureInput, Source, TrainBlock, train_block};
use bpc_lang::diagnostics::{Diagnostic, Severity};
use bpc_lang::tree::Span;
use bpc_runtime::data::batches::{BatchSize, Batches, Plan};
use bpc_runtime::data::dataset::Dataset;
use bpc_runtime::data::{self, SourceSpec, Split, WantedInput};
use bpc_runtime::error::DataError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a `train` block says.
pub struct Settings {
    /// Where the data comes from.
    pub source: SourceSpec,
    /// Where the program says so.
    pub source_span: Span,
    /// Passes over the data.
    pub epochs: Option<u64>,
    /// Training steps, if the block counts steps.
    pub steps: Option<u64>,
    /// Rows of a batch.
    pub batch: BatchSize,
    /// Where the program says how many, else where it names the data.
    batch_span: Span,
    /// Whether the model takes no other number of rows, so that a partial batch is left out.
    pub whole: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether every epoch has a new order.
    pub shuffle: bool,
}

impl Settings {
    /// How training goes through its data.
    pub fn training(&self, epochs: u64) -> Plan {
        Plan { batch: self.batch, whole: self.whole, epochs, seed: self.seed, shuffle: self.shuffle }
    }

    /// How evaluation goes through its data. It keeps nothing for a backward pass, so that larger batches cost little.
    pub fn evaluation(&self) -> Plan {
        let batch = match self.batch {
            BatchSize::Rows(rows) if !self.whole => BatchSize::Rows(rows.max(256)),
            given => given,
        };
        Plan { batch, whole: self.whole, epochs: 1, seed: 0, shuffle: false }
    }
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
    let Some(block) = block(model)? else {
        let name = model.signature()?.model;
        return Err(wrong(format!("the program has no `train {name}` block; add one that names the data")));
    };
    let Some((source, source_span)) = &block.source else {
        let name = model.signature()?.model;
        return Err(wrong(format!("the block `train {name}` has no `data` line")));
    };
    let (batch, whole) = batch(model, &block, rows)?;
    Ok(Settings {
        source: spec(source, folder),
        source_span: *source_span,
        epochs: block.epochs,
        steps: block.steps,
        batch,
        batch_span: block.batch.map_or(*source_span, |(_, span)| span),
        whole,
        seed: work.seed.or(block.seed).unwrap_or(0),
        shuffle: block.shuffle.unwrap_or(true),
    })
}

/// The `train` block of the model, if there is one.
fn block(model: &Model) -> Result<Option<TrainBlock>, Failure> {
    let name = model.signature()?.model;
    let block = train_block(model.program(), &name);
    Ok(block.map_err(|diagnostics| bpc::Error::Program { diagnostics, sources: model.program().sources.clone() })?)
}

/// The types of the inputs of a training step as the `train` block and its data give them, for commands that need no data
/// but shapes. None where all dims are numbers or set, or where the program names no data; data that cannot be read is
/// spoken of, and then the dims stay open.
pub fn input_types(model: &Model, program: &ProgramOptions) -> Result<BTreeMap<String, TensorType>, Failure> {
    let inputs = model.signature()?.inputs;
    let is_open = |dim: &SignatureDim| matches!(dim, SignatureDim::Name(_)) && size_of(model, dim).is_none();
    let has_data = block(model)?.is_some_and(|block| block.source.is_some());
    if !has_data || !inputs.iter().flat_map(|input| &input.dims).any(is_open) {
        return Ok(BTreeMap::new());
    }
    let rows = inputs.iter().find_map(|input| size_of(model, input.dims.first()?));
    let settings = settings(model, program, &WorkOptions::default(), rows)?;
    let train = match read(model, &settings)? {
        Ok(split) => split.train,
        Err(diagnostic) => {
            let warning = Diagnostic { severity: Severity::Warning, ..diagnostic };
            report(&[warning.with_note("this data would give the sizes of dims")], &model.program().sources);
            return Ok(BTreeMap::new());
        }
    };
    let rows = match settings.batch {
        BatchSize::Rows(rows) => rows,
        BatchSize::All => train.rows(),
    };
    let of_input = |input: SignatureInput| {
        let field = train.fields().iter().find(|field| field.name() == input.name)?;
        let shape = [&[rows], field.row_shape()].concat();
        Some((input.name, TensorType::new(input.dtype, shape)))
    };
    Ok(inputs.into_iter().filter_map(of_input).collect())
}

/// The size of a batch, and whether the model takes no other: the first dim of an input is a number, in the text or by
/// `--set`.
fn batch(model: &Model, block: &TrainBlock, rows: Option<u64>) -> Result<(BatchSize, bool), Failure> {
    let asked = match (rows, block.batch) {
        (Some(rows), _) | (None, Some((BatchRows::Rows(rows), _))) => Some(BatchSize::Rows(rows)),
        (None, Some((BatchRows::All, _))) => Some(BatchSize::All),
        (None, None) => None,
    };
    let inputs = model.signature()?.inputs;
    let fixed = inputs.iter().find_map(|input| {
        let first = input.dims.first()?;
        Some((&input.name, first, size_of(model, first)?))
    });
    match (asked, fixed) {
        (asked, None) => Ok((asked.unwrap_or(BatchSize::Rows(32)), false)),
        (None, Some((.., size))) => Ok((BatchSize::Rows(size), true)),
        (Some(BatchSize::Rows(rows)), Some((.., size))) if rows == size => Ok((BatchSize::Rows(size), true)),
        (Some(asked), Some((input, dim, size))) => {
            let asked = match asked {
                BatchSize::Rows(rows) => rows.to_string(),
                BatchSize::All => "all".to_string(),
            };
            let remedy = match dim {
                SignatureDim::Size(_) => "name its first dim (`B`) for batches of any size",
                _ => "leave `--set` out",
            };
            let title = format!("the input `{input}` takes batches of {size} rows, and `batch` is {asked}");
            match block.batch {
                Some((_, span)) if rows.is_none() => {
                    let diagnostic = Diagnostic::error("BP0312", title, span, "does not fit the model");
                    Err(shown(model, diagnostic.with_help(format!("write `batch {size}`, or {remedy}"))))
                }
                _ => Err(wrong(format!("{title}; write `--batch {size}`, or {remedy}"))),
            }
        }
    }
}

/// The size of a dim that is written, or set from outside.
fn size_of(model: &Model, dim: &SignatureDim) -> Option<u64> {
    match dim {
        SignatureDim::Size(size) => Some(*size),
        SignatureDim::Name(name) => model.setting(name).and_then(Setting::size),
        SignatureDim::Expression(_) => None,
    }
}

/// Opens the data and fits it to the inputs of the model.
pub fn open(model: &Model, settings: &Settings) -> Result<Split, Failure> {
    read(model, settings)?.map_err(|found| shown(model, found))
}

/// The batches of a data set, or an error at the line of the program that no batch can be made for.
pub fn batches(model: &Model, settings: &Settings, dataset: Dataset, plan: Plan) -> Result<Batches, Failure> {
    Batches::new(dataset, plan).map_err(|error| shown(model, diagnostic(&error, settings.batch_span, "asked for here")))
}

/// The data, or what is wrong with it, told at the `data` line.
fn read(model: &Model, settings: &Settings) -> Result<Result<Split, Diagnostic>, Failure> {
    let wanted: Vec<WantedInput> = model
        .signature()?
        .inputs
        .iter()
        .map(|input| WantedInput {
            name: input.name.clone(),
            dtype: input.dtype,
            row_shape: input.dims.iter().skip(1).map(|dim| size_of(model, dim)).collect(),
        })
        .collect();
    let split = data::open(&settings.source, &wanted, settings.seed);
    Ok(split.map_err(|error| diagnostic(&error, settings.source_span, "named here")))
}

/// What is wrong with data, at a place of the program.
fn diagnostic(error: &DataError, span: Span, label: &str) -> Diagnostic {
    let title = DataError { remedy: String::new(), ..error.clone() }.to_string();
    let diagnostic = Diagnostic::error("BP0313", title, span, label);
    if error.remedy.is_empty() { diagnostic } else { diagnostic.with_help(error.remedy.clone()) }
}

fn shown(model: &Model, diagnostic: Diagnostic) -> Failure {
    bpc::Error::Program { diagnostics: vec![diagnostic], sources: model.program().sources.clone() }.into()
}

/// Says which rows no batch takes.
pub fn tell_left_out(what: &str, dataset: &Dataset, plan: &Plan) {
    let BatchSize::Rows(size) = plan.batch else { return };
    let rows = dataset.rows_per_epoch(size, plan.shuffle);
    if plan.whole && !rows.is_multiple_of(size) {
        let rest = rows % size;
        eprintln!(
            "note: {rest} of {rows} rows of the {what} data fill no batch of {size} and are left out{}; the model takes no \
             smaller batch, since its first dim is no name",
            if plan.shuffle { ", others in each epoch" } else { "" }
        );
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::Error(bpc::Error::Call(message.into()))
}

/// A source with its paths in a folder.
fn spec(source: &Source, folder: &Path) -> SourceSpec {
    let files = |fields: &[(String, String)]| -> Vec<(String, PathBuf)> {
        fields.iter().map(|(input, path)| (input.clone(), folder.join(path))).collect()
    };
    match source.clone() {
        Source::Csv { path, columns, split } => SourceSpec::Csv { path: folder.join(path), columns, split },
        Source::Idx { fields, test, split } => {
            SourceSpec::Idx { fields: files(&fields), test: test.as_deref().map(files), split }
        }
        Source::Npz { path, fields, split } => SourceSpec::Npz { path: folder.join(path), fields, split },
        Source::Text { path, input, target, split, length } => {
            SourceSpec::Text { path: folder.join(path), input, target, split, length }
        }
    }
}
