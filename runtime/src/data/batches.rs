//! Batches of a data set, epoch after epoch, made ahead of time by a thread.
//!
//! Expects: a data set that [`open`](crate::data::open) has checked.
//! Guarantees: the sequence of batches depends on the data, the plan and nothing else;
//!   prefetching changes nothing but the time. Dropping a prefetcher ends its thread.
//! Leaves out: several readers of one sequence.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{JoinHandle, spawn};

use crate::data::dataset::Dataset;
use crate::error::DataError;
use crate::tensor::HostTensor;

/// How many rows a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many; the last batch of an epoch has what is left.
    Rows(u64),
    /// All rows at once.
    All,
}

/// How a data set is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows of a batch.
    pub batch: BatchSize,
    /// Whether a last batch with fewer rows is left out.
    pub whole: bool,
    /// How often everything is visited.
    pub epochs: u64,
    /// Of the order.
    pub seed: u64,
    /// A new order in every epoch (for a text: random windows); else the order of the file.
    pub shuffle: bool,
}

/// The inputs of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number of the epoch, from 0.
    pub epoch: u64,
    /// Number of the batch within the epoch, from 0.
    pub index: u64,
    /// One tensor `[rows, ..]` for each input, in the order of the data set's fields.
    pub tensors: Vec<HostTensor>,
}

/// The sequence of batches of a data set.
#[derive(Clone, Debug)]
pub struct Batches {
    dataset: Dataset,
    plan: Plan,
    /// Rows of a full batch.
    size: u64,
    /// What the next batch is.
    epoch: u64,
    index: u64,
    /// Where the rows of an epoch start.
    order: Option<(u64, Vec<u64>)>,
}

impl Batches {
    /// From the first batch on.
    pub fn new(dataset: Dataset, plan: Plan) -> Result<Batches, DataError> {
        if dataset.rows() == 0 {
            return Err(DataError::new("", "the data set has no rows", "give at least one row"));
        }
        let (size, plan) = match plan.batch {
            BatchSize::Rows(0) => {
                return Err(DataError::new("", "a batch of 0 rows holds nothing", "give `batch` at least 1 row"));
            }
            BatchSize::Rows(rows) if plan.whole && rows > dataset.rows() => {
                let problem = format!("{} rows do not fill one batch of {rows}", dataset.rows());
                return Err(DataError::new("", problem, "give more rows, or let the model take batches of any size"));
            }
            BatchSize::Rows(rows) => (rows.min(dataset.rows()), plan),
            // The order within the only batch of an epoch does not matter, and windows of a text are then all of them.
            BatchSize::All => (dataset.rows(), Plan { shuffle: false, ..plan }),
        };
        Ok(Batches { dataset, plan, size, epoch: 0, index: 0, order: None })
    }

    /// Number of batches of one epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.rows_per_epoch().div_ceil(self.size)
    }

    /// Number of rows that the batches of one epoch hold.
    pub fn rows_per_epoch(&self) -> u64 {
        let rows = self.dataset.rows_per_epoch(self.size, self.plan.shuffle);
        if self.plan.whole { rows - rows % self.size } else { rows }
    }

    /// What it goes through.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The next batch, in the memory of one that is no longer needed; `None` after the last.
    pub fn next_into(&mut self, mut batch: Batch) -> Result<Option<Batch>, DataError> {
        if self.epoch >= self.plan.epochs {
            return Ok(None);
        }
        let order = match self.order.take() {
            Some((epoch, order)) if epoch == self.epoch => order,
            _ => {
                let mut order = self.dataset.epoch_starts(self.size, self.plan.shuffle, self.plan.seed, self.epoch);
                order.truncate(self.rows_per_epoch() as usize);
                order
            }
        };
        let first = (self.index * self.size) as usize;
        let last = order.len().min(first + self.size as usize);
        let starts = &order[first..last];
        let mut buffers = std::mem::take(&mut batch.tensors).into_iter().map(HostTensor::into_bytes);
        for field in self.dataset.fields() {
            let mut bytes = buffers.next().unwrap_or_default();
            bytes.clear();
            field.append_rows(starts, &mut bytes)?;
            let shape = [&[starts.len() as u64], field.row_shape()].concat();
            batch.tensors.push(HostTensor::from_parts(field.dtype(), shape, bytes));
        }
        (batch.epoch, batch.index) = (self.epoch, self.index);
        if last == order.len() {
            (self.epoch, self.index) = (self.epoch + 1, 0);
        } else {
            self.index += 1;
            self.order = Some((self.epoch, order));
        }
        Ok(Some(batch))
    }

    /// Makes batches ahead of time in a thread.
    pub fn prefetch(self) -> Prefetch {
        let (sender, ready) = sync_channel(PREFETCHED);
        let (spare, returned) = channel();
        let worker = spawn(move || produce(self, &sender, &returned));
        Prefetch { pack: Pack::new(), ready: Some(ready), spare, worker: Some(worker) }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_into(Batch::default()).transpose()
    }
}

