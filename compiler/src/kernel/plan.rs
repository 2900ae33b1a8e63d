//! Places of buffers: a state block in the order of the inputs, data and outputs in memory of the caller, and a workspace in
//! which buffers whose lives do not overlap share bytes.
//!
//! Expects: steps in their final order; scratch and slices placed already.
//! Guarantees: every buffer has a place; two buffers that share bytes are never alive together, except where an
//! elementwise value takes the place of an operand that dies there. `workspace_bytes` is exact.
//! Leaves out: the order of steps.

use super::in_place::same_element_only;
use super::ir::{Buffer, BufferId, BufferRole, Place, Program, Repeat, Step};
use cranelift_entity::SecondaryMap;

/// Every place is a multiple of this.
pub(crate) const ALIGNMENT: u64 = 64;

/// When a buffer of the workspace or of the caller holds something that is still needed, in leaf steps counted from 1 (0 is before the
/// first; a loop in time counts one before and one after its body).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The buffer.
    pub buffer: BufferId,
    /// The moment that writes it.
    pub first: u64,
    /// The last moment that reads it.
    pub last: u64,
}

/// The moment when most of the workspace and of the caller's memory is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Bytes of all buffers that are alive then.
    pub bytes: u64,
    /// Index of the step in the program.
    pub step: usize,
    /// The moment, as [`Life`] counts.
    pub moment: u64,
}

/// Gives every buffer its place.
pub fn plan(program: &mut Program) {
    let (mut state, mut arguments) = (0, 0);
    for buffer in program.buffers.values_mut() {
        match buffer.role {
            BufferRole::Parameter | BufferRole::State => {
                buffer.place = Place::State(state);
                state += buffer.bytes().next_multiple_of(ALIGNMENT);
            }
            BufferRole::Data | BufferRole::Output if buffer.place == Place::Unplanned => {
                buffer.place = Place::Argument(arguments);
                arguments += 1;
            }
            _ => {}
        }
    }
    program.state_bytes = state;

    // Groups of buffers that take each other's place, as one interval each.
    let lives = lives(program);
    let mut interval = SecondaryMap::<BufferId, Option<(u64, u64)>>::new();
    lives.iter().for_each(|life| interval[life.buffer] = Some((life.first, life.last)));
    let mut leader = SecondaryMap::<BufferId, Option<BufferId>>::new();
    for (new, old) in heirs(program, &lives) {
        let old = leader[old].unwrap_or(old);
        if let (Some((first, _)), Some((_, last))) = (interval[old], interval[new]) {
            interval[old] = Some((first, last));
            interval[new] = None;
            leader[new] = Some(old);
        }
    }
    let mut groups: Vec<(u64, u64, u64, BufferId)> = program
        .buffers
        .iter()
        .filter_map(|(id, buffer)| {
            let (first, last) = interval[id].filter(|_| buffer.place == Place::Unplanned)?;
            Some((buffer.bytes().next_multiple_of(ALIGNMENT), first, last, id))
        })
        .collect();
    groups.sort_by_key(|(bytes, first, _, id)| (std::cmp::Reverse(*bytes), *first, *id));
    // (offset, bytes, first, last)
    let mut placed: Vec<(u64, u64, u64, u64)> = Vec::new();
    for (bytes, first, last, id) in groups {
        let mut taken: Vec<(u64, u64)> = placed
            .iter()
            .filter(|(_, bytes, other_first, other_last)| *bytes > 0 && *other_first <= last && first <= *other_last)
            .map(|(offset, bytes, _, _)| (*offset, offset + bytes))
            .collect();
        taken.sort_unstable();
        let mut end = 0;
        let mut best: Option<(u64, u64)> = None;
        for (from, to) in taken {
            if from >= end + bytes && best.is_none_or(|(gap, _)| from - end < gap) {
                best = Some((from - end, end));
            }
            end = end.max(to);
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        placed.push((offset, bytes, first, last));
        program.buffers[id].place = Place::Workspace(offset);
        program.workspace_bytes = program.workspace_bytes.max(offset + bytes);
    }
    let heirs: Vec<(BufferId, BufferId)> =
        program.buffers.keys().filter_map(|id| leader[id].map(|leader| (id, leader))).collect();
    for (id, leader) in heirs {
        program.buffers[id].place = program.buffers[leader].place;
    }
    // What nobody touches takes no room.
    for buffer in program.buffers.values_mut() {
        if buffer.place == Place::Unplanned {
            buffer.place = Place::Workspace(0);
        }
    }
}

/// The lives of all buffers of the workspace and of the caller, in the order of the buffers.
pub fn lives(program: &Program) -> Vec<Life> {
    let mut walk = Walk { program, now: 0, touches: SecondaryMap::new(), loops: Vec::new() };
    walk.steps(&program.steps);
    let end = walk.now + 1;
    let mut lives = Vec::new();
    for (id, buffer) in &program.buffers {
        if !matches!(buffer.place, Place::Unplanned | Place::Workspace(_) | Place::Argument(_)) || walk.is_state(id) {
            continue;
        }
        let touches = &walk.touches[id];
        let mut first = touches.first().map_or(0, |touch| touch.0);
        let mut last = touches.last().map_or(0, |touch| touch.0);
        match buffer.role {
            BufferRole::Data => first = 0,
            BufferRole::Output | BufferRole::Warning => last = end,
            _ if touches.is_empty() => continue,
            _ => {}
        }
        // Inner loops come first in the list, so that what an inner loop needs an outer one sees.
        for (begin, end) in &walk.loops {
            let mut inside = touches.iter().filter(|touch| *begin < touch.0 && touch.0 <= *end).peekable();
            let Some(entry) = inside.peek() else { continue };
            let starts_by_write = entry.1;
            let local = first > *begin && last <= *end && starts_by_write;
            if !local {
                (first, last) = (first.min(*begin), last.max(*end));
            }
        }
        lives.push(Life { buffer: id, first, last });
    }
    lives
}

/// The moment when most of the workspace is alive.
pub fn peak(program: &Program) -> Peak {
    let lives = lives(program);
    let mut moment = 0;
    let mut peak = Peak { bytes: 0, step: 0, moment: 0 };
    for (index, step) in program.steps.iter().enumerate() {
        for now in moment + 1..=moment + moments(step) {
            let bytes = lives
                .iter()
                .filter(|life| life.first <= now && now <= life.last)
                .map(|life| program.buffers[life.buffer].bytes())
                .sum();
            if bytes > peak.bytes {
                peak = Peak { bytes, step: index, moment: now };
            }
        }
        moment += moments(step);
    }
    peak
}

/// How many moments a step takes.
fn moments(step: &Step) -> u64 {
    match step {
        Step::Repeat(repeat) => 2 + repeat.steps.iter().map(moments).sum::<u64>(),
        _ => 1,
    }
}

struct Walk<'a> {
    program: &'a Program,
    now: u64,
    /// (moment, whether it writes the whole without reading before)
    touches: SecondaryMap<BufferId, Vec<(u64, bool)>>,
    /// First and last moment of every loop, inner ones first.
    loops: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn is_state(&self, id: BufferId) -> bool {
        matches!(self.program.buffers[id].role, BufferRole::Parameter | BufferRole::State)
    }

    fn touch(&mut self, buffer: BufferId, writes: bool) {
        let (mut buffer, mut writes) = (buffer, writes);
        while let Place::Slice(whole) = self.program.buffers[buffer].place {
            (buffer, writes) = (whole, false);
        }
        self.touches[buffer].push((self.now, writes));
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.now += 1;
            if let Step::Repeat(repeat) = step {
                self.repeat(repeat);
                continue;
            }
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            step.collect(&mut reads, &mut writes);
            reads.into_iter().filter(|read| !writes.contains(read)).for_each(|read| self.touch(read, false));
            writes.iter().for_each(|write| self.touch(*write, true));
        }
    }

    fn repeat(&mut self, repeat: &Repeat) {
        let begin = self.now;
        for (first, carry) in &repeat.initial {
            self.touch(*first, false);
            self.touch(*carry, true);
        }
        self.steps(&repeat.steps);
        self.now += 1;
        for (next, carry) in &repeat.advance {
            self.touch(*next, false);
            self.touch(*carry, false);
        }
        self.loops.push((begin, self.now));
    }
}

