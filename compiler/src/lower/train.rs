//! The `train` block as settings: what each entry and each argument of a data source says.
//!
//! Expects: entries that are known and stand once (`bpc_lang` checks both).
//! Guarantees: every entry has a value of its kind, and a source names inputs of the model; anything else is a diagnostic
//! at its place.
//! Leaves out: the files.

use super::signature::signature;
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;
use bpc_lang::suggest::closest;
use bpc_lang::tree::{Arg, Expr, ExprKind, Item, Name, Span};

/// What `bpc train` does without flags.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainBlock {
    /// Where the data comes from, and where that is written.
    pub source: Option<(Source, Span)>,
    /// Passes over the data.
    pub epochs: Option<u64>,
    /// Training steps, if the block counts steps.
    pub steps: Option<u64>,
    /// Rows of a batch, and where they are written.
    pub batch: Option<(BatchRows, Span)>,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Whether every epoch has a new order.
    pub shuffle: Option<bool>,
    /// The whole block.
    pub span: Span,
}

/// The value of `batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRows {
    /// So many.
    Rows(u64),
    /// `all`.
    All,
}

/// A source of data; paths are as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `csv("data/digits.csv", label = "label")`.
    Csv {
        /// The file.
        path: String,
        /// Inputs and their columns.
        columns: Vec<(String, Vec<String>)>,
        /// Part for training.
        split: Option<f64>,
    },
    /// `idx(image = "a.gz", label = "b.gz", test = idx(..))`.
    Idx {
        /// Inputs and their files.
        fields: Vec<(String, String)>,
        /// The same inputs for evaluation.
        test: Option<Vec<(String, String)>>,
        /// Part for training.
        split: Option<f64>,
    },
    /// `npz("f.npz", x = "name")`.
    Npz {
        /// The file.
        path: String,
        /// Inputs and their arrays.
        fields: Vec<(String, String)>,
        /// Part for training.
        split: Option<f64>,
    },
    /// `text("f.txt", input = "tokens", target = "next", length = 64)`.
    Text {
        /// The file.
        path: String,
        /// The input that gets a window.
        input: String,
        /// The input that gets the window one character further.
        target: Option<String>,
        /// Part for training.
        split: Option<f64>,
        /// Characters of a window.
        length: Option<u64>,
    },
}

/// The `train` block of a model in the root module.
///
/// # Errors
/// Diagnostics, one for each entry or argument that is wrong.
pub fn train_block(program: &Program, model: &str) -> Result<Option<TrainBlock>, Vec<Diagnostic>> {
    let items = &program.modules[Program::ROOT.0 as usize].items;
    let found = items.iter().find_map(|item| match item {
        Item::Train(train) if train.model.text == model => Some(train),
        _ => None,
    });
    let Some(train) = found else { return Ok(None) };
    let inputs = signature(program, Some(model))?.inputs.into_iter().map(|input| input.name).collect();
    let mut reader = Reader { inputs, wrong: Vec::new() };
    let mut block = TrainBlock {
        source: None,
        epochs: None,
        steps: None,
        batch: None,
        seed: None,
        shuffle: None,
        span: train.span,
    };
    for (name, value) in &train.entries {
        match name.text.as_str() {
            "data" => block.source = reader.source(value).map(|source| (source, value.span)),
            "epochs" => block.epochs = reader.count("epochs", value),
            "steps" => block.steps = reader.count("steps", value),
            "seed" => block.seed = reader.count("seed", value),
            "batch" => {
                let rows = match &value.kind {
                    ExprKind::Name(word) if word == "all" => Some(BatchRows::All),
                    _ => reader.count("batch", value).map(BatchRows::Rows),
                };
                block.batch = rows.map(|rows| (rows, name.span.to(value.span)));
            }
            _ => {
                block.shuffle = match &value.kind {
                    ExprKind::Bool(flag) => Some(*flag),
                    _ => reader.refuse("`shuffle` wants true or false", value.span),
                }
            }
        }
    }
    if block.epochs.is_some()
        && block.steps.is_some()
        && let Some((_, last)) = train.entries.iter().rev().find(|(name, _)| ["epochs", "steps"].contains(&&*name.text))
    {
        reader.report("`epochs` and `steps` both say how long training takes; leave one out", last.span);
    }
    if reader.wrong.is_empty() { Ok(Some(block)) } else { Err(reader.wrong) }
}

const SPLIT: &str = "`split` is the part for training, a number between 0 and 1 such as 0.8";

/// Arguments of a source that mean the same in each, and the rest: keywords for inputs of the model.
struct Arguments<'t> {
    source: &'t str,
    path: Option<String>,
    split: Option<f64>,
    fields: Vec<(&'t Name, &'t Expr)>,
}

/// Reads values and collects what is wrong with them.
struct Reader {
    /// The inputs of the model.
    inputs: Vec<String>,
    wrong: Vec<Diagnostic>,
}

impl Reader {
    fn report(&mut self, title: impl Into<String>, span: Span) {
        self.wrong.push(Diagnostic::error("BP0312", title, span, "here"));
    }

    fn refuse<T>(&mut self, title: impl Into<String>, span: Span) -> Option<T> {
        self.report(title, span);
        None
    }

    fn count(&mut self, name: &str, value: &Expr) -> Option<u64> {
        let number = match &value.kind {
            ExprKind::Integer(digits) => digits.replace('_', "").parse::<i64>().ok(),
            _ => None,
        };
        match number {
            Some(number) => Some(number as u64),
            None => self.refuse(format!("`{name}` wants a plain whole number that is not negative"), value.span),
        }
    }

