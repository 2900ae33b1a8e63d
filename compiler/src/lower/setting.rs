//! Values that come from outside: sizes of dims and settings of a model.
//!
//! Expects: nothing; plain data.
//! Guarantees: what is written on a command line is read as it would be in a program, and a bare word as a string.
//! Leaves out: whether the model has that name, and takes that kind of value (`settings` of `lower`).

use super::value::Value;
use std::fmt;

/// A value for a dim or setting of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// A size, or a whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(String),
}

impl Setting {
    /// What a text of a command line means: `128`, `1e-3`, `true`, else a string, with quotes or without.
    pub fn from_text(text: &str) -> Setting {
        let digits = text.replace('_', "");
        let is_number = digits.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
        match text {
            "true" | "false" => Setting::Flag(text == "true"),
            _ if is_number && let Ok(whole) = digits.parse() => Setting::Integer(whole),
            _ if is_number && let Some(real) = digits.parse().ok().filter(|real: &f64| real.is_finite()) => {
                Setting::Real(real)
            }
            _ => {
                let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                Setting::Text(quoted.unwrap_or(text).to_string())
            }
        }
    }

    /// The size, if it is one.
    pub fn size(&self) -> Option<u64> {
        match self {
            Setting::Integer(size) => u64::try_from(*size).ok(),
            _ => None,
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Setting::Integer(whole) => Value::Integer(*whole),
            Setting::Real(real) => Value::Real(*real),
            Setting::Flag(flag) => Value::Flag(*flag),
            Setting::Text(text) => Value::Text(text.clone()),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Integer(whole) => write!(formatter, "{whole}"),
            Setting::Real(real) => write!(formatter, "{real:?}"),
            Setting::Flag(flag) => write!(formatter, "{flag}"),
            Setting::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

impl From<i64> for Setting {
    fn from(whole: i64) -> Setting {
        Setting::Integer(whole)
    }
}

impl From<i32> for Setting {
    fn from(whole: i32) -> Setting {
        Setting::Integer(whole.into())
    }
}

impl From<f64> for Setting {
    fn from(real: f64) -> Setting {
        Setting::Real(real)
    }
}

impl From<bool> for Setting {
    fn from(flag: bool) -> Setting {
        Setting::Flag(flag)
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Setting {
        Setting::Text(text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_in_a_program() {
        let cases: [(&str, Setting); 12] = [
            ("128", 128.into()),
            ("-1", (-1).into()),
            ("1_000", 1000.into()),
            ("0.01", 0.01.into()),
            ("1e-3", 1e-3.into()),
            ("-.5", (-0.5).into()),
            ("true", true.into()),
            ("false", false.into()),
            ("cosine", "cosine".into()),
            ("\"12\"", "12".into()),
            ("inf", "inf".into()),
            ("1e999", "1e999".into()),
        ];
        for (text, wanted) in cases {
            assert_eq!(Setting::from_text(text), wanted, "{text}");
        }
    }
}
