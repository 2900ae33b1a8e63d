//! One array as a file holds it, and how its rows become the rows of a model input.
//!
//! Expects: the leading axis counts rows.
//! Guarantees: a row fits an input only if their shapes are equal up to axes of size 1, or one shape joins neighbouring axes
//!   of the other (28 x 28 is 784); anything else would scramble the data and is refused.
//! Leaves out: widening; elements stay as they are stored until a batch is made.

use crate::error::DataError;
use crate::tensor::{Stored, convert_elements, element_count, misfit_remedy, shape_text};

use super::WantedInput;

/// An array in its stored type, row-major, little endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What its elements are.
    pub stored: Stored,
    /// Sizes of the axes; the first counts rows.
    pub shape: Vec<u64>,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// Whether the data of an array in a file has as many bytes as its header says.
pub fn check_size(stored: Stored, shape: &[u64], data: &[u8], remedy: &str) -> Result<(), DataError> {
    let wanted = element_count(shape).and_then(|count| count.checked_mul(stored.bytes() as u64));
    if wanted == Some(data.len() as u64) {
        return Ok(());
    }
    let wanted = wanted.map_or("more than can be".to_string(), |wanted| wanted.to_string());
    let problem = format!("{stored}{} needs {wanted} bytes of data, the file has {}", shape_text(shape), data.len());
    Err(DataError::new("", problem, remedy))
}

impl Column {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The shape of one row.
    pub fn row_shape(&self) -> &[u64] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// The shape that its rows take in `wanted`, if they fit; sizes the input leaves open come from the data.
    pub fn fit_rows(&self, wanted: &WantedInput) -> Result<Vec<u64>, DataError> {
        if self.shape.is_empty() {
            let problem = format!("input `{}` gets a single number, which has no rows", wanted.name);
            return Err(DataError::new("", problem, "give an array whose first axis counts rows"));
        }
        resolve(self.row_shape(), &wanted.row_shape).ok_or_else(|| {
            let sizes: Vec<String> =
                wanted.row_shape.iter().map(|size| size.map_or("?".to_string(), |size| size.to_string())).collect();
            let problem = format!(
                "input `{}` wants rows {}[{}], the data has rows {}{}",
                wanted.name,
                wanted.dtype,
                sizes.join(", "),
                self.stored,
                shape_text(self.row_shape())
            );
            DataError::new("", problem, "change the sizes in the model, or choose other data for this input")
        })
    }

    /// Checks that every element can be converted to what `wanted` says.
    pub fn check_values(&self, wanted: &WantedInput) -> Result<(), DataError> {
        // By pieces, so that a large array is not held twice.
        const PIECE: usize = 1 << 16;
        let row_elements = element_count(self.row_shape()).unwrap_or(u64::MAX).max(1) as usize;
        let mut converted = Vec::new();
        for (piece, bytes) in self.bytes.chunks(PIECE * self.stored.bytes()).enumerate() {
            converted.clear();
            convert_elements(self.stored, bytes, wanted.dtype, &mut converted).map_err(|misfit| {
                let row = (piece * PIECE + misfit.index) / row_elements;
                let problem =
                    format!("row {row}: {} does not fit in {} of input `{}`", misfit.value, wanted.dtype, wanted.name);
                DataError::new("", problem, misfit_remedy(wanted.dtype))
            })?;
        }
        Ok(())
    }
}

fn resolve(have: &[u64], wanted: &[Option<u64>]) -> Option<Vec<u64>> {
    if let Some(wanted) = wanted.iter().copied().collect::<Option<Vec<u64>>>() {
        return regroups(have, &wanted).then_some(wanted);
    }
    let agree = |have: &[u64]| {
        let same = have.len() == wanted.len()
            && have.iter().zip(wanted).all(|(&have, wanted)| wanted.is_none_or(|wanted| wanted == have));
        same.then(|| have.to_vec())
    };
    let ones = vec![1; wanted.len()];
    let without_ones = strip_ones(have);
    agree(have).or_else(|| agree(&without_ones)).or_else(|| without_ones.is_empty().then(|| agree(&ones)).flatten())
}

fn strip_ones(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|&size| size != 1).collect()
}

/// Whether one shape comes from the other by joining neighbouring axes.
fn regroups(left: &[u64], right: &[u64]) -> bool {
    let (left, right) = (strip_ones(left), strip_ones(right));
    joins(&left, &right) || joins(&right, &left)
}

fn joins(fine: &[u64], coarse: &[u64]) -> bool {
    let mut fine = fine.iter();
    for &size in coarse {
        let mut product = 1u64;
        while product != size {
            match fine.next().and_then(|&next| product.checked_mul(next)) {
                Some(next) if next <= size && next > 0 => product = next,
                Some(0) if size == 0 => product = 0,
                _ => return false,
            }
        }
    }
    fine.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dtype;

    #[test]
    fn rows_fit_by_joining_neighbours_only() {
        let cases: [(&[u64], &[u64], bool); 10] = [
            (&[28, 28], &[784], true),
            (&[28, 28], &[1, 28, 28], true),
            (&[64], &[8, 8], true),
            (&[], &[1], true),
            (&[3, 32, 32], &[3, 1024], true),
            (&[3, 32], &[32, 3], false),
            (&[28, 28], &[783], false),
            (&[4, 6], &[8, 3], false),
            (&[0], &[0], true),
            (&[2], &[], false),
        ];
        for (have, wanted, fits) in cases {
            assert_eq!(regroups(have, wanted), fits, "{have:?} {wanted:?}");
        }
    }

    #[test]
    fn open_sizes_come_from_the_data() {
        assert_eq!(resolve(&[28, 30], &[None, Some(30)]), Some(vec![28, 30]));
        assert_eq!(resolve(&[28, 30], &[None, Some(28)]), None);
        assert_eq!(resolve(&[28, 1], &[None]), Some(vec![28]));
        assert_eq!(resolve(&[], &[None]), Some(vec![1]));
        assert_eq!(resolve(&[28, 30], &[None]), None);
    }

    #[test]
    fn misfits_name_the_row() {
        let wanted = WantedInput { name: "label".to_string(), dtype: Dtype::Bool, row_shape: vec![Some(2)] };
        let column = Column { stored: Stored::U8, shape: vec![2, 2], bytes: vec![0, 1, 12, 1] };
        let error = column.check_values(&wanted).unwrap_err().to_string();
        assert!(error.contains("row 1: 12 does not fit in bool of input `label`"), "{error}");
        let error = column.fit_rows(&WantedInput { row_shape: vec![Some(3), None], ..wanted }).unwrap_err().to_string();
        assert!(error.contains("input `label` wants rows bool[3, ?], the data has rows u8[2]"), "{error}");
    }
}
