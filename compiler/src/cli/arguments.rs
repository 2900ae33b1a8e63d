//! The command line of `bpc`.
//!
//! Expects: nothing; clap reads it.
//! Guarantees: options that several commands share are declared once.
//! Leaves out: what the commands do.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A compiler for model programs in which the way a gradient is computed is part of the program.
#[derive(Parser, Debug)]
#[command(
    name = "bpc",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  bpc train examples/digits.bp                     train on the data that the program names
  bpc check model.bp                               report every error of a program
  bpc explain model.bp --set B=64                  gradient rules, rewrites, kernels and memory of a step
  bpc run model.bp --inputs in.json --outputs out.json"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Train a model on the data of its `train` block.
    Train(Train),
    /// Measure the outputs of a model on its evaluation data.
    Eval(Eval),
    /// Report every error of a program, compiling nothing.
    Check(ProgramOptions),
    /// Show sites and rules, what they save, rewrites, kernels and memory of a training step.
    Explain {
        /// The program and its settings.
        #[command(flatten)]
        program: ProgramOptions,
        /// Show how long each pass took.
        #[arg(long)]
        timings: bool,
        /// Set the rules of each function side by side, with bias and variance as `grad-check` finds them.
        #[arg(long)]
        compare: bool,
    },
    /// Hold exact rules and the whole model to finite differences, estimators to their expectation.
    GradCheck {
        /// The program and its settings.
        #[command(flatten)]
        program: ProgramOptions,
        /// Seed of parameters, inputs and cotangents.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Samples of an estimator that is too large to enumerate.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..))]
        samples: u32,
    },
    /// Print a stage of the compilation of a training step, or write an object file or its C header.
    Compile {
        /// The program and its settings.
        #[command(flatten)]
        program: ProgramOptions,
        /// The stage.
        #[arg(long, value_enum)]
        emit: Stage,
        /// Where to; standard output if absent (an object file needs a name).
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Compile the evaluation of the model instead of a training step.
        #[arg(long)]
        eval: bool,
    },
    /// Compute the outputs of a model on given inputs.
    Run(Run),
    /// Time steps of bpc and of other frameworks side by side.
    Bench(Bench),
    /// One engine of `bench`.
    #[command(hide = true)]
    BenchWorker {
        /// What `bench` prepared.
        folder: PathBuf,
        /// Workers.
        threads: usize,
    },
}

/// `bpc bench`
#[derive(Args, Debug)]
pub struct Bench {
    /// A folder with suite.json, programs, and scripts of the peers; `peers` is benches/peers.
    #[arg(long, value_name = "DIR", default_value = "peers")]
    pub suite: PathBuf,
    /// Only this workload (may be given several times).
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Cores and threads; one and then all if absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// The Python that has the peers (torch, jax); without them only bpc is timed.
    #[arg(long, default_value = "python3")]
    pub python: String,
    /// About how long each engine is timed on each workload.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds that an engine may take for an answer, and five times as many for its first step; then it counts as late.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    pub limit: f64,
    /// Where to write all results as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("give a number above 0, of a million at most".to_string()),
    }
}

/// `bpc train`
#[derive(Args, Debug)]
pub struct Train {
    /// The program and its settings.
    #[command(flatten)]
    pub program: ProgramOptions,
    /// Data and workers.
    #[command(flatten)]
    pub work: WorkOptions,
    /// Passes over the data, instead of the program's.
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Training steps, instead of the program's epochs.
    #[arg(long, conflicts_with = "epochs")]
    pub steps: Option<u64>,
    /// Rows of a batch, instead of the program's.
    #[arg(long)]
    pub batch: Option<u64>,
    /// Where to save the parameters after training (safetensors).
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Parameters to begin with.
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,
}

/// `bpc eval`
#[derive(Args, Debug)]
pub struct Eval {
    /// The program and its settings.
    #[command(flatten)]
    pub program: ProgramOptions,
    /// Data and workers.
    #[command(flatten)]
    pub work: WorkOptions,
    /// The parameters.
    #[arg(long, value_name = "FILE")]
    pub params: PathBuf,
    /// Rows of a batch, instead of the program's.
    #[arg(long)]
    pub batch: Option<u64>,
}

/// `bpc run`
#[derive(Args, Debug)]
pub struct Run {
    /// The program and its settings.
    #[command(flatten)]
    pub program: ProgramOptions,
    /// Inputs: JSON ({"name": {"shape": [..], "dtype": "float64", "data": nested lists}}) or npz.
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Where to write the outputs (JSON or npz); JSON on standard output if absent.
    #[arg(long, value_name = "FILE")]
    pub outputs: Option<PathBuf>,
    /// Parameters (safetensors, JSON or npz); initialised from the seed if absent.
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,
    /// Give the values of a random site: SITE=FILE (JSON with one tensor, or npz).
    #[arg(long, value_name = "SITE=FILE")]
    pub force: Vec<String>,
    /// Compute with the f64 reference interpreter instead of compiled code.
    #[arg(long)]
    pub interpret: bool,
    /// Seed of parameters and random sites.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Workers; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// A program and how it is specialised.
#[derive(Args, Debug, Clone)]
pub struct ProgramOptions {
    /// The program.
    pub program: PathBuf,
    /// The model, where the program has several.
    #[arg(long)]
    pub model: Option<String>,
    /// A size or setting of the model: B=128, dt=0.01, causal=true, mode=forward.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// A gradient rule: sample_onehot=reinmax, or 'linear in blocks.*=wht(k = 2)'.
    #[arg(long, value_name = "TARGET=RULE")]
    pub grad: Vec<String>,
}

/// Data and workers.
#[derive(Args, Debug, Clone, Default)]
pub struct WorkOptions {
    /// The folder that the paths of the program's data are relative to (default: the program's own).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Seed of parameters, shuffling and random sites, instead of the program's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Workers; 0 for one a core. Results do not depend on it.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// Stages that can be printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The words of the program.
    Tokens,
    /// The tree, as a canonical program.
    Ast,
    /// The graph after lowering.
    Graph,
    /// The graph with `vjp` nodes.
    Grad,
    /// What the e-graph pass did: rules that fired, sizes, costs.
    Egraph,
    /// The graph after the e-graph pass.
    Optimized,
    /// Loop nests, calls and the memory plan.
    Kernels,
    /// Cranelift's intermediate code.
    Clif,
    /// Machine code as text.
    Asm,
    /// An object file.
    Obj,
    /// The C header of the object file.
    Header,
    /// The optimised graph in Graphviz's language.
    Dot,
}
