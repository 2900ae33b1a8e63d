//! Matrix products and rows of tables.

use super::Arguments;
use crate::ir::op::Op;
use crate::ir::types::Dtype;
use crate::lower::context::{Lowering, Outcome};
use crate::lower::operator::Placed;
use crate::lower::value::{Tensor, Value};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::tree::Span;

impl Lowering<'_> {
    /// `x @ y` over the last two axes; leading axes broadcast, and a vector is a row on the left and a column on the right.
    pub fn matmul(&mut self, left: Placed, right: Placed, span: Span) -> Outcome<Tensor> {
        let places = [left.1, right.1];
        for (value, place) in [&left, &right] {
            if !matches!(value, Value::Tensor(_) | Value::Poison | Value::Gone(..)) {
                let title = format!("`@` multiplies matrices, and this is {}", value.kind(&self.sizes));
                return self.error("BP0204", title, *place, "expected a tensor");
            }
        }
        let [mut x, mut y] = self.same_dtype("@", left, right, span)?;
        let scalar = [&x, &y].iter().position(|tensor| tensor.ty.rank() == 0);
        if let Some(side) = scalar {
            return Err(self.report(
                Diagnostic::error("BP0202", "`@` multiplies matrices, and this is a scalar", places[side], "no axes")
                    .with_help("use `*`"),
            ));
        }
        if !x.ty.dtype.is_float() {
            let title = format!("`@` works on floats, and these have dtype {}", x.ty.dtype);
            return Err(
                self.report(Diagnostic::error("BP0203", title, span, "here").with_help("cast both, as in `f32(x)`"))
            );
        }
        let (row, column) = (x.ty.rank() == 1, y.ty.rank() == 1);
        if row {
            let origins = vec![None, x.origins[0].clone()];
            let shape = vec![1, x.ty.shape[0]];
            x = Lowering::with_origins(self.emit(Op::Reshape { shape }, &[&x], span)?, origins);
        }
        if column {
            let origins = vec![y.origins[0].clone(), None];
            let shape = vec![y.ty.shape[0], 1];
            y = Lowering::with_origins(self.emit(Op::Reshape { shape }, &[&y], span)?, origins);
        }
        let (x_rank, y_rank) = (x.ty.rank(), y.ty.rank());
        let (inner, other) = (x.ty.shape[x_rank - 1], y.ty.shape[y_rank - 2]);
        if inner != other {
            let (x_text, y_text) = (self.type_text(&x.ty), self.type_text(&y.ty));
            let (inner, other) = (self.sizes.text(inner), self.sizes.text(other));
            let title = format!("`@` needs as many columns on the left as rows on the right: {inner} and {other}");
            let mut diagnostic = Diagnostic::error("BP0201", title, span, "inner sizes differ")
                .with_label(places[0], format!("{x_text}: {inner} columns"))
                .with_label(places[1], format!("{y_text}: {other} rows"));
            if let Some(origin) = &x.origins[x_rank - 1] {
                diagnostic = diagnostic.with_label(origin.span, format!("{inner} comes from `{}` here", origin.text));
            }
            if let Some(origin) = &y.origins[y_rank - 2] {
                diagnostic = diagnostic.with_label(origin.span, format!("{other} comes from `{}` here", origin.text));
            }
            if x.ty.shape[x_rank - 1] == y.ty.shape[y_rank - 1] {
                diagnostic = diagnostic.with_help("transpose the right operand: `x @ transpose(y)`");
            }
            return Err(self.report(diagnostic));
        }
        let lead = |tensor: &Tensor| {
            let rank = tensor.ty.rank() - 2;
            let mut lead = tensor.clone();
            lead.ty.shape.truncate(rank);
            lead.origins.truncate(rank);
            lead
        };
        let (shape, mut origins) = self.common_shape("@", &[(&lead(&x), places[0]), (&lead(&y), places[1])], span)?;
        origins.extend([x.origins[x_rank - 2].clone(), y.origins[y_rank - 1].clone()]);
        let x_shape = [shape.as_slice(), &x.ty.shape[x_rank - 2..]].concat();
        let y_shape = [shape.as_slice(), &y.ty.shape[y_rank - 2..]].concat();
        let x = self.broadcast(&x, &x_shape, span)?;
        let y = self.broadcast(&y, &y_shape, span)?;
        let product = Lowering::with_origins(self.emit(Op::Matmul {}, &[&x, &y], span)?, origins);
        if !row && !column {
            return Ok(product);
        }
        let rank = product.ty.rank();
        let dropped = |axis: usize| (row && axis == rank - 2) || (column && axis == rank - 1);
        let shape = (0..rank).filter(|axis| !dropped(*axis)).map(|axis| product.ty.shape[axis]).collect();
        let origins = (0..rank).filter(|axis| !dropped(*axis)).map(|axis| product.origins[axis].clone()).collect();
        Ok(Lowering::with_origins(self.emit(Op::Reshape { shape }, &[&product], span)?, origins))
    }

    /// Rows of a table.
    pub fn take(&mut self, table: &Tensor, indices: &Tensor, span: Span) -> Outcome<Tensor> {
        if indices.ty.dtype != Dtype::I32 {
            let title = format!("row numbers are i32, and this is {}", self.type_text(&indices.ty));
            return Err(self.report(
                Diagnostic::error("BP0203", title, span, "here").with_help("cast them, as in `i32(indices)`"),
            ));
        }
        let result = self.emit(Op::Take {}, &[table, indices], span)?;
        let origins = indices.origins.iter().chain(table.origins.iter().skip(1)).cloned().collect();
        Ok(Lowering::with_origins(result, origins))
    }

    pub(super) fn scatter_add(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (indices, updates) = (self.tensor(arguments, "indices")?, self.tensor(arguments, "updates")?);
        let rows = self.natural(arguments, "rows", 0)?;
        self.emit(Op::ScatterAdd { rows }, &[&indices, &updates], arguments.span).map(Value::Tensor)
    }
}
