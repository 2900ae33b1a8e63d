//! Engines in processes of their own, driven over pipes.
//!
//! A worker writes `{"first": SECONDS}` when its first step is done and its results lie in `FOLDER/ENGINE.npz`; then it answers each line `N`
//! with `{"seconds": [..]}`, the time of each of N steps, and `end` with `{"peak": BYTES}`.
//!
//! Expects: the files of `inputs`.
//! Guarantees: a worker works only while it is asked and is held still otherwise, so that threads of it that spin while they wait take no time from
//! the others; one that dies or answers otherwise is said to have failed, with what it wrote last, one that does not answer in time to be late; no
//! process is left behind.
//! Leaves out: what the steps mean.

use super::super::{Failure, print};
use super::group::Group;
use super::inputs::{self, Request};
use bpc::{State, Tensors};
use bpc_runtime::tensor::HostTensor;
use bpc_runtime::tensor_file::write_tensors;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The first answer may take so many times as long as others.
const START: u32 = 5;

/// Which engine on what.
pub struct Setup {
    /// `bpc`, or what the script is asked for.
    pub engine: String,
    /// Cores and threads.
    pub threads: usize,
    /// Inputs and parameters.
    pub folder: PathBuf,
    /// The script of the peers.
    pub script: PathBuf,
    /// Its argument.
    pub case: String,
    /// The interpreter.
    pub python: String,
    /// How long an answer may take; the first one, for which engines compile, `START` times as long.
    pub limit: Duration,
}

/// Why there is no worker.
pub enum Missing {
    /// The script does not know the engine.
    Unknown,
    /// It gave no answer in so much time.
    Late(Duration),
    /// It failed: how.
    Failed(String),
}

impl Missing {
    /// As an error of an engine that must be there.
    pub fn of(self, engine: &str) -> Failure {
        error(&match self {
            Missing::Unknown => format!("{engine} is missing"),
            Missing::Late(limit) => format!("{engine} gave no answer in {limit:?}"),
            Missing::Failed(problem) => format!("{engine} {problem}"),
        })
    }
}

/// An engine that was started and waits for its turn.
pub struct Worker {
    engine: String,
    threads: usize,
    first: f64,
    process: Group,
    requests: ChildStdin,
    answers: Receiver<io::Result<String>>,
    limit: Duration,
}

impl Worker {
    /// Starts an engine and waits for its first step.
    pub fn start(setup: &Setup) -> Result<Worker, Missing> {
        let mut process = Group::start(command(setup).stdin(Stdio::piped()).stdout(Stdio::piped()))
            .map_err(|problem| Missing::Failed(format!("does not start: {problem}")))?;
        let (requests, answers) = process.pipes().ok_or_else(|| Missing::Failed("has no pipes".to_string()))?;
        let (engine, threads, limit) = (setup.engine.clone(), setup.threads, setup.limit);
        let mut worker = Worker { engine, threads, first: 0.0, process, requests, answers: lines(answers), limit };
        let answer = worker.answer_in(limit * START)?;
        if answer["unknown"].as_bool() == Some(true) {
            return Err(Missing::Unknown);
        }
        worker.process.hold();
        let first = answer["first"].as_f64();
        worker.first = first.ok_or_else(|| Missing::Failed(format!("answers {answer} instead of its first time")))?;
        Ok(worker)
    }

    /// Its name.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Its cores and threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Seconds from the program text, or from the imported framework, to the first result.
    pub fn first_call(&self) -> f64 {
        self.first
    }

    /// How many steps fill so many seconds, after a few to warm up.
    pub fn calibrate(&mut self, seconds: f64) -> Result<usize, Missing> {
        self.turn(|worker| {
            worker.steps(3)?;
            let fastest = worker.steps(3)?.into_iter().fold(f64::INFINITY, f64::min);
            Ok(((seconds / fastest.max(1e-7)) as usize).clamp(1, 100_000))
        })
    }

    /// The seconds of each of so many steps. One more comes before them: the caches are full of what others left.
    pub fn round(&mut self, count: usize) -> Result<Vec<f64>, Missing> {
        self.turn(|worker| Ok(worker.steps(count + 1)?.split_off(1)))
    }

    /// Ends it; gives the peak of its memory, where the system tells.
    pub fn end(&mut self) -> Result<Option<u64>, Missing> {
        self.turn(|worker| {
            worker.ask("end")?;
            Ok(worker.answer_in(worker.limit)?["peak"].as_u64())
        })
    }

    /// It has the cores for itself as long as this takes.
    fn turn<T>(&mut self, work: impl FnOnce(&mut Worker) -> Result<T, Missing>) -> Result<T, Missing> {
        self.process.release();
        let result = work(self);
        self.process.hold();
        result
    }

