//! Text to program: one function for each rule of the form that the parent module shows.

use super::{AXES, REDUCTIONS, ROLES, axis};
use crate::ir::op::{Op, OpClass};
use crate::ir::text::cursor::Cursor;
use crate::ir::text::lexer::Token;
use crate::ir::text::{TextError, find_in};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{
    AffineMap, Buffer, BufferId, Call, Carried, Guard, March, Nest, Place, Product, ProductOperand, Program, Reduction,
    Repeat, Scalar, Stage, Step, Store, ValueId,
};
use cranelift_entity::EntityRef;

/// Loops in time that may stand inside each other, so that reading them does not exhaust the stack.
const DEEPEST: usize = 64;

type Result<T> = std::result::Result<T, TextError>;

/// Reads a program.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Program> {
    let mut cursor = Cursor::new(text)?;
    cursor.expect_word("program", "")?;
    let mut program = Program { name: cursor.text()?, ..Program::default() };
    cursor.expect_word("state", "")?;
    program.state_bytes = cursor.bytes()?;
    cursor.expect(',')?;
    cursor.expect_word("workspace", "")?;
    program.workspace_bytes = cursor.bytes()?;
    let mut wholes = Vec::new();
    while number_after('b', &cursor.next().token).is_some() {
        let buffer = cursor.buffer(&mut wholes, program.buffers.len())?;
        program.buffers.push(buffer);
    }
    cursor.slices(&program, &wholes)?;
    while cursor.next().token != Token::End {
        let step = cursor.step(program.buffers.len(), 0)?;
        program.steps.push(step);
    }
    Ok(program)
}

/// The number of a word such as b12.
fn number_after(letter: char, token: &Token) -> Option<usize> {
    match token {
        Token::Word(word) => word.strip_prefix(letter)?.parse::<u32>().ok().map(|number| number as usize),
        _ => None,
    }
}

/// The loop axis of a name.
fn axis_index(name: &str) -> Option<usize> {
    let known = AXES.iter().position(|known| *known == name);
    known.or_else(|| name.strip_prefix('i')?.parse().ok().filter(|index| axis(*index) == name))
}

