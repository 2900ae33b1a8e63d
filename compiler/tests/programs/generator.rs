//! Random programs of the language, valid by construction, out of a string of bytes.
//!
//! Expects: any bytes; when they are used up, zeros follow, which end the program soon.
//! Guarantees: the same bytes give the same program; values stay of moderate size, so that engines can be compared.
//! Leaves out: judging the program (`compare`).

use std::fmt::Write;

/// Decisions, one byte each.
pub struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Choices<'a> {
    /// Decisions from these bytes.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { bytes, at: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % bound.max(1)
    }

    fn of<T: Copy>(&mut self, table: &[T]) -> T {
        table[self.below(table.len())]
    }
}

/// A float tensor that the text has bound.
#[derive(Clone)]
struct Value {
    name: String,
    shape: Vec<u64>,
}

struct Generator<'a> {
    choices: Choices<'a>,
    dtype: &'static str,
    text: String,
    values: Vec<Value>,
    parameters: Vec<Value>,
    count: usize,
}

/// The most elements of one tensor.
const MOST_ELEMENTS: u64 = 600;

const UNARY: [&str; 24] = [
    "tanh(X)",
    "sin(X)",
    "cos(X)",
    "relu(X)",
    "sigmoid(X)",
    "softplus(X)",
    "gelu(X)",
    "silu(X)",
    "elu(X)",
    "abs(X)",
    "leaky_relu(X)",
    "square(tanh(X))",
    "exp(-square(X))",
    "log1p(square(X))",
    "log(1 + square(X))",
    "sqrt(1 + square(X))",
    "erf(X)",
    "expm1(minimum(X, 1))",
    "stop(X)",
    "-X",
    "1 / (1 + square(X))",
    "clamp(X, -1, 0.75)",
    "0.5 * X - 0.25",
    "gelu(X, approximate = \"tanh\")",
];

const BINARY: [&str; 9] = [
    "X + Y",
    "X - Y",
    "tanh(X) * Y",
    "maximum(X, Y)",
    "minimum(X, Y)",
    "X / (1 + square(Y))",
    "where(X > Y, X, 2 * Y)",
    "where(X > 0.1, Y, X)",
    "mixed(X, Y)",
];

/// A program for these bytes.
pub fn program(bytes: &[u8]) -> String {
    let mut choices = Choices::new(bytes);
    let dtype = choices.of(&["f64", "f64", "f32"]);
    let mut generator =
        Generator { choices, dtype, text: String::new(), values: Vec::new(), parameters: Vec::new(), count: 0 };
    generator.model();
    generator.text
}

