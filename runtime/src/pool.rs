//! The worker pool of a compiled step, and the scratch memory of each worker.
//!
//! Expects: one step at a time on a [`Context`]; kernels whose ranges are independent of each other.
//! Guarantees: the ranges a kernel sees depend on `count` and `grain` alone, never on the number of workers; no call
//! allocates; with one thread, or from inside a kernel, everything runs inline. A panic in a kernel ends the process.
//! Leaves out: any order between ranges.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A job for the pool: called with ranges `begin..end` and the scratch of the worker that runs it.
pub type Body<'a> = &'a (dyn Fn(u64, u64, *mut u8) + Sync);

/// Workers and their scratch. The thread that calls [`Context::parallel`] is the first worker.
pub struct Context {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// One caller at a time: `Send`, not `Sync`.
    single: PhantomData<Cell<()>>,
}

/// What the caller and the workers share.
struct Shared {
    /// `OPEN` while workers may join the job, `STOP` when they shall end, how many are inside (low bits), and above them
    /// the number of the job.
    state: AtomicU64,
    /// Written by the caller while no worker is inside.
    job: UnsafeCell<Job>,
    /// First index that nobody has taken.
    next: AtomicU64,
    /// Workers that wait at `wake`.
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    scratch: Vec<Scratch>,
}

// SAFETY: `job` is written only while the job is closed and no worker is inside, and read only by workers inside; the
// scratch blocks are handed out one to each worker. Everything else is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it belongs to a thread; the raw pointers of `job` are used only during the call that set them.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    /// The body with its lifetime taken away; `None` before the first job.
    body: Option<*const (dyn Fn(u64, u64, *mut u8) + Sync + 'static)>,
    count: u64,
    grain: u64,
}

const INSIDE_MASK: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const STOP: u64 = 1 << 17;
const NUMBER_ONE: u64 = 1 << 18;

/// How long an idle worker looks for the next job before it sleeps: some tens of microseconds.
const SPINS: u32 = 2000;

/// 64-byte aligned memory of one worker.
struct Scratch(Box<[Line]>);

#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; 64]>);

impl Scratch {
    fn try_new(lines: usize) -> Option<Scratch> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(lines).ok()?;
        memory.extend((0..lines).map(|_| Line(UnsafeCell::new([0; 64]))));
        Some(Scratch(memory.into_boxed_slice()))
    }
}

thread_local! {
    /// The pool this thread works for and its number there; null for a caller that is in no kernel.
    static PLACE: Cell<(*const Shared, usize)> = const { Cell::new((std::ptr::null(), 0)) };
}

impl Context {
    /// A pool of `threads` workers (at least one, the caller), each with `scratch_bytes` of 64-byte aligned memory.
    ///
    /// # Panics
    /// Where the machine does not have as much memory.
    pub fn new(threads: usize, scratch_bytes: usize) -> Context {
        Context::try_new(threads, scratch_bytes).unwrap_or_else(|| {
            panic!("{threads} workers with {scratch_bytes} bytes each take more memory than there is")
        })
    }

