//! The `train` block as plain data.
//!
//! Expects: nothing.
//! Guarantees: every value is a literal, a name, a list or a call of these; anything else is a diagnostic.
//! Leaves out: what the entries mean.

use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;
use bpc_lang::tree::{Expr, ExprKind, Item, Span, UnaryOperator};

/// What `bpc train` does without flags.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainBlock {
    /// The entries by name, in the order of the text.
    pub entries: Vec<(String, TrainValue, Span)>,
    /// The whole block.
    pub span: Span,
}

/// The value of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainValue {
    /// A whole number.
    Integer(i64),
    /// A real.
    Real(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(String),
    /// A word, such as `all`.
    Word(String),
    /// A list.
    List(Vec<TrainValue>),
    /// A source of data: `csv("data/digits.csv", label = "label")`.
    Call {
        /// What is called.
        name: String,
        /// Its arguments.
        arguments: Vec<TrainArgument>,
    },
}

/// An argument of a source of data.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainArgument {
    /// Its keyword.
    pub name: Option<String>,
    /// Its value.
    pub value: TrainValue,
    /// Where it stands.
    pub span: Span,
}

/// The `train` block of a model in the root module.
///
/// # Errors
/// A diagnostic, if a value is not plain.
pub fn train_block(program: &Program, model: &str) -> Result<Option<TrainBlock>, Vec<Diagnostic>> {
    let items = &program.modules[Program::ROOT.0 as usize].items;
    let found = items.iter().find_map(|item| match item {
        Item::Train(train) if train.model.text == model => Some(train),
        _ => None,
    });
    let Some(train) = found else { return Ok(None) };
    let mut entries = Vec::new();
    for (name, expr) in &train.entries {
        entries.push((name.text.clone(), plain(expr)?, expr.span));
    }
    Ok(Some(TrainBlock { entries, span: train.span }))
}

fn plain(expr: &Expr) -> Result<TrainValue, Vec<Diagnostic>> {
    let wrong = |label: &str| vec![Diagnostic::error("BP0312", "a `train` block holds plain values", expr.span, label)];
    Ok(match &expr.kind {
        ExprKind::Integer(digits) => {
            TrainValue::Integer(digits.replace('_', "").parse().map_err(|_| wrong("does not fit in 64 bits"))?)
        }
        ExprKind::Real(digits) => TrainValue::Real(digits.replace('_', "").parse().map_err(|_| wrong("no number"))?),
        ExprKind::Bool(value) => TrainValue::Flag(*value),
        ExprKind::String(text) => TrainValue::Text(text.clone()),
        ExprKind::Name(word) => TrainValue::Word(word.clone()),
        ExprKind::List(parts) => TrainValue::List(parts.iter().map(plain).collect::<Result<_, _>>()?),
        ExprKind::Unary(UnaryOperator::Negate, inner) => match plain(inner)? {
            TrainValue::Integer(value) => TrainValue::Integer(-value),
            TrainValue::Real(value) => TrainValue::Real(-value),
            _ => return Err(wrong("no number")),
        },
        ExprKind::Call(callee, args) => {
            let ExprKind::Name(name) = &callee.kind else { return Err(wrong("expected a source of data")) };
            let mut arguments = Vec::new();
            for arg in args {
                let keyword = arg.name.as_ref().map(|name| name.text.clone());
                arguments.push(TrainArgument { name: keyword, value: plain(&arg.value)?, span: arg.value.span });
            }
            TrainValue::Call { name: name.clone(), arguments }
        }
        _ => return Err(wrong("expected a number, a string, a flag, a list or a source of data")),
    })
}