    fn text(&mut self, what: &str, value: &Expr) -> Option<String> {
        match &value.kind {
            ExprKind::String(text) => Some(text.clone()),
            _ => self.refuse(format!("{what} is a string"), value.span),
        }
    }

    fn source(&mut self, value: &Expr) -> Option<Source> {
        let call = match &value.kind {
            ExprKind::Call(callee, arguments) => match &callee.kind {
                ExprKind::Name(name) => Some((name.as_str(), arguments)),
                _ => None,
            },
            _ => None,
        };
        let Some((source, arguments)) = call else {
            return self.refuse("`data` wants a source: csv(..), idx(..), npz(..) or text(..)", value.span);
        };
        match source {
            "csv" => {
                let mut read = self.arguments(source, arguments, value.span);
                let mut columns = Vec::new();
                for (name, value) in std::mem::take(&mut read.fields) {
                    let input = self.input(source, &name.text, name.span);
                    columns.push((input?, self.columns(value)?));
                }
                Some(Source::Csv { path: read.path?, columns, split: read.split })
            }
            "idx" => {
                let mut read = self.arguments(source, arguments, value.span);
                let test = read.fields.iter().position(|(name, _)| name.text == "test");
                let test = match test.map(|place| read.fields.remove(place).1) {
                    None => None,
                    Some(Expr { kind: ExprKind::Call(_, arguments), span }) => {
                        let mut inner = self.arguments(source, arguments, *span);
                        Some(self.fields(&mut inner)?)
                    }
                    Some(other) => return self.refuse("`test` of `idx` is written `idx(..)`", other.span),
                };
                if read.path.is_some() {
                    return self.refuse("`idx` has a keyword for each file: `image = \"images.gz\"`", value.span);
                }
                if read.fields.is_empty() {
                    return self.refuse("`idx` wants a file for each input: `image = \"images.gz\"`", value.span);
                }
                Some(Source::Idx { fields: self.fields(&mut read)?, test, split: read.split })
            }
            "npz" => {
                let mut read = self.arguments(source, arguments, value.span);
                Some(Source::Npz { fields: self.fields(&mut read)?, path: read.path?, split: read.split })
            }
            _ => self.windows(arguments, value.span),
        }
    }

    fn windows(&mut self, arguments: &[Arg], span: Span) -> Option<Source> {
        let mut read = self.arguments("text", arguments, span);
        let (mut input, mut target, mut length) = (None, None, None);
        for (name, value) in std::mem::take(&mut read.fields) {
            match name.text.as_str() {
                "length" => length = Some(self.count("length", value)?),
                "input" | "target" => {
                    let text = self.text(&format!("`{}` of `text`", name.text), value)?;
                    let known = Some(self.input("text", &text, value.span)?);
                    *(if name.text == "input" { &mut input } else { &mut target }) = known;
                }
                other => {
                    let known = ["input", "target", "split", "length"];
                    let title = format!("`text` has no keyword `{other}`; it has: {}", known.join(", "));
                    return self.refuse(title, name.span);
                }
            }
        }
        match input {
            Some(input) => Some(Source::Text { path: read.path?, input, target, split: read.split, length }),
            None => self.refuse("`text` wants `input = \"..\"`, the input that gets a window", span),
        }
    }

    fn arguments<'t>(&mut self, source: &'t str, arguments: &'t [Arg], span: Span) -> Arguments<'t> {
        let mut read = Arguments { source, path: None, split: None, fields: Vec::new() };
        let mut first = None;
        for Arg { name, value } in arguments {
            match name {
                None if first.is_none() => {
                    first = Some(value.span);
                    read.path = self.text(&format!("the path of `{source}`"), value);
                }
                None => {
                    let title = format!("`{source}` takes one path without a keyword, and then keywords");
                    self.report(title, value.span);
                }
                Some(name) if name.text == "split" => match &value.kind {
                    ExprKind::Real(digits) => {
                        read.split = digits.replace('_', "").parse().ok().filter(|part| *part > 0.0 && *part < 1.0);
                        if read.split.is_none() {
                            self.report(SPLIT, value.span);
                        }
                    }
                    _ => self.report(SPLIT, value.span),
                },
                Some(name) if read.fields.iter().any(|(known, _)| known.text == name.text) => {
                    self.report(format!("`{}` is given twice", name.text), name.span);
                }
                Some(name) => read.fields.push((name, value)),
            }
        }
        if first.is_none() && source != "idx" {
            self.report(format!("`{source}` wants the path of a file first"), span);
        }
        read
    }

    /// The name of an input of the model.
    fn input(&mut self, source: &str, name: &str, span: Span) -> Option<String> {
        if self.inputs.iter().any(|input| input == name) {
            return Some(name.to_string());
        }
        let title = format!("the model has no input `{name}`");
        let diagnostic = Diagnostic::error("BP0312", title, span, format!("`{source}` gives data to inputs"));
        self.wrong.push(match closest(name, self.inputs.iter().map(String::as_str)) {
            Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
            None => diagnostic.with_note(format!("its inputs are: {}", self.inputs.join(", "))),
        });
        None
    }

    fn fields(&mut self, read: &mut Arguments) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        for (name, value) in std::mem::take(&mut read.fields) {
            let input = self.input(read.source, &name.text, name.span);
            fields.push((input?, self.text(&format!("`{}` of `{}`", name.text, read.source), value)?));
        }
        Some(fields)
    }

    fn columns(&mut self, value: &Expr) -> Option<Vec<String>> {
        let what = "the name of a column";
        match &value.kind {
            ExprKind::List(parts) => parts.iter().map(|part| self.text(what, part)).collect(),
            _ => Some(vec![self.text(what, value)?]),
        }
    }
}
