//! Names of sizes while a declaration is checked with representative numbers.
//!
//! Expects: distinct primes, so that two products agree only if they are the same product.
//! Guarantees: a size that is a product of named primes and a number, or such a product plus or minus a small
//! number, prints as that expression; every other number prints as itself.
//! Leaves out: nothing else.

use crate::ir::types::TensorType;

/// The first of the primes for dims: large enough that slices and windows of everyday code fit, small enough that
/// products of eight stay far below 2^63.
const FIRST: u64 = 101;

/// Which prime stands for which dim.
#[derive(Clone, Debug, Default)]
pub(super) struct SizeNames {
    names: Vec<(u64, String)>,
    checking: bool,
}

impl SizeNames {
    /// A prime that stands for the dim of this name; the same one each time.
    pub fn representative(&mut self, name: &str) -> u64 {
        if let Some((prime, _)) = self.names.iter().find(|(_, known)| known == name) {
            return *prime;
        }
        let after = self.names.last().map_or(FIRST, |(prime, _)| prime + 1);
        let is_prime = |number: &u64| (2..).take_while(|d| d * d <= *number).all(|d| !number.is_multiple_of(d));
        let prime = (after..).find(is_prime).expect("bug in bpc: the primes have an end");
        self.names.push((prime, name.to_string()));
        prime
    }

    /// Whether sizes are representatives.
    pub fn in_use(&self) -> bool {
        self.checking
    }

    /// Names for representatives.
    pub fn checking() -> SizeNames {
        SizeNames { names: Vec::new(), checking: true }
    }

    /// Whether a size stands for a dim. Primes decide which sizes are equal; which one is larger they do not.
    pub fn is_named(&self, size: u64) -> bool {
        self.checking && self.text(size) != size.to_string()
    }

    /// A size as messages print it.
    pub fn text(&self, size: u64) -> String {
        if self.names.is_empty() || size < FIRST - 8 {
            return size.to_string();
        }
        if let Some(product) = self.product(size, u64::MAX) {
            return product;
        }
        for small in 1..=8 {
            if let Some(product) = size.checked_sub(small).and_then(|rest| self.product(rest, FIRST)) {
                return format!("{product} + {small}");
            }
            if let Some(product) = self.product(size + small, FIRST) {
                return format!("{product} - {small}");
            }
        }
        size.to_string()
    }

    /// The size as a product of dims and a number below `limit`.
    fn product(&self, size: u64, limit: u64) -> Option<String> {
        let mut rest = size;
        let mut factors = Vec::new();
        for (prime, name) in &self.names {
            while rest > 0 && rest.is_multiple_of(*prime) {
                rest /= prime;
                factors.push(name.clone());
            }
        }
        if factors.is_empty() || rest >= limit {
            return None;
        }
        if rest > 1 {
            factors.insert(0, rest.to_string());
        }
        Some(factors.join("*"))
    }

    /// A type as messages print it.
    pub fn type_text(&self, ty: &TensorType) -> String {
        let sizes: Vec<String> = ty.shape.iter().map(|size| self.text(*size)).collect();
        format!("{}[{}]", ty.dtype, sizes.join(", "))
    }

    /// A sentence with its numbers replaced by names.
    pub fn rename(&self, sentence: &str) -> String {
        if self.names.is_empty() {
            return sentence.to_string();
        }
        let mut renamed = String::new();
        let mut digits = String::new();
        let mut word = false;
        for character in sentence.chars().chain(std::iter::once(' ')) {
            if character.is_ascii_digit() && !word {
                digits.push(character);
                continue;
            }
            if !digits.is_empty() {
                renamed.push_str(&digits.parse().map_or(digits.clone(), |size| self.text(size)));
                digits.clear();
            }
            word = character.is_alphanumeric() || character == '_';
            renamed.push(character);
        }
        renamed.pop();
        renamed
    }
}