    fn steps(&mut self, count: usize) -> Result<Vec<f64>, Missing> {
        self.ask(&count.to_string())?;
        let answer = self.answer_in(self.limit)?;
        let seconds = answer["seconds"].as_array().map(|list| list.iter().filter_map(Value::as_f64).collect());
        seconds
            .filter(|seconds: &Vec<f64>| seconds.len() == count)
            .ok_or_else(|| Missing::Failed(format!("answers {answer} instead of {count} times")))
    }

    fn ask(&mut self, line: &str) -> Result<(), Missing> {
        writeln!(self.requests, "{line}").map_err(|problem| Missing::Failed(format!("is gone: {problem}")))
    }

    fn answer_in(&mut self, limit: Duration) -> Result<Value, Missing> {
        match self.answers.recv_timeout(limit) {
            Ok(Ok(line)) => {
                serde_json::from_str(&line).map_err(|_| Missing::Failed(format!("wrote `{}`", line.trim_end())))
            }
            Ok(Err(problem)) => Err(Missing::Failed(format!("cannot be read: {problem}"))),
            Err(RecvTimeoutError::Timeout) => Err(Missing::Late(limit)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Missing::Failed("ended without an answer; see its messages above".to_string()))
            }
        }
    }
}

/// The lines of a pipe, read by a thread that ends with the pipe, which ends with the group of the process.
fn lines(pipe: impl io::Read + Send + 'static) -> Receiver<io::Result<String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The command of an engine, bound to as many cores where the system has `taskset`.
fn command(setup: &Setup) -> Command {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bpc"));
    let mut words: Vec<PathBuf> = Vec::new();
    if Command::new("taskset").arg("--version").output().is_ok_and(|output| output.status.success()) {
        words.extend(["taskset".into(), "-c".into(), format!("0-{}", setup.threads - 1).into()]);
    }
    if setup.engine == "bpc" {
        words.extend([own, "bench-worker".into(), setup.folder.clone()]);
    } else {
        words.extend([PathBuf::from(&setup.python), setup.script.clone(), setup.engine.clone().into()]);
        words.extend([setup.case.clone().into(), setup.folder.clone()]);
    }
    words.push(setup.threads.to_string().into());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .envs(["OMP_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, setup.threads.to_string())));
    command
}

/// The frameworks that the interpreter can import.
pub fn peers(python: &str) -> Vec<String> {
    let imports = |name: &&str| {
        let output = Command::new(python).args(["-c", &format!("import numpy, {name}")]).output();
        output.is_ok_and(|output| output.status.success())
    };
    ["torch", "jax"].iter().filter(|name| imports(name)).map(|name| (*name).to_string()).collect()
}

/// Steps of `bpc` on request.
pub fn serve(folder: &Path, threads: usize) -> Result<(), Failure> {
    let Request { program, run, inputs, parameters } = inputs::read(folder)?;
    let mut state = State::new(0);
    let begin = Instant::now();
    let mut step = inputs::model(&program, &run)?.jit_with_threads(threads)?;
    state.load(&parameters)?;
    let mut turn = |state: &mut State| -> Result<Tensors, Failure> {
        Ok(if run.evaluate { step.evaluate(state, &inputs)? } else { step.step(state, &inputs)? })
    };
    let outputs = turn(&mut state)?;
    let first = begin.elapsed().as_secs_f64();
    let after = state.parameters();
    let results: Vec<(String, HostTensor)> =
        outputs.iter().chain(after.iter()).map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    write_tensors(&folder.join("bpc.npz"), &results)?;
    print(format!("{}\n", json!({"first": first})))?;
    for line in std::io::stdin().lines() {
        match line.unwrap_or_default().trim().parse::<usize>() {
            Ok(count) => {
                let mut seconds = Vec::with_capacity(count);
                for _ in 0..count {
                    let begin = Instant::now();
                    turn(&mut state)?;
                    seconds.push(begin.elapsed().as_secs_f64());
                }
                print(format!("{}\n", json!({"seconds": seconds})))?;
            }
            Err(_) => {
                print(format!("{}\n", json!({"peak": peak_bytes()})))?;
                break;
            }
        }
    }
    Ok(())
}

/// The most memory that this process has had, where Linux tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn error(message: &str) -> Failure {
    Failure::Error(bpc::Error::Call(message.to_string()))
}

/// A folder that is gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one among the system's temporary files.
    pub fn new() -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(format!("bpc-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|problem| error(&format!("{}: {problem}", path.display())))?;
        Ok(Folder(path))
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