impl Generator<'_> {
    fn model(&mut self) {
        let dtype = self.dtype;
        self.text = "use std.nn\nuse std.optim\n\n\
            fn mixed(x: f[..], y) { let both = x * sigmoid(y); both + 0.5 * sin(y) }\n\
            fn twice(x: f[..], g: fn) { g(0.5 * g(x)) }\n\
            fn clipped(x: f[..]) -> f[..] { minimum(maximum(x, -1), 1) }\n\
            exact for clipped(x: f[..]) -> y { grad x = where(abs(x) < 1, grad y, 0) }\n\
            estimator through for round(x: f[..]) -> y exact_for nothing { grad x = grad y }\n\n\
            model m {\n"
            .to_string();
        let rows = self.choices.of(&[3, 1, 2, 4, 5, 7, 8, 0]);
        let columns = self.choices.of(&[4, 1, 2, 3, 5, 6, 8, 9, 17]);
        let depth = self.choices.of(&[2, 1, 3, 0]);
        self.input("x", &[rows, columns]);
        self.input("z", &[columns]);
        self.input("u", &[depth, rows, columns]);
        let _ = writeln!(self.text, "    in index: i32[{rows}]");
        for _ in 0..2 + self.choices.below(11) {
            self.statement();
        }
        self.ending();
        self.text.push_str("}\n");
        debug_assert!(dtype == self.dtype);
    }

    fn input(&mut self, name: &str, shape: &[u64]) {
        let _ = writeln!(self.text, "    in {name}: {}{shape:?}", self.dtype);
        self.values.push(Value { name: name.to_string(), shape: shape.to_vec() });
    }

    fn value(&mut self) -> Value {
        // Later ones are likelier, so that programs grow deep.
        let recent = self.values.len().min(4);
        let index = match self.choices.below(3) {
            0 => self.choices.below(self.values.len()),
            _ => self.values.len() - 1 - self.choices.below(recent),
        };
        self.values[index].clone()
    }

    fn bind(&mut self, expression: &str, shape: Vec<u64>) {
        if shape.iter().product::<u64>() > MOST_ELEMENTS {
            return;
        }
        let name = format!("v{}", self.count);
        self.count += 1;
        let _ = writeln!(self.text, "    let {name} = {expression}");
        self.values.push(Value { name, shape });
    }

    fn statement(&mut self) {
        let x = self.value();
        match self.choices.below(16) {
            0 | 1 => {
                let form = self.choices.of(&UNARY);
                self.bind(&form.replace('X', &x.name), x.shape);
            }
            2 | 3 => self.binary(&x),
            4 => self.reduction(&x),
            5 | 6 => self.view(&x),
            7 => self.matmul(&x),
            8 | 9 => self.layer(&x),
            10 => self.parameter(&x),
            11 => self.scan(&x),
            12 => self.repeat(&x),
            13 => self.whole_numbers(&x),
            14 => self.random(&x),
            _ => self.rule(&x),
        }
    }

    fn binary(&mut self, x: &Value) {
        let form = self.choices.of(&BINARY);
        let fitting: Vec<Value> =
            self.values.iter().filter(|y| broadcast(&x.shape, &y.shape).is_some()).cloned().collect();
        let y = fitting[self.choices.below(fitting.len())].clone();
        let shape = broadcast(&x.shape, &y.shape).unwrap_or_default();
        self.bind(&form.replace('X', &x.name).replace('Y', &y.name), shape);
    }

    fn reduction(&mut self, x: &Value) {
        if x.shape.is_empty() {
            return;
        }
        let axis = self.choices.below(x.shape.len());
        let keep = self.choices.below(2) == 1;
        // Largest and smallest of nothing are infinite.
        let kinds: &[&str] =
            if x.shape[axis] == 0 { &["sum"] } else { &["mean", "sum", "max", "min", "variance", "logsumexp"] };
        let kind = self.choices.of(kinds);
        let mut shape = x.shape.clone();
        if keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        let shown = if self.choices.below(2) == 1 { axis as i64 - x.shape.len() as i64 } else { axis as i64 };
        self.bind(&format!("tanh({kind}({}, axis = {shown}, keep = {keep}))", x.name), shape);
    }

    fn view(&mut self, x: &Value) {
        let Value { name, shape } = x;
        let rank = shape.len();
        if rank == 0 {
            self.bind(&format!("expand({name}, [2, 3])"), vec![2, 3]);
            return;
        }
        let axis = self.choices.below(rank);
        let size = shape[axis];
        let mut new = shape.clone();
        match self.choices.below(12) {
            0 if rank > 1 => {
                new.swap(rank - 1, rank - 2);
                self.bind(&format!("transpose({name})"), new);
            }
            1 => {
                let axes: Vec<usize> = (0..rank).map(|place| (place + 1) % rank).collect();
                let permuted = axes.iter().map(|axis| shape[*axis]).collect();
                self.bind(&format!("permute({name}, {axes:?})"), permuted);
            }
            2 => self
                .bind(&format!("reshape({name}, [{}])", shape.iter().product::<u64>()), vec![shape.iter().product()]),
            3 => {
                new.insert(axis, 1);
                self.bind(&format!("unsqueeze({name}, {axis})"), new);
            }
            4 => {
                let start = self.choices.below(size as usize + 1) as u64;
                let stop = start + self.choices.below((size - start) as usize + 1) as u64;
                new[axis] = stop - start;
                self.bind(&format!("narrow({name}, {axis}, {start}, {stop})"), new);
            }
            5 if size > 0 => {
                let at = self.choices.below(size as usize);
                new.remove(axis);
                self.bind(&format!("{name}[{}{at}]", ":, ".repeat(axis)), new);
            }
            6 => {
                new[axis] = size.div_ceil(2);
                self.bind(&format!("{name}[{}::2]", ":, ".repeat(axis)), new);
            }
            7 => {
                let (low, high) = (self.choices.below(3) as u64, self.choices.below(3) as u64);
                let mut lows = vec![0; rank];
                let mut highs = vec![0; rank];
                (lows[axis], highs[axis]) = (low, high);
                new[axis] += low + high;
                self.bind(&format!("pad({name}, {lows:?}, {highs:?})"), new);
            }
            8 => {
                let others: Vec<Value> = self.values.iter().filter(|y| y.shape == *shape).cloned().collect();
                let other = others[self.choices.below(others.len())].clone();
                new[axis] *= 2;
                self.bind(&format!("concat([{name}, {}], axis = {axis})", other.name), new);
            }
            9 => self.bind(&format!("reverse({name}, {axis})"), new),
            10 if size >= 2 => {
                let stride = 1 + self.choices.below(3) as u64;
                new[axis] = (size - 2) / stride + 1;
                new.insert(axis + 1, 2);
                self.bind(&format!("windows({name}, axis = {axis}, size = 2, stride = {stride})"), new);
            }
            _ => {
                new.insert(0, 3);
                self.bind(&format!("expand({name}, {new:?})"), new);
            }
        }
    }

    fn matmul(&mut self, x: &Value) {
        let fitting: Vec<(Value, Vec<u64>)> = self
            .values
            .iter()
            .filter(|y| x.shape.len() >= 2 && y.shape.len() >= 2 && x.shape.last() == y.shape.last())
            .filter_map(|y| {
                let (left, right) = (x.shape.len() - 2, y.shape.len() - 2);
                let mut shape = broadcast(&x.shape[..left], &y.shape[..right])?;
                shape.extend([x.shape[left], y.shape[right]]);
                Some((y.clone(), shape))
            })
            .collect();
        if fitting.is_empty() {
            return;
        }
        let (y, shape) = fitting[self.choices.below(fitting.len())].clone();
        self.bind(&format!("tanh({} @ transpose({}))", x.name, y.name), shape);
    }

    fn layer(&mut self, x: &Value) {
        let Value { name, shape } = x;
        let Some(last) = shape.last().copied() else { return };
        let units = self.choices.of(&[3u64, 1, 2, 4, 5, 8]);
        let mut new = shape.clone();
        *new.last_mut().unwrap_or(&mut 0) = units;
        match self.choices.below(9) {
            0 | 1 => self.bind(&format!("dense({name}, {units})"), new),
            2 => self.bind(&format!("relu(dense({name}, {units}, bias = false))"), new),
            3 if last > 0 => self.bind(&format!("layer_norm({name}, eps = 0.1)"), shape.clone()),
            4 if last > 0 => self.bind(&format!("rms_norm({name}, eps = 0.1)"), shape.clone()),
            5 if last > 0 => self.bind(&format!("softmax({name})"), shape.clone()),
            6 if last > 0 => self.bind(&format!("log_softmax({name})"), shape.clone()),
            7 if shape.len() == 3 && !shape.contains(&0) => {
                let causal = self.choices.below(2) == 1;
                self.bind(&format!("multi_head_attention({name}, heads = 1, causal = {causal})"), shape.clone());
            }
            8 if shape.len() == 3 && shape[1..].iter().all(|size| *size >= 2) => {
                let channels = self.choices.of(&[2u64, 1, 3]);
                let padding = self.choices.below(2) as u64;
                let sizes = [shape[1] + 2 * padding - 1, shape[2] + 2 * padding - 1];
                let whole = format!("conv2d(unsqueeze({name}, 1), {channels}, kernel = 2, padding = {padding})");
                self.bind(&whole, vec![shape[0], channels, sizes[0], sizes[1]]);
            }
            _ => self.bind(&format!("dropout({name}, p = 0.25)"), shape.clone()),
        }
    }

    fn parameter(&mut self, x: &Value) {
        if x.shape.iter().product::<u64>() > MOST_ELEMENTS {
            return;
        }
        let name = format!("w{}", self.count);
        self.count += 1;
        let init = self.choices.of(&["normal", "uniform(-1, 1)", "ones", "zeros"]);
        let _ = writeln!(self.text, "    param {name}: {}{:?} ~ {init}", self.dtype, x.shape);
        let value = Value { name, shape: x.shape.clone() };
        self.parameters.push(value.clone());
        self.values.push(value);
    }

    fn scan(&mut self, x: &Value) {
        let Value { name, shape } = x;
        if shape.is_empty() {
            return;
        }
        let carry = shape[1..].to_vec();
        let last = format!("v{}", self.count);
        let path = format!("v{}", self.count + 1);
        self.count += 2;
        let reader: Vec<Value> = self.values.iter().filter(|y| y.shape == carry).cloned().collect();
        let outside =
            if reader.is_empty() { "0.5".to_string() } else { reader[self.choices.below(reader.len())].name.clone() };
        let step = self.choices.of(&["tanh(0.5 * s + e)", "s + 0.1 * e", "maximum(0.5 * s, e)", "sin(e * s + 0.3)"]);
        let (dtype, more) = (self.dtype, self.choices.below(2) == 1);
        let counted = if more { ", k in range(N)".replace('N', &shape[0].to_string()) } else { String::new() };
        let turn = if more { format!(" + 0.1 * {dtype}(k)") } else { String::new() };
        // A loop in the loop, whose last carry and stack are used as they are or among others.
        let (inner, step, yielded) = match self.choices.below(4) {
            0 => (true, "w".to_string(), "sum(ws, axis = 0)".to_string()),
            1 => (true, format!("{step} + 0.1 * w"), "ws[1]".to_string()),
            _ => (false, step.to_string(), format!("s * {outside}")),
        };
        let inner = if inner {
            "let (w, ws) = scan w = e over j in range(3) { next w = tanh(0.5 * w + 0.3 * s); yield w + s }\n        "
        } else {
            ""
        };
        let _ = writeln!(
            self.text,
            "    let ({last}, {path}) = scan s = zeros({carry:?}, {dtype}) over e in {name}{counted} {{\n        \
             {inner}next s = {step}{turn}\n        yield {yielded}\n    }}"
        );
        self.values.push(Value { name: last, shape: carry });
        self.values.push(Value { name: path, shape: shape.clone() });
    }

    fn repeat(&mut self, x: &Value) {
        let Some(width) = x.shape.last().copied() else { return };
        let name = format!("v{}", self.count);
        self.bind(&x.name, x.shape.clone());
        let turns = 1 + self.choices.below(3);
        let body = self.choices.of(&["H + 0.5 * dense(tanh(H), W)", "tanh(dense(H, W))", "twice(H, sin)"]);
        let body = body.replace('H', &name).replace('W', &width.to_string());
        let _ = writeln!(self.text, "    repeat r{name} {turns} {{ next {name} = {body} }}");
    }

    /// Whole numbers come from inputs and comparisons with numbers that no rounding moves.
    fn whole_numbers(&mut self, x: &Value) {
        let dtype = self.dtype;
        let rows = self.values[0].shape[0];
        match self.choices.below(6) {
            0 => {
                let table = self.values.iter().filter(|y| y.shape.first().is_some_and(|rows| *rows >= 1));
                let table: Vec<Value> = table.cloned().collect();
                if !table.is_empty() {
                    let table = table[self.choices.below(table.len())].clone();
                    let shape = std::iter::once(rows).chain(table.shape[1..].iter().copied()).collect();
                    self.bind(&format!("take({}, index % {})", table.name, table.shape[0]), shape);
                }
            }
            1 => self.bind(&format!("{dtype}(index * 3 // 2 - 1)"), vec![rows]),
            5 if !x.shape.is_empty() => {
                let (n, width) = (x.shape[0], x.shape[1..].iter().product::<u64>());
                let added = format!("scatter_add(range({n}) // 2 % 3, {}, 3)", x.name);
                self.bind(&format!("reshape({added}, [{width}, 3])"), vec![width, 3]);
            }
            2 => self.bind(&format!("one_hot(index, 4, {dtype})"), vec![rows, 4]),
            3 => self.bind(&format!("{dtype}(index > 1 or not (index == 0))"), vec![rows]),
            4 if x.shape.last().is_some_and(|size| *size > 0) => {
                self.bind(&format!("0.1 * {dtype}(argmax(stop({})))", x.name), x.shape[..x.shape.len() - 1].to_vec());
            }
            _ => self.bind(&format!("where({} > 0.15, {dtype}(i64(7) // 2), 0.5)", x.name), x.shape.clone()),
        }
    }

    fn random(&mut self, x: &Value) {
        let kind = self.choices.of(&["random_normal", "random_uniform"]);
        self.bind(&format!("{} * {kind}({:?}, {})", x.name, x.shape, self.dtype), x.shape.clone());
    }

    fn rule(&mut self, x: &Value) {
        let Value { name, shape } = x;
        match self.choices.below(4) {
            0 => self.bind(&format!("round(4 * {name} + 0.37) via through / 4"), shape.clone()),
            1 => self.bind(&format!("clipped({name})"), shape.clone()),
            2 => self.bind(&format!("twice({name}, tanh)"), shape.clone()),
            _ => {
                let by = self.parameters.last().or(self.values.first()).cloned();
                if let Some(by) = by {
                    self.bind(
                        &format!("tanh(grad(0.3 * sum(sin({name})) + 0.1 * sum(square({by})), {by}))", by = by.name),
                        by.shape,
                    );
                }
            }
        }
    }

    fn ending(&mut self) {
        // All of them, since a parameter that no gradient reaches is an error.
        let terms: Vec<String> = self.values.iter().map(|value| format!("0.1 * sum(square({}))", value.name)).collect();
        let x = self.values[0].name.clone();
        let terms = terms.join(" + ");
        let shown = self.value();
        let _ = writeln!(self.text, "    out shown = {}", shown.name);
        let _ = writeln!(self.text, "    let head = dense({x}, 2)");
        let _ = writeln!(self.text, "    minimize {terms} + 0.1 * sum(head * head) using sgd(lr = 0.5)");
    }
}

/// The shape of an elementwise result.
fn broadcast(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let rank = left.len().max(right.len());
    let size = |shape: &[u64], axis: usize| {
        let missing = rank - shape.len();
        if axis < missing { 1 } else { shape[axis - missing] }
    };
    (0..rank)
        .map(|axis| match (size(left, axis), size(right, axis)) {
            (left, right) if left == right || right == 1 => Some(left),
            (1, right) => Some(right),
            _ => None,
        })
        .collect()
}
