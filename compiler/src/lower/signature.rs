//! The inputs of a model before their sizes are known, and the sizes that given data imply.
//!
//! Expects: a program whose names are checked.
//! Guarantees: a conflict between the shapes of two inputs is a diagnostic at the dim.
//! Leaves out: inputs under an `if` or `repeat`; they are seen when the model is lowered.

use super::context::{Frame, FrameKind, Lowering, Outcome};
use super::setting::Setting;
use super::value::Value;
use super::{Options, find_model};
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;
use bpc_lang::tree::{Dim, ExprKind, Model, Span, Statement, Type};
use std::collections::BTreeMap;

/// A dim of an input as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureDim {
    /// A number.
    Size(u64),
    /// A name: of a setting, or solved from data.
    Name(String),
    /// Anything else, as text.
    Expression(String),
}

/// An input with its written dims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInput {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: Dtype,
    /// Its dims.
    pub dims: Vec<SignatureDim>,
}

/// A model as its callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub model: String,
    /// Its inputs in the order of the text.
    pub inputs: Vec<SignatureInput>,
    /// The names of its settings.
    pub settings: Vec<String>,
}

/// The signature of a model; without a name, of the only one.
///
/// # Errors
/// Diagnostics, if there is no such model.
pub fn signature(program: &Program, model: Option<&str>) -> Result<Signature, Vec<Diagnostic>> {
    let (_, model) = find_model(program, model)?;
    let text = |span: bpc_lang::tree::Span| {
        program.sources.text(span.file).get(span.start as usize..span.end as usize).unwrap_or("").to_string()
    };
    let mut inputs = Vec::new();
    for statement in &model.body.statements {
        let Statement::Input { name, ty, .. } = statement else { continue };
        let dims = ty.shape.iter().flatten().map(|dim| match dim {
            Dim::Size(expr) => match &expr.kind {
                ExprKind::Integer(digits) => match digits.replace('_', "").parse() {
                    Ok(size) => SignatureDim::Size(size),
                    Err(_) => SignatureDim::Expression(digits.clone()),
                },
                ExprKind::Name(name) => SignatureDim::Name(name.clone()),
                _ => SignatureDim::Expression(text(expr.span)),
            },
            Dim::Rest(_, span) => SignatureDim::Expression(text(*span)),
        });
        inputs.push(SignatureInput {
            name: name.text.clone(),
            dtype: Dtype::from_name(&ty.element.text).unwrap_or(Dtype::F32),
            dims: dims.collect(),
        });
    }
    let settings = model.params.iter().map(|param| param.name.text.clone()).collect();
    Ok(Signature { model: model.name.text.clone(), inputs, settings })
}

/// The sizes of a model's dims that the types of its inputs imply, together with those given (which win).
///
/// # Errors
/// Diagnostics, if an input does not fit its declared type or two inputs disagree about a dim.
pub fn solve_dims(
    program: &Program,
    model: Option<&str>,
    given: &BTreeMap<String, Setting>,
    inputs: &BTreeMap<String, TensorType>,
) -> Result<BTreeMap<String, Setting>, Vec<Diagnostic>> {
    let (id, model) = find_model(program, model)?;
    let options = Options { settings: given.clone(), ..Options::default() };
    let mut lowering = Lowering::new(program, &options);
    lowering.frames.push(Frame::new(id.module, FrameKind::Model, Vec::new()));
    let solved = lowering.solved(model, inputs);
    match solved {
        Ok(settings) if lowering.diagnostics.is_empty() => Ok(settings),
        _ => Err(lowering.diagnostics),
    }
}

impl Lowering<'_> {
    /// As `check_type` for the dtype, with what can be done about data: it is not in the program, where a value would be cast.
    fn check_dtype_of_data(&mut self, ty: &Type, actual: &TensorType, span: Span, name: &str) -> Outcome<()> {
        let (Some(wanted), given) = (Dtype::from_name(&ty.element.text), actual.dtype) else { return Ok(()) };
        if wanted == given {
            return Ok(());
        }
        let title = format!("the input `{name}` is {wanted}, and its data {given}");
        let help = format!(
            "give data of dtype {wanted}, or declare the input as {given} and cast it in the model, as in `let {name}_as_{wanted} = {wanted}({name})`"
        );
        let diagnostic = Diagnostic::error("BP0203", title, ty.element.span, format!("the data is {given}"));
        Err(self.report(diagnostic.with_label(span, "this input").with_help(help)))
    }

    fn solved(&mut self, model: &Model, inputs: &BTreeMap<String, TensorType>) -> Outcome<BTreeMap<String, Setting>> {
        self.settings(model)?;
        let settings: Vec<String> = model.params.iter().map(|param| param.name.text.clone()).collect();
        for (name, value) in &self.options.settings {
            // What is no size is reported where the dim stands, when the model is lowered.
            if !settings.contains(name) && value.size().is_some() {
                self.frame().define(name, value.value());
            }
        }
        for statement in &model.body.statements {
            if let Statement::Input { name, ty, span } = statement
                && let Some(actual) = inputs.get(&name.text)
            {
                self.check_dtype_of_data(ty, actual, *span, &name.text)?;
                self.check_type(ty, actual, *span, &format!("the data for `{}`", name.text))?;
            }
        }
        let mut all = self.options.settings.clone();
        for (name, value) in self.frame().scopes.iter().flatten() {
            if let Value::Integer(size) = value
                && !settings.contains(name)
            {
                all.entry(name.clone()).or_insert(Setting::Integer(*size));
            }
        }
        Ok(all)
    }
}
