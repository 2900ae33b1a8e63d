//! What was measured, as a table and as JSON.
//!
//! Expects: `bpc` as the first engine of each measurement.
//! Guarantees: a peer stands in the table with the threads that it was fastest on; ratios are the least of the peers over that of `bpc`: above 1,
//! `bpc` needs less.
//! Leaves out: engines that did not run: their cells are empty; those of engines that gave no answer say `late`, and
//! those of engines that died or answered otherwise `failed`.

use super::super::Failure;
use super::super::table;
use super::PEERS;
use super::worker::Missing;
use bpc_runtime::error::DataError;
use serde_json::{Value, json};
use std::path::Path;

/// One engine on one workload.
pub struct Engine {
    /// Its name.
    pub name: String,
    /// Cores and threads.
    pub threads: usize,
    /// Median seconds of a step.
    pub step: f64,
    /// Seconds to the first result.
    pub first_call: f64,
    /// Of the process, where known.
    pub peak_bytes: Option<u64>,
}

/// A peer that was started and not measured.
pub struct Lost {
    /// Its name.
    pub name: String,
    /// Cores and threads.
    pub threads: usize,
    /// Why.
    pub missing: Missing,
}

/// All engines on one workload.
pub struct Measurement {
    /// Its name.
    pub workload: String,
    /// Cores and threads of `bpc`; peers have as many at most.
    pub threads: usize,
    /// `bpc` first.
    pub engines: Vec<Engine>,
    /// What is not among them.
    pub lost: Vec<Lost>,
}

/// The middle of a list that is not empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The steps of one measurement, in milliseconds.
pub fn line(measurement: &Measurement) -> String {
    let engines = measurement.engines.iter();
    let times = engines.map(|engine| format!("{} {}", engine.name, on_threads(engine, measurement.threads, " ms")));
    let lost = measurement.lost.iter().map(|Lost { name, threads, missing }| match missing {
        Missing::Late(limit) => format!("{name} on {threads}: no answer in {} s", limit.as_secs_f64()),
        Missing::Failed(problem) => format!("{name} on {threads}: {problem}"),
        Missing::Unknown => format!("{name} on {threads}: unknown"),
    });
    format!("  {}", times.chain(lost).collect::<Vec<_>>().join(", "))
}

/// Rows for people.
pub fn table(measurements: &[Measurement]) -> String {
    let head = ["workload", "threads", "bpc ms", "torch", "torch.compile", "jax", "ratio", "first call", "memory"];
    let mut rows = vec![table::row(head)];
    for measurement in measurements {
        let own = &measurement.engines[0];
        let mut row = vec![measurement.workload.clone(), measurement.threads.to_string(), milliseconds(own.step)];
        let peers: Vec<Option<&Engine>> = PEERS.iter().map(|name| best(measurement, name)).collect();
        row.extend(PEERS.iter().zip(&peers).map(|(name, peer)| match peer {
            Some(peer) => on_threads(peer, measurement.threads, ""),
            None => match measurement.lost.iter().find(|lost| lost.name == *name).map(|lost| &lost.missing) {
                Some(Missing::Late(_)) => "late".to_string(),
                Some(Missing::Failed(_)) => "failed".to_string(),
                Some(Missing::Unknown) | None => String::new(),
            },
        }));
        let ratio = |of: &dyn Fn(&Engine) -> Option<f64>| -> String {
            let least = peers.iter().flatten().filter_map(|peer| of(peer)).fold(f64::INFINITY, f64::min);
            match of(own) {
                Some(own) if least.is_finite() => format!("{:.2}", least / own),
                _ => String::new(),
            }
        };
        row.push(ratio(&|engine| Some(engine.step)));
        row.push(ratio(&|engine| Some(engine.first_call)));
        row.push(ratio(&|engine| engine.peak_bytes.map(|bytes| bytes as f64)));
        rows.push(row);
    }
    let text = table::table("lrrrrrrrr", &rows);
    format!(
        "{text}\nratio, first call, memory: the least of the peers over that of bpc; above 1, bpc needs less\n\
         (n): the peer is fastest on n threads, which is what it is compared with; late: it gave no answer in time; failed: it died,\n\
         or answered otherwise\n"
    )
}

/// A peer with the threads that it was fastest on.
fn best<'a>(measurement: &'a Measurement, name: &str) -> Option<&'a Engine> {
    let engines = measurement.engines.iter().filter(|engine| engine.name == name);
    engines.min_by(|a, b| a.step.total_cmp(&b.step))
}

/// The time of a step, and the threads where they are fewer than they could be.
fn on_threads(engine: &Engine, most: usize, unit: &str) -> String {
    let time = milliseconds(engine.step) + unit;
    if engine.threads == most { time } else { format!("{time} ({})", engine.threads) }
}

fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.3}") }
}

/// Writes everything as JSON.
pub fn write(path: &Path, measurements: &[Measurement]) -> Result<(), Failure> {
    let engine = |engine: &Engine| {
        let Engine { name, threads, step, first_call, peak_bytes } = engine;
        json!({"engine": name, "threads": threads, "step_seconds": step, "first_call_seconds": first_call,
            "peak_bytes": peak_bytes})
    };
    let lost = |Lost { name, threads, missing }: &Lost| match missing {
        Missing::Late(limit) => {
            json!({"engine": name, "threads": threads, "no_answer_in_seconds": limit.as_secs_f64()})
        }
        Missing::Failed(problem) => json!({"engine": name, "threads": threads, "failed": problem}),
        Missing::Unknown => json!({"engine": name, "threads": threads}),
    };
    let list: Vec<Value> = measurements
        .iter()
        .map(|measurement| {
            let Measurement { workload, threads, .. } = measurement;
            let engines: Vec<Value> = measurement.engines.iter().map(engine).collect();
            let lost: Vec<Value> = measurement.lost.iter().map(lost).collect();
            json!({"workload": workload, "threads": threads, "engines": engines, "lost": lost})
        })
        .collect();
    let text = serde_json::to_string_pretty(&list).unwrap_or_default();
    std::fs::write(path, text + "\n")
        .map_err(|error| DataError::in_file(path, error.to_string(), "choose another --json file"))?;
    Ok(())
}