impl Cursor {
    /// Takes the word if it comes next.
    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(&self.next().token, Token::Word(next) if next == word);
        if found {
            self.advance();
        }
        found
    }

    fn bytes(&mut self) -> Result<u64> {
        let bytes = self.number("a number of bytes")?;
        self.expect_word("bytes", "")?;
        Ok(bytes)
    }

    /// `b3`, `v3` or `r3`, below `count`.
    fn id(&mut self, letter: char, what: &str, count: usize) -> Result<usize> {
        match number_after(letter, &self.next().token) {
            Some(number) if number < count => {
                self.advance();
                Ok(number)
            }
            Some(number) => self.error(self.position, format!("{letter}{number} is not defined before this line")),
            None => self.error(self.position, format!("expected {what}")),
        }
    }

    fn buffer_id(&mut self, buffers: usize) -> Result<BufferId> {
        self.id('b', "a buffer", buffers).map(BufferId::new)
    }

    fn value_id(&mut self, stage: &Stage) -> Result<ValueId> {
        self.id('v', "a scalar", stage.values.len()).map(ValueId::new)
    }

    /// A buffer; `wholes` collects the tokens that name what a slice is part of, which may come later.
    fn buffer(&mut self, wholes: &mut Vec<usize>, count: usize) -> Result<Buffer> {
        self.expect_word(&format!("b{count}"), ": buffers are numbered in order")?;
        self.expect(':')?;
        let start = self.position;
        let ty = self.tensor_type()?;
        if !ty.is_addressable() {
            return self.error(start, format!("{ty} is larger than any memory"));
        }
        let start = self.position;
        let role = self.word("the role of a buffer")?;
        let Some(role) = find_in(&ROLES, &role) else {
            return self.error(start, "expected parameter, state, data, output or temporary");
        };
        let name = if matches!(self.next().token, Token::Text(_)) { self.text()? } else { String::new() };
        let start = self.position;
        let packed = if self.take_word("packed") { Some(self.number("the bits of a row")?) } else { None };
        if packed.is_some_and(|row| ty.dtype != Dtype::Bool || row == 0 || ty.elements() % row != 0) {
            return self.error(start, format!("{ty} has no such rows of bits"));
        }
        self.expect_word("at", "")?;
        let start = self.position;
        let block = self.word("a place")?;
        let place = match block.as_str() {
            "nowhere" => Place::Unplanned,
            "state" => Place::State(self.distance()?),
            "argument" => Place::Argument(self.number("the number of an argument")?),
            "workspace" => Place::Workspace(self.distance()?),
            "scratch" => Place::Scratch(self.distance()?),
            "slice" => {
                self.expect_word("of", "")?;
                wholes.push(self.position);
                // An id beyond the last one is found out when all buffers are known.
                Place::Slice(BufferId::new(self.id('b', "a buffer", u32::MAX as usize)?))
            }
            _ => return self.error(start, "expected state, argument, workspace, scratch, slice or nowhere"),
        };
        Ok(Buffer { name, ty, role, place, packed })
    }

    /// ` + 64`
    fn distance(&mut self) -> Result<u64> {
        self.expect_word("+", "")?;
        self.number("a number of bytes")
    }

    /// Every slice is part of a buffer that exists, and in the end of one that is no slice.
    fn slices(&self, program: &Program, wholes: &[usize]) -> Result<()> {
        let slices = program.buffers.iter().filter_map(|(id, buffer)| match buffer.place {
            Place::Slice(whole) => Some((id, whole)),
            _ => None,
        });
        for ((id, mut whole), position) in slices.zip(wholes) {
            for _ in 0..=program.buffers.len() {
                match program.buffers.get(whole).map(|buffer| buffer.place) {
                    None => return self.error(*position, format!("there is no buffer {whole}")),
                    Some(Place::Slice(next)) if next == id => {
                        return self.error(*position, format!("{id} is a slice of itself"));
                    }
                    Some(Place::Slice(next)) => whole = next,
                    Some(_) => break,
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, buffers: usize, depth: usize) -> Result<Step> {
        let start = self.position;
        match self.word("nest, product, call, repeat or march")?.as_str() {
            "nest" => self.nest(buffers).map(Step::Nest),
            "product" => self.product(buffers).map(Step::Product),
            "call" => self.call(buffers).map(Step::Call),
            "repeat" if depth == DEEPEST => self.error(start, format!("more than {DEEPEST} repeats inside each other")),
            "repeat" => self.repeat(buffers, depth).map(Step::Repeat),
            "march" => self.march(buffers).map(Step::March),
            _ => self.error(start, "expected nest, product, call, repeat or march"),
        }
    }

    /// `counting_sort(b1: i32[3]) {bins = 5} -> b2 in b3`
    fn call(&mut self, buffers: usize) -> Result<Call> {
        let start = self.position;
        let name = self.word("the name of an operation")?;
        self.expect('(')?;
        let operands = self.list(')', |cursor| {
            let buffer = cursor.buffer_id(buffers)?;
            cursor.expect(':')?;
            Ok((buffer, cursor.tensor_type()?))
        })?;
        let op = match Op::from_parts(&name, &self.attributes()?) {
            Ok(op) if matches!(op.class(), OpClass::Library) => op,
            Ok(op) => return self.error(start, format!("{} is not computed by a library routine", op.name())),
            Err(message) => return self.error(start, message),
        };
        self.expect_word("-", ">")?;
        self.expect('>')?;
        let result = self.buffer_id(buffers)?;
        let memory = if self.take_word("in") { Some(self.buffer_id(buffers)?) } else { None };
        Ok(Call { op, operands, result, memory })
    }

    fn product(&mut self, buffers: usize) -> Result<Product> {
        let mut sizes = [0; 3];
        for (name, size) in ["m", "n", "k"].iter().zip(&mut sizes) {
            self.expect_word(name, "")?;
            *size = self.number("a size")?;
        }
        self.expect_word("batch", "")?;
        self.expect('[')?;
        let batch: Vec<u64> = self.list(']', |cursor| cursor.number("a size"))?;
        self.expect(':')?;
        let c = self.operand(buffers, batch.len())?;
        self.expect('=')?;
        let a = self.operand(buffers, batch.len())?;
        self.expect('@')?;
        let b = self.operand(buffers, batch.len())?;
        let [m, n, k] = sizes;
        Ok(Product { m, n, k, batch, a, b, c })
    }

    /// `b0(0, [20, 4, 1])`
    fn operand(&mut self, buffers: usize, batch: usize) -> Result<ProductOperand> {
        let buffer = self.buffer_id(buffers)?;
        self.expect('(')?;
        let offset = self.number("an offset")?;
        self.expect(',')?;
        let start = self.position;
        self.expect('[')?;
        let mut batch_strides: Vec<i64> = self.list(']', |cursor| cursor.number("a stride"))?;
        self.expect(')')?;
        if batch_strides.len() != batch + 2 {
            return self.error(start, format!("expected {} strides: of {batch} batch axes, rows, columns", batch + 2));
        }
        let matrix = batch_strides.split_off(batch);
        Ok(ProductOperand { buffer, offset, row_stride: matrix[0], column_stride: matrix[1], batch_strides })
    }

    fn repeat(&mut self, buffers: usize, depth: usize) -> Result<Repeat> {
        let name = self.text()?;
        let length = self.number("how many turns")?;
        let reverse = self.take_word("reverse");
        let mut lists = [const { Vec::new() }; 4];
        for (list, pairs) in ["sequences", "initial", "stacks", "advance"].iter().zip(&mut lists) {
            if self.take_word(list) {
                self.expect('[')?;
                *pairs = self.list(']', |cursor| {
                    let from = cursor.buffer_id(buffers)?;
                    cursor.expect_word("-", ">")?;
                    cursor.expect('>')?;
                    Ok((from, cursor.buffer_id(buffers)?))
                })?;
            }
        }
        let [sequences, initial, stacks, advance] = lists;
        self.expect('{')?;
        let mut steps = Vec::new();
        while !self.take('}') {
            steps.push(self.step(buffers, depth + 1)?);
        }
        Ok(Repeat { name, length, reverse, sequences, initial, steps, stacks, advance })
    }

    /// `"body" reverse {`, carries `c0: f64 = b0[3 j]`, a stage, next values `c0 = v7 last b1[3 j]`, `}`
    fn march(&mut self, buffers: usize) -> Result<March> {
        let name = self.text()?;
        let reverse = self.take_word("reverse");
        self.expect('{')?;
        let mut carries = Vec::new();
        while number_after('c', &self.next().token).is_some() {
            self.expect_word(&format!("c{}", carries.len()), ": carries are numbered in order")?;
            self.expect(':')?;
            let dtype = self.dtype()?;
            self.expect('=')?;
            let first = (self.buffer_id(buffers)?, self.place(2)?);
            carries.push(Carried { dtype, first, next: ValueId::new(0), last: None });
        }
        let start = self.position;
        let stage = self.stage(&[], carries.len(), buffers)?;
        if stage.sizes(&[]).len() != 2 {
            return self.error(start, "the axes of a march are the turn and the place");
        }
        for (index, carry) in carries.iter_mut().enumerate() {
            self.expect_word(&format!("c{index}"), ": the next value of every carry, in order")?;
            self.expect('=')?;
            carry.next = self.value_id(&stage)?;
            if self.take_word("last") {
                carry.last = Some((self.buffer_id(buffers)?, self.place(2)?));
            }
        }
        self.expect('}')?;
        Ok(March { name, reverse, carries, stage })
    }

    fn nest(&mut self, buffers: usize) -> Result<Nest> {
        let name = self.text()?;
        let outer = self.loops(0)?;
        let scratch_bytes = if self.take_word("scratch") { self.bytes()? } else { 0 };
        self.expect('{')?;
        let mut stages = Vec::new();
        while !self.take('}') {
            stages.push(self.stage(&outer, 0, buffers)?);
        }
        Ok(Nest { name, outer, stages, scratch_bytes })
    }

    /// `[i < 5, j < 7]`, the first of which is this axis.
    fn loops(&mut self, first: usize) -> Result<Vec<u64>> {
        self.expect('[')?;
        let mut next = first;
        self.list(']', |cursor| {
            cursor.expect_word(&axis(next), ": axes are named in order")?;
            next += 1;
            cursor.expect('<')?;
            cursor.number("a size")
        })
    }

    /// A stage whose scalars may name so many carries.
    fn stage(&mut self, outer: &[u64], carries: usize, buffers: usize) -> Result<Stage> {
        self.expect_word("stage", "")?;
        let mut stage = Stage { inner: self.loops(outer.len())?, ..Stage::default() };
        if self.take_word("reduced") {
            stage.reduced = self.loops(outer.len() + stage.inner.len())?;
        }
        let axes = stage.sizes(outer).len();
        if self.take_word("vector") {
            stage.vector_axis = Some(self.axis(axes)? as u32);
        }
        self.expect('{')?;
        self.scalars(&mut stage, axes, carries, buffers)?;
        stage.n_inside = stage.values.len() as u32;
        while number_after('r', &self.next().token).is_some() {
            let reduction = self.reduction(&stage)?;
            stage.reductions.push(reduction);
        }
        if !stage.reductions.is_empty() {
            self.scalars(&mut stage, axes, carries, buffers)?;
        }
        while !self.take('}') {
            let buffer = self.id('b', "a scalar, a reduction or a store, in this order", buffers).map(BufferId::new)?;
            let map = self.place(axes)?;
            self.expect('=')?;
            stage.stores.push(Store { buffer, map, value: self.value_id(&stage)? });
        }
        Ok(stage)
    }

    /// `r0 = sum of v1`
    fn reduction(&mut self, stage: &Stage) -> Result<Reduction> {
        self.expect_word(&format!("r{}", stage.reductions.len()), ": reductions are numbered in order")?;
        self.expect('=')?;
        let start = self.position;
        let Some(kind) = find_in(&REDUCTIONS, &self.word("a reduction")?) else {
            return self.error(start, "expected sum, max, min or argmax");
        };
        self.expect_word("of", "")?;
        Ok(Reduction { kind, value: self.value_id(stage)? })
    }

    /// `v0: f32 = ..`, as many as there are.
    fn scalars(&mut self, stage: &mut Stage, axes: usize, carries: usize, buffers: usize) -> Result<()> {
        while number_after('v', &self.next().token).is_some() {
            self.expect_word(&format!("v{}", stage.values.len()), ": scalars are numbered in order")?;
            self.expect(':')?;
            let dtype = self.dtype()?;
            self.expect('=')?;
            let scalar = if number_after('c', &self.next().token).is_some() {
                Scalar::Carried(self.id('c', "a carry", carries)? as u32)
            } else {
                self.scalar(stage, dtype, axes, buffers)?
            };
            let id = stage.values.push(scalar);
            stage.dtypes[id] = Some(dtype);
        }
        Ok(())
    }

    fn dtype(&mut self) -> Result<Dtype> {
        let start = self.position;
        let word = self.word("a dtype")?;
        Dtype::from_name(&word).map_or_else(|| self.error(start, format!("there is no dtype {word}")), Ok)
    }

    fn scalar(&mut self, stage: &Stage, dtype: Dtype, axes: usize, buffers: usize) -> Result<Scalar> {
        let start = self.position;
        if number_after('b', &self.next().token).is_some() {
            return self.load(dtype, axes, buffers);
        }
        if number_after('r', &self.next().token).is_some() {
            return Ok(Scalar::Reduced(self.id('r', "a reduction", stage.reductions.len())? as u32));
        }
        let word = self.word("a scalar")?;
        match word.as_str() {
            "index" => Ok(Scalar::Index { map: self.map(axes)?, dtype }),
            "select" => Ok(Scalar::Select(self.value_id(stage)?, self.value_id(stage)?, self.value_id(stage)?)),
            "cast" => {
                let value = self.value_id(stage)?;
                self.expect_word("to", "")?;
                Ok(Scalar::Cast(value, self.dtype()?))
            }
            "gather" => {
                let buffer = self.buffer_id(buffers)?;
                self.expect_word("row", "")?;
                let index = self.value_id(stage)?;
                self.expect_word("of", "")?;
                let rows = self.number("how many rows")?;
                self.expect_word("stride", "")?;
                let row_stride = self.number("a stride")?;
                self.expect_word("at", "")?;
                Ok(Scalar::Gather { buffer, index, rows, row_stride, map: self.map(axes)? })
            }
            "normal" | "uniform" => {
                self.expect_word("site", "")?;
                let start = self.position;
                let Ok(site) = u32::from_str_radix(&self.word("the hash of a site")?, 16) else {
                    return self.error(start, "expected the hash of a site");
                };
                self.expect_word("seed", "")?;
                let seed = self.buffer_id(buffers)?;
                self.expect_word("step", "")?;
                let step = self.buffer_id(buffers)?;
                self.expect_word("at", "")?;
                Ok(Scalar::Random { normal: word == "normal", site, seed, step, map: self.map(axes)?, dtype })
            }
            _ => match Op::from_parts(&word, &[]).map(|op| (op.class(), op)) {
                Ok((OpClass::Unary(_), op)) => Ok(Scalar::Unary(op, self.value_id(stage)?)),
                Ok((OpClass::Binary(_), op)) => Ok(Scalar::Binary(op, self.value_id(stage)?, self.value_id(stage)?)),
                _ if word.starts_with(|first: char| first.is_alphabetic())
                    && !["inf", "NaN", "true", "false"].contains(&word.as_str()) =>
                {
                    self.error(start, format!("there is no scalar operation {word}"))
                }
                _ => {
                    self.position = start;
                    self.literal(dtype).map(Scalar::Literal)
                }
            },
        }
    }

    /// `b0[i - 1] if 1 <= i < 6 else 0.0`
    fn load(&mut self, dtype: Dtype, axes: usize, buffers: usize) -> Result<Scalar> {
        let buffer = self.buffer_id(buffers)?;
        let map = self.place(axes)?;
        let mut guards = Vec::new();
        while self.take_word(if guards.is_empty() { "if" } else { "and" }) {
            let low = self.number("the first place inside")?;
            self.expect('<')?;
            self.expect('=')?;
            let map = self.map(axes)?;
            self.expect('<')?;
            guards.push(Guard { map, low, high: self.number("the first place beyond")? });
        }
        let otherwise = if self.take_word("else") {
            self.literal(dtype)?
        } else if guards.is_empty() {
            Literal::new(dtype, 0.0)
        } else {
            return self.error(self.position, "expected and or else");
        };
        Ok(Scalar::Load { buffer, map, guards, otherwise })
    }

    fn axis(&mut self, axes: usize) -> Result<usize> {
        let start = self.position;
        let name = self.word("an axis")?;
        match axis_index(&name) {
            Some(axis) if axis < axes => Ok(axis),
            _ => self.error(start, format!("there is no axis {name} here")),
        }
    }

    /// `[3 + 2 i]`
    fn place(&mut self, axes: usize) -> Result<AffineMap> {
        self.expect('[')?;
        let map = self.map(axes)?;
        self.expect(']')?;
        Ok(map)
    }

    /// `3 + 10 i - j`: a number, then axes with their strides, each part optional but not all.
    fn map(&mut self, axes: usize) -> Result<AffineMap> {
        let mut map = AffineMap::constant(0, axes);
        let mut sign = "";
        let mut is_first = true;
        loop {
            let start = self.position;
            let word = format!("{sign}{}", self.word("a number or an axis")?);
            let name = word.strip_prefix('-').unwrap_or(&word);
            let (stride, axis) = if axis_index(name).is_some() {
                self.position = start;
                (if name.len() < word.len() { -1 } else { 1 }, Some(name.to_owned()))
            } else {
                let Ok(number) = word.parse::<i64>() else {
                    return self.error(start, format!("{word} is neither a number nor an axis"));
                };
                match &self.next().token {
                    Token::Word(next) if axis_index(next).is_some() => (number, Some(next.clone())),
                    _ => (number, None),
                }
            };
            match axis {
                None if is_first => map.offset = stride,
                None => return self.error(self.position, "expected an axis"),
                Some(name) => {
                    let position = self.position;
                    self.advance();
                    match axis_index(&name) {
                        Some(index) if index < axes && map.strides[index] == 0 => map.strides[index] = stride,
                        Some(index) if index < axes => return self.error(position, format!("{name} is there twice")),
                        _ => return self.error(position, format!("there is no axis {name} here")),
                    }
                }
            }
            is_first = false;
            if self.take_word("+") {
                sign = "";
            } else if self.take_word("-") {
                sign = "-";
            } else {
                return Ok(map);
            }
        }
    }
}