/// Pairs (new, old): a value that may take the place of an operand of the step that makes it.
fn heirs(program: &Program, lives: &[Life]) -> Vec<(BufferId, BufferId)> {
    let mut life = SecondaryMap::<BufferId, Option<(u64, u64)>>::new();
    let own = lives.iter().filter(|entry| program.buffers[entry.buffer].place == Place::Unplanned);
    own.for_each(|entry| life[entry.buffer] = Some((entry.first, entry.last)));
    let mut pairs = Vec::new();
    let mut now = 0;
    visit(&program.steps, &mut now, &mut |step, now| {
        let Step::Nest(nest) = step else { return };
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        step.collect(&mut reads, &mut writes);
        reads.sort_unstable();
        reads.dedup();
        for new in &writes {
            if life[*new].is_none_or(|(first, _)| first != now) {
                continue;
            }
            let found = reads.iter().position(|old| {
                old != new
                    && !writes.contains(old)
                    && life[*old].is_some_and(|(_, last)| last == now)
                    && same_layout(&program.buffers[*old], &program.buffers[*new])
                    && same_element_only(nest, *new, *old)
            });
            if let Some(index) = found {
                pairs.push((*new, reads.remove(index)));
            }
        }
    });
    pairs
}

/// Whether each element of one buffer lies where that of the other does.
pub(super) fn same_layout(a: &Buffer, b: &Buffer) -> bool {
    a.bytes() == b.bytes() && a.ty.dtype.bytes() == b.ty.dtype.bytes() && a.packed == b.packed
}

/// Calls `see` for every leaf step with its moment.
fn visit(steps: &[Step], now: &mut u64, see: &mut impl FnMut(&Step, u64)) {
    for step in steps {
        *now += 1;
        match step {
            Step::Repeat(repeat) => {
                visit(&repeat.steps, now, see);
                *now += 1;
            }
            _ => see(step, *now),
        }
    }
}
