//! Keys and segments.

use super::Arguments;
use crate::ir::op::Op;
use crate::lower::context::{Lowering, Outcome};
use crate::lower::value::Value;

impl Lowering<'_> {
    /// `histogram(keys, bins)` and `counting_sort(keys, bins)`.
    pub(super) fn keys(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let keys = self.tensor(arguments, "keys")?;
        let bins = self.natural(arguments, "bins", 0)?;
        let op = if arguments.name == "histogram" { Op::Histogram { bins } } else { Op::CountingSort { bins } };
        self.emit(op, &[&keys], arguments.span).map(Value::Tensor)
    }

    pub(super) fn segment_matmul(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (rows, matrices) = (self.tensor(arguments, "rows")?, self.tensor(arguments, "matrices")?);
        let counts = self.tensor(arguments, "counts")?;
        let transposed = self.flag_argument(arguments, "transposed")?;
        let result = self.emit(Op::SegmentMatmul { transposed }, &[&rows, &matrices, &counts], arguments.span)?;
        let origins = match (rows.origins.first(), matrices.origins.get(if transposed { 2 } else { 1 })) {
            (Some(row), Some(column)) => vec![row.clone(), column.clone()],
            _ => Vec::new(),
        };
        Ok(Value::Tensor(Lowering::with_origins(result, origins)))
    }

    pub(super) fn segment_outer(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let [x, y, counts] = ["x", "y", "counts"].map(|parameter| self.tensor(arguments, parameter));
        self.emit(Op::SegmentOuter {}, &[&x?, &y?, &counts?], arguments.span).map(Value::Tensor)
    }
}