/// Packs that wait, beside the one in use and the one being made.
const PREFETCHED: usize = 2;

/// A pack is handed over once it holds so many bytes. A handover wakes a thread, which takes longer than making a small
/// batch does; a large batch is a pack of its own.
const PACK_BYTES: usize = 1 << 18;

/// Most batches of a pack.
const PACK_BATCHES: usize = 64;

/// Consecutive batches, and an error at the end if there was one.
type Pack = VecDeque<Result<Batch, DataError>>;

/// Sends batches until there are no more, one fails, or nobody listens.
fn produce(mut batches: Batches, ready: &SyncSender<Pack>, returned: &Receiver<Batch>) {
    let mut ended = false;
    while !ended {
        let mut pack = Pack::new();
        let mut bytes = 0;
        while !ended && bytes < PACK_BYTES && pack.len() < PACK_BATCHES {
            match batches.next_into(returned.try_recv().unwrap_or_default()).transpose() {
                Some(item) => {
                    ended = item.is_err();
                    bytes +=
                        item.iter().flat_map(|batch| &batch.tensors).map(|tensor| tensor.bytes().len()).sum::<usize>();
                    pack.push_back(item);
                }
                None => ended = true,
            }
        }
        if ready.send(pack).is_err() {
            return;
        }
    }
}

/// Batches made ahead of time. The first error ends the sequence.
#[derive(Debug)]
pub struct Prefetch {
    /// What was received and not yet taken.
    pack: Pack,
    /// Taken on drop, which wakes a thread that waits to send.
    ready: Option<Receiver<Pack>>,
    spare: Sender<Batch>,
    worker: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Gives a batch back, so that its memory is used again.
    pub fn recycle(&self, batch: Batch) {
        // After the last batch nobody takes it, and it is simply freed.
        let _ = self.spare.send(batch);
    }
}

