//! The text form of graphs.
//!
//! Expects: nothing of the text; a graph whose ids exist.
//! Guarantees: `parse(&print(graph))` gives the same graph (`Graph::same`), numbers to the last bit; every declared
//! type agrees with the one that the op table infers.
//! Leaves out: where nodes come from; the invariants of `verify`.
//!
//! ```text
//! region r0 "main" {
//!   n0 = input {role = data, name = "x", ty = f32[3]} : f32[3]
//!   n1 = constant {value = f32(0.5), shape = [3]} : f32[3]
//!   n2 = mul(n0, n1) : f32[3]         ; a comment
//!   result value "y" = n2
//! }
//! ```
//!
//! Regions and nodes are numbered from 0 in order; `main` is the last region. Attributes stand in braces, all of them,
//! by name: `3`, `[1, 2]`, `true`, `f32` (a dtype), `f32(0.5)` (a number), `f32[2, 3]` (a type), `(f32[2], i32[])`
//! (types), `"text"`, `r0` (a region), the role of an input, or a gate of bits.

pub(crate) mod cursor;
pub(crate) mod lexer;
mod parse;
mod print;

pub use parse::parse;
pub use print::{attribute_text, node_text, print};
pub(crate) use print::{attributes_text, quote};

use super::graph::{InputRole, OutputRole};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// One sentence.
    pub message: String,
}

impl std::fmt::Display for TextError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TextError {}

const INPUT_ROLES: [(InputRole, &str); 7] = [
    (InputRole::Data, "data"),
    (InputRole::Parameter, "parameter"),
    (InputRole::State, "state"),
    (InputRole::Seed, "seed"),
    (InputRole::Step, "step"),
    (InputRole::Argument, "argument"),
    (InputRole::Cotangent, "cotangent"),
];

const OUTPUT_ROLES: [(OutputRole, &str); 3] =
    [(OutputRole::Value, "value"), (OutputRole::Next, "next"), (OutputRole::Warning, "warning")];

pub(crate) fn name_in<T: PartialEq>(table: &[(T, &'static str)], wanted: T) -> &'static str {
    table.iter().find(|(known, _)| *known == wanted).map_or("", |(_, name)| name)
}

pub(crate) fn find_in<T: Copy>(table: &[(T, &'static str)], wanted: &str) -> Option<T> {
    table.iter().find(|(_, name)| *name == wanted).map(|(known, _)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::graph::{Graph, Region};
    use crate::ir::op::Op;
    use crate::ir::types::{Dtype, Literal, TensorType};

    #[test]
    fn every_kind_of_number_survives() {
        let mut region = Region::new("a \"quoted\" \\ name\nwith ; and tab\t");
        let floats = [0.0, -0.0, 1.0, -1.5, 0.1, 1e-45, 1e-300, 1e300, f64::MAX, f64::MIN_POSITIVE];
        let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN, 5e-324, 16_777_217.0];
        let mut literals: Vec<Literal> = Vec::new();
        for value in floats.into_iter().chain(special) {
            literals.extend(Dtype::ALL.map(|dtype| Literal::new(dtype, value)));
        }
        literals.extend([i64::MIN, i64::MAX, -1, (1 << 53) + 1].map(|value| Literal::integer(Dtype::I64, value)));
        for value in literals {
            let node = region.push(Op::Constant { value, shape: vec![] }, &[], Default::default()).unwrap();
            region.result(OutputRole::Value, node.to_string(), node);
        }
        let mut graph = Graph::default();
        graph.add(region);
        let text = print(&graph);
        let back = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(graph.same(&back), "{text}");
        assert_eq!(print(&back), text);
    }

    #[test]
    fn inputs_of_every_role_survive() {
        let mut region = Region::new("");
        for (role, name) in INPUT_ROLES {
            let node = region.input(role, name, TensorType::new(Dtype::F32, [0, 3]), Default::default());
            region.result(OutputRole::Next, name, node);
        }
        let mut graph = Graph::default();
        graph.add(region);
        assert!(graph.same(&parse(&print(&graph)).unwrap()));
    }

    #[test]
    fn errors_say_where() {
        let error = |body: &str| parse(&format!("region r0 \"main\" {{\n{body}\n}}\n")).unwrap_err().to_string();
        assert_eq!(error("  n1 = iota"), "2:3: expected n0: nodes are numbered in order");
        assert_eq!(error("  n0 = iotta {} : f32[]"), "2:8: there is no operation iotta");
        assert_eq!(error("  n0 = neg(n0) : f32[]"), "2:12: n0 is not defined before this line");
        assert_eq!(
            error("  n0 = iota {axis = 0, ty = f32[3]} : f32[4]"),
            "2:39: declared f32[4], and the operation gives f32[3]"
        );
        assert_eq!(error("  n0 = iota {axis = 0} : f32[4]"), "2:8: iota needs the attribute ty");
        assert_eq!(
            error("  n0 = iota {axis = -1, ty = f32[3]} : f32[3]"),
            "2:8: the attribute axis of iota has the wrong kind"
        );
        assert_eq!(
            error("  n0 = constant {value = i32(3000000000), shape = []} : i32[]"),
            "2:30: 3000000000 is no i32"
        );
        assert_eq!(error("  n0 = constant {value = f32(0.1.2)"), "2:30: 0.1.2 is no f32");
        assert_eq!(error("  n0 = bit_count {gate = nand} : i32[2]"), "2:26: nand is no attribute");
        assert_eq!(error("  result value \"y\" = n0"), "2:22: n0 is not defined before this line");
        assert_eq!(error("  \"open"), "2:3: this text has no closing quote");
        assert_eq!(parse("").unwrap_err().to_string(), "1:1: expected region: a graph has at least one");
        assert_eq!(
            parse("region r0 \"a\" {\n}\nregion r2 \"b\" {\n}").unwrap_err().to_string(),
            "3:8: expected r1: regions are numbered in order"
        );
    }
}