    /// The same, or `None` where the machine does not have as much memory.
    pub fn try_new(threads: usize, scratch_bytes: usize) -> Option<Context> {
        let threads = threads.clamp(1, INSIDE_MASK as usize);
        let lines = scratch_bytes.div_ceil(64).max(1);
        let scratch = (0..threads).map(|_| Scratch::try_new(lines)).collect::<Option<Vec<Scratch>>>()?;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { body: None, count: 0, grain: 1 }),
            next: AtomicU64::new(0),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            scratch,
        });
        let handles = (1..threads)
            .filter_map(|worker| {
                let shared = shared.clone();
                let builder = std::thread::Builder::new().name(format!("bpc-{worker}"));
                // Where the system refuses a thread, the others do its work.
                builder.spawn(move || shared.work(worker)).ok()
            })
            .collect();
        Some(Context { shared, handles, single: PhantomData })
    }

    /// How many workers there are, the caller included.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Bytes of scratch that every worker has.
    pub fn scratch_bytes(&self) -> usize {
        self.shared.scratch[0].0.len() * 64
    }

    /// The scratch of the calling thread: its own inside a kernel of this pool, the first worker's otherwise.
    pub fn scratch(&self) -> *mut u8 {
        let (pool, worker) = PLACE.get();
        self.shared.scratch(if std::ptr::eq(pool, &*self.shared) { worker } else { 0 })
    }

    /// Runs `body` on `0..grain`, `grain..2 * grain`, .. up to `count` on all workers, and returns when all is done.
    pub fn parallel(&self, count: u64, grain: u64, body: Body<'_>) {
        let grain = grain.clamp(1, count.max(1));
        let shared = &*self.shared;
        let (outer_pool, outer_worker) = PLACE.get();
        if self.handles.is_empty() || count <= grain || std::ptr::eq(outer_pool, shared) {
            let scratch = self.scratch();
            let mut begin = 0;
            while begin < count {
                let end = begin.saturating_add(grain).min(count);
                body(begin, end, scratch);
                begin = end;
            }
            return;
        }
        // SAFETY: only the lifetime changes; this function does not return before every worker has left the job.
        let body = unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) };
        // SAFETY: the last job is closed and all have left it, so nobody reads `job` now; `Context` is not `Sync`, so no
        // other caller is here.
        unsafe { *shared.job.get() = Job { body: Some(body), count, grain } };
        shared.next.store(0, Ordering::Relaxed);
        let number = shared.state.load(Ordering::Relaxed) & !(NUMBER_ONE - 1);
        shared.state.store(number.wrapping_add(NUMBER_ONE) | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        PLACE.set((shared, 0));
        run_ranges(shared, 0);
        PLACE.set((outer_pool, outer_worker));
        // Who has not come by now need not come: no ranges are left.
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while shared.state.load(Ordering::Acquire) & INSIDE_MASK != 0 {
            pause(&mut spins);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.shared.state.fetch_or(STOP, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for handle in self.handles.drain(..) {
            // A worker cannot panic (see `run_ranges`), so there is nothing to report.
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn scratch(&self, worker: usize) -> *mut u8 {
        UnsafeCell::raw_get(self.scratch[worker].0.as_ptr().cast::<UnsafeCell<u8>>())
    }

    /// A worker's life: look for a job, join it, sleep when none comes.
    fn work(&self, worker: usize) {
        PLACE.set((self, worker));
        let mut last = 0;
        let mut spins = 0u32;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & STOP != 0 {
                return;
            }
            let number = state & !(NUMBER_ONE - 1);
            if state & OPEN != 0 && number != last {
                if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    run_ranges(self, worker);
                    self.state.fetch_sub(1, Ordering::Release);
                    last = number;
                    spins = 0;
                }
                continue;
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
                continue;
            }
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            // The caller publishes, then looks for sleepers; we announce the sleep, then look once more: one of us sees
            // the other.
            if self.state.load(Ordering::SeqCst) == state {
                drop(self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(guard);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            spins = 0;
        }
    }
}

/// Takes ranges until none is left. `extern "C"`: a panic must not leave the job half done, so it ends the process.
extern "C" fn run_ranges(shared: &Shared, worker: usize) {
    // SAFETY: the job was published before the state that let us in, and is not rewritten while we are inside.
    let job = unsafe { *shared.job.get() };
    let Some(body) = job.body else { return };
    // SAFETY: the caller that owns the body waits until we have left.
    let body = unsafe { &*body };
    let scratch = shared.scratch(worker);
    loop {
        let begin = shared.next.fetch_add(job.grain, Ordering::Relaxed);
        if begin >= job.count {
            return;
        }
        body(begin, begin.saturating_add(job.grain).min(job.count), scratch);
    }
}

/// Waits a moment; gives the core away when it has been long.
fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_index_once_in_the_same_ranges() {
        for threads in [1, 2, 4] {
            let context = Context::new(threads, 100);
            for (count, grain) in [(0, 1), (1, 1), (7, 3), (100, 1), (1000, 7), (64, 64), (65, 64), (3, 0)] {
                let seen: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
                context.parallel(count, grain, &|begin, end, _| {
                    assert_eq!(begin % grain.max(1), 0);
                    assert_eq!(end, (begin + grain.max(1)).min(count));
                    (begin..end).for_each(|i| _ = seen[i as usize].fetch_add(1, Ordering::Relaxed));
                });
                assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{threads} {count} {grain}");
            }
        }
    }

    #[test]
    fn scratch_is_aligned_and_one_for_each_worker() {
        let context = Context::new(3, 1000);
        assert_eq!(context.scratch() as usize % 64, 0);
        let owner: Mutex<Vec<(usize, std::thread::ThreadId)>> = Mutex::new(vec![]);
        for _ in 0..200 {
            context.parallel(12, 1, &|begin, _, scratch| {
                assert_eq!(scratch, context_scratch());
                // SAFETY: 1000 bytes of our own.
                unsafe { std::ptr::write_bytes(scratch, begin as u8, 1000) };
                std::thread::yield_now();
                // SAFETY: as before.
                assert_eq!(unsafe { *scratch.add(999) }, begin as u8);
                owner.lock().unwrap().push((scratch as usize, std::thread::current().id()));
            });
        }
        let mut seen = std::collections::BTreeMap::new();
        for (scratch, thread) in owner.into_inner().unwrap() {
            assert_eq!(*seen.entry(scratch).or_insert(thread), thread);
        }
    }

    /// The scratch that [`PLACE`] names.
    fn context_scratch() -> *mut u8 {
        let (pool, worker) = PLACE.get();
        // SAFETY: only called inside a kernel, where the pool lives.
        unsafe { (*pool).scratch(worker) }
    }

    #[test]
    fn nested_calls_run_inline() {
        struct Shareable(Context);
        // SAFETY: for this test: kernels may call back into their own pool, which runs inline.
        unsafe impl Sync for Shareable {}
        let context = Shareable(Context::new(4, 0));
        let context = &context;
        let total = AtomicU64::new(0);
        context.0.parallel(8, 1, &|_, _, scratch| {
            let scratch = scratch as usize;
            let inner = &context.0;
            inner.parallel(10, 3, &|begin, end, inner_scratch| {
                assert_eq!(scratch, inner_scratch as usize);
                total.fetch_add(end - begin, Ordering::Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 80);
    }

    #[test]
    fn more_scratch_than_there_is_gives_no_context() {
        assert!(Context::try_new(2, usize::MAX).is_none());
        assert!(Context::try_new(1, usize::MAX / 4).is_none());
    }

    #[test]
    fn wakes_from_sleep() {
        let context = Context::new(4, 0);
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(2));
            let total = AtomicU64::new(0);
            context.parallel(1000, 10, &|begin, end, _| _ = total.fetch_add(end - begin, Ordering::Relaxed));
            assert_eq!(total.into_inner(), 1000);
        }
    }
}
