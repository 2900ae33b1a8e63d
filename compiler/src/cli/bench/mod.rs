//! `bpc bench`: the same step in `bpc` and in other frameworks, side by side in one run.
//!
//! Expects: a folder with a `suite.json` (see [`suite`]) and the programs and scripts that it names.
//! Guarantees: every engine runs in a process of its own with the same inputs and parameters; results are compared before anything is timed;
//! rounds of steps are interleaved, so that noise of the machine meets all of them, and all processes but the one that is timed are held still.
//! More threads often slow a peer down: where `bpc` runs on several, each peer runs on as many, on half of them, and so on down to one.
//! Leaves out: judgement; a table and a JSON file say what was measured.

mod agree;
mod group;
mod inputs;
mod report;
mod suite;
mod worker;

use super::arguments::Bench;
use super::{Failure, print};
use report::{Engine, Measurement};
use std::path::Path;
use suite::Workload;
use worker::{Setup, Worker};

/// Rounds of interleaved steps.
const ROUNDS: usize = 7;

/// The engines that a script of peers knows.
const PEERS: [&str; 3] = ["torch", "torch.compile", "jax"];

/// Runs the suite, prints the table, writes the JSON.
pub fn run(options: &Bench) -> Result<(), Failure> {
    let suite = if options.suite.is_dir() { options.suite.clone() } else { Path::new("benches").join(&options.suite) };
    let workloads = suite::read(&suite)?;
    let chosen: Vec<&Workload> = match options.only.as_slice() {
        [] => workloads.iter().collect(),
        names => names.iter().map(|name| suite::find(&workloads, name)).collect::<Result<_, _>>()?,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match options.threads {
        Some(threads) => vec![usize::from(threads)],
        None if cores == 1 => vec![1],
        None => vec![1, cores],
    };
    let peers = worker::peers(&options.python);
    if peers.is_empty() {
        eprintln!("no peers: `{}` has neither torch nor jax; only bpc is measured", options.python);
    }
    let write = |measurements: &[Measurement]| match &options.json {
        Some(path) => report::write(path, measurements),
        None => Ok(()),
    };
    let mut measurements = Vec::new();
    write(&measurements)?;
    for workload in chosen {
        for threads in &threads {
            eprintln!("{} on {threads} of {cores} cores", workload.name);
            let measurement = measure(options, &suite, workload, *threads, &peers)?;
            // A run of many minutes may be stopped: what is known is said at once.
            eprintln!("{}", report::line(&measurement));
            measurements.push(measurement);
            write(&measurements)?;
        }
    }
    print(report::table(&measurements))
}

/// The other side of the pipe: steps of `bpc` on request.
pub fn serve(folder: &Path, threads: usize) -> Result<(), Failure> {
    worker::serve(folder, threads)
}

/// One workload, `bpc` first and on so many threads.
fn measure(
    options: &Bench,
    suite: &Path,
    workload: &Workload,
    threads: usize,
    peers: &[String],
) -> Result<Measurement, Failure> {
    let folder = worker::Folder::new()?;
    inputs::prepare(suite, workload, folder.path())?;
    let setup = |engine: &str, threads: usize| Setup {
        engine: engine.to_string(),
        threads,
        folder: folder.path().to_path_buf(),
        script: workload.peer.as_ref().map(|peer| suite.join(peer)).unwrap_or_default(),
        case: workload.case.clone(),
        python: options.python.clone(),
    };
    let mut workers = vec![Worker::start(&setup("bpc", threads))?];
    if workload.peer.is_some() {
        let known = PEERS.iter().filter(|name| peers.iter().any(|peer| name.starts_with(peer.as_str())));
        for (name, threads) in known.flat_map(|name| halved(threads).map(move |threads| (name, threads))) {
            match Worker::start(&setup(name, threads)) {
                Ok(worker) => {
                    agree::check(folder.path(), name, workload)?;
                    workers.push(worker);
                }
                Err(worker::Missing::Unknown) => {}
                Err(worker::Missing::Failed(failure)) => return Err(failure),
            }
        }
    }
    let budget = options.seconds / ROUNDS as f64;
    let counts = workers.iter_mut().map(|worker| worker.calibrate(budget)).collect::<Result<Vec<_>, _>>()?;
    let mut medians = vec![Vec::new(); workers.len()];
    for _ in 0..ROUNDS {
        for ((worker, count), medians) in workers.iter_mut().zip(&counts).zip(&mut medians) {
            medians.push(report::median(worker.round(*count)?));
        }
    }
    let mut engines = Vec::new();
    for (worker, medians) in workers.into_iter().zip(medians) {
        let (name, threads, first_call) = (worker.engine().to_string(), worker.threads(), worker.first_call());
        engines.push(Engine { name, threads, step: report::median(medians), first_call, peak_bytes: worker.end()? });
    }
    Ok(Measurement { workload: workload.name.clone(), threads, engines })
}

/// A number of threads and its halves, down to one.
fn halved(threads: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(threads), |threads| Some(threads / 2).filter(|half| *half > 0))
}
