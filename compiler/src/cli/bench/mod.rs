//! `bpc bench`: the same step in `bpc` and in other frameworks, side by side in one run.
//!
//! Expects: a folder with a `suite.json` (see [`suite`]) and the programs and scripts that it names.
//! Guarantees: every engine runs in a process of its own with the same inputs and parameters; results are compared before anything is timed;
//! rounds of steps are interleaved, so that noise of the machine meets all of them, and all processes but the one that is timed are held still.
//! A peer that gives no answer in time or dies is said to be late or to have failed, and the others go on. More threads often slow a peer down: where `bpc` runs on several, each peer runs on as many, on half of them, and so on down to one.
//! Leaves out: judgement; a table and a JSON file say what was measured.

mod agree;
mod group;
mod inputs;
mod report;
mod suite;
mod worker;

use super::arguments::Bench;
use super::{Failure, print};
use report::{Engine, Lost, Measurement};
use std::path::Path;
use std::time::Duration;
use suite::Workload;
use worker::{Missing, Setup, Worker};

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
        limit: Duration::from_secs_f64(options.limit),
    };
    let mut runs = vec![Run::new(Worker::start(&setup("bpc", threads)).map_err(|missing| missing.of("bpc"))?)];
    let mut lost = Vec::new();
    if workload.peer.is_some() {
        let known = PEERS.iter().filter(|name| peers.iter().any(|peer| name.starts_with(peer.as_str())));
        for (name, threads) in known.flat_map(|name| halved(threads).map(move |threads| (name, threads))) {
            match Worker::start(&setup(name, threads)) {
                Ok(worker) => {
                    agree::check(folder.path(), name, workload)?;
                    runs.push(Run::new(worker));
                }
                Err(Missing::Unknown) => {}
                Err(missing) => lost.push(Lost { name: (*name).to_string(), threads, missing }),
            }
        }
    }
    let budget = options.seconds / ROUNDS as f64;
    each(&mut runs, &mut lost, |run| {
        run.count = run.worker.calibrate(budget)?;
        Ok(())
    })?;
    for _ in 0..ROUNDS {
        each(&mut runs, &mut lost, |run| {
            run.medians.push(report::median(run.worker.round(run.count)?));
            Ok(())
        })?;
    }
    each(&mut runs, &mut lost, |run| {
        run.peak_bytes = run.worker.end()?;
        Ok(())
    })?;
    Ok(Measurement {
        workload: workload.name.clone(),
        threads,
        engines: runs.into_iter().map(Run::engine).collect(),
        lost,
    })
}

/// An engine while it is measured.
struct Run {
    worker: Worker,
    /// Steps of a round.
    count: usize,
    /// Of each round.
    medians: Vec<f64>,
    peak_bytes: Option<u64>,
}

impl Run {
    fn new(worker: Worker) -> Run {
        Run { worker, count: 0, medians: Vec::new(), peak_bytes: None }
    }

    fn engine(self) -> Engine {
        let Run { worker, medians, peak_bytes, .. } = self;
        let (name, threads, first_call) = (worker.engine().to_string(), worker.threads(), worker.first_call());
        Engine { name, threads, step: report::median(medians), first_call, peak_bytes }
    }
}

/// One engine after the other; a peer that is late or fails is out from then on.
fn each(
    runs: &mut Vec<Run>,
    lost: &mut Vec<Lost>,
    mut work: impl FnMut(&mut Run) -> Result<(), Missing>,
) -> Result<(), Failure> {
    let mut index = 0;
    while index < runs.len() {
        match work(&mut runs[index]) {
            Ok(()) => index += 1,
            Err(missing) if index > 0 => {
                let Run { worker, .. } = runs.remove(index);
                lost.push(Lost { name: worker.engine().to_string(), threads: worker.threads(), missing });
            }
            Err(missing) => return Err(missing.of("bpc")),
        }
    }
    Ok(())
}

/// A number of threads and its halves, down to one.
fn halved(threads: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(threads), |threads| Some(threads / 2).filter(|half| *half > 0))
}