impl Iterator for Prefetch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.pack.pop_front() {
                return Some(item);
            }
            match self.ready.as_ref()?.recv() {
                Ok(pack) => self.pack = pack,
                Err(_) => {
                    self.ready = None;
                    if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
                        resume_unwind(panic);
                    }
                }
            }
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(worker) = self.worker.take() {
            // A panic there was either passed on by `next` or concerns batches that nobody wants any more.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::column::Column;
    use crate::data::dataset::{Field, Selection};
    use crate::tensor::{Dtype, Stored};
    use std::sync::Arc;

    /// Ten rows of two u8 (2 r, 2 r + 1) as f32, and their numbers as i32.
    fn ten_rows() -> Dataset {
        let pixels = Column { stored: Stored::U8, shape: vec![10, 2], bytes: (0..20).collect() };
        let numbers = Column { stored: Stored::I8, shape: vec![10], bytes: (0..10).collect() };
        let fields = vec![
            Field::rows("pixels", Dtype::F32, vec![2, 1], Arc::new(pixels)),
            Field::rows("number", Dtype::I32, vec![], Arc::new(numbers)),
        ];
        Dataset::new(fields, Selection::Rows((0..10).collect()))
    }

    fn all(batches: Batches) -> Vec<Batch> {
        batches.map(Result::unwrap).collect()
    }

    fn plan(batch: u64, shuffle: bool) -> Plan {
        Plan { batch: BatchSize::Rows(batch), whole: false, epochs: 2, seed: 3, shuffle }
    }

    #[test]
    fn batches_in_order_with_a_partial_one() {
        let made = all(Batches::new(ten_rows(), plan(4, false)).unwrap());
        let places: Vec<(u64, u64, u64)> =
            made.iter().map(|batch| (batch.epoch, batch.index, batch.tensors[1].shape()[0])).collect();
        assert_eq!(places, [(0, 0, 4), (0, 1, 4), (0, 2, 2), (1, 0, 4), (1, 1, 4), (1, 2, 2)]);
        assert_eq!(made[2].tensors[0].type_text(), "f32[2, 2, 1]");
        assert_eq!(made[2].tensors[0].to_f64(), [16.0, 17.0, 18.0, 19.0]);
        assert_eq!(made[5].tensors[1].to_vec::<i32>().unwrap(), [8, 9]);
    }

    #[test]
    fn shuffling_visits_every_row_once_and_rows_stay_together() {
        let made = all(Batches::new(ten_rows(), plan(4, true)).unwrap());
        let mut orders = Vec::new();
        for epoch in 0..2 {
            let of_epoch: Vec<&Batch> = made.iter().filter(|batch| batch.epoch == epoch).collect();
            let order: Vec<f64> = of_epoch.iter().flat_map(|batch| batch.tensors[1].to_f64()).collect();
            let pixels: Vec<f64> = of_epoch.iter().flat_map(|batch| batch.tensors[0].to_f64()).collect();
            for (number, pair) in order.iter().zip(pixels.chunks(2)) {
                assert_eq!(pair, [2.0 * number, 2.0 * number + 1.0]);
            }
            let mut sorted = order.clone();
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, (0..10).map(f64::from).collect::<Vec<f64>>());
            orders.push(order);
        }
        assert_ne!(orders[0], orders[1]);
    }

    #[test]
    fn all_rows_at_once() {
        let made = all(Batches::new(ten_rows(), Plan { batch: BatchSize::All, ..plan(1, true) }).unwrap());
        assert_eq!(made.len(), 2);
        assert_eq!(made[1].tensors[1].to_f64(), (0..10).map(f64::from).collect::<Vec<f64>>());
        let large = all(Batches::new(ten_rows(), plan(u64::MAX, false)).unwrap());
        assert_eq!(large[0].tensors, made[0].tensors);
        assert!(Batches::new(ten_rows(), plan(0, false)).is_err());
        assert!(Batches::new(ten_rows().select(Selection::Rows(vec![])), plan(1, false)).is_err());
    }

    #[test]
    fn whole_batches_alone() {
        let whole = Plan { whole: true, ..plan(4, true) };
        let batches = Batches::new(ten_rows(), whole).unwrap();
        assert_eq!((batches.batches_per_epoch(), batches.rows_per_epoch()), (2, 8));
        let (made, partial) = (all(batches), all(Batches::new(ten_rows(), plan(4, true)).unwrap()));
        let expected: Vec<Batch> = partial.into_iter().filter(|batch| batch.index < 2).collect();
        assert_eq!(made, expected);
        let error = Batches::new(ten_rows(), Plan { whole: true, ..plan(11, true) }).unwrap_err().to_string();
        assert!(error.contains("10 rows do not fill one batch of 11"), "{error}");
    }

    #[test]
    fn prefetching_changes_nothing() {
        // 400 batches: several packs.
        let long = Plan { epochs: 100, ..plan(3, true) };
        let direct = all(Batches::new(ten_rows(), long).unwrap());
        let mut prefetch = Batches::new(ten_rows(), long).unwrap().prefetch();
        let mut made = Vec::new();
        while let Some(batch) = prefetch.next() {
            let batch = batch.unwrap();
            made.push(batch.clone());
            prefetch.recycle(batch);
        }
        assert_eq!(made, direct);
        assert!(prefetch.next().is_none());
    }

    #[test]
    fn dropping_early_ends_the_thread() {
        for taken in [0, 1, 2, PACK_BATCHES, 4 * PACK_BATCHES + 1] {
            let endless = Plan { epochs: u64::MAX, ..plan(3, true) };
            let mut prefetch = Batches::new(ten_rows(), endless).unwrap().prefetch();
            for _ in 0..taken {
                assert!(prefetch.next().unwrap().is_ok());
            }
            // Joins the thread: a deadlock would show as a test that never ends.
            drop(prefetch);
        }
    }

    #[test]
    fn errors_and_panics_are_passed_on() {
        let column = |shape: u64| {
            let bytes = [1.0f64, 2.0, 0.5, 4.0].map(f64::to_le_bytes).concat();
            Arc::new(Column { stored: Stored::Element(Dtype::F64), shape: vec![shape], bytes })
        };
        let unchecked =
            Dataset::new(vec![Field::rows("label", Dtype::I32, vec![], column(4))], Selection::Rows((0..4).collect()));
        let mut prefetch = Batches::new(unchecked.clone(), plan(2, false)).unwrap().prefetch();
        assert!(prefetch.next().unwrap().is_ok());
        let error = prefetch.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("input `label`, row 2: 0.5 does not fit in i32"), "{error}");
        assert!(prefetch.next().is_none());
        let outside = unchecked.select(Selection::Rows(vec![99]));
        let mut prefetch = Batches::new(outside, plan(2, false)).unwrap().prefetch();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| prefetch.next())).is_err());
    }
}
