//! The text form of programs of kernels: programs of the examples read back the same, broken texts give errors, and the
//! file tests `tests/kernel/*.bpk`.
//!
//! The first line of a file says what is tested; a line `; case: NAME` begins another program.
//!
//! - `; test roundtrip`: the printed form has the very lines of the file, comments aside.
//! - `; test read`: reading stops at a line that ends with `; error: MESSAGE`.
//! - `; test verify`: the program is read, and `verify` gives the error of the line `; error: MESSAGE`, or none.

use bpc::ir::op::Op;
use bpc::kernel::ir::{BufferId, Program, Scalar, Step};
use bpc::kernel::plan::{self, Peak};
use bpc::kernel::text::{parse, print};
use bpc::kernel::verify::verify;
use bpc::lower::Options;
use bpc::pipeline::compile;
use bpc_lang::loader::load;
use std::path::{Path, PathBuf};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The kernels of a training step.
fn training_step(path: &str, text: &str, size: (&str, i64)) -> Program {
    let (program, diagnostics) = load(path, text, &mut |_| None);
    assert!(diagnostics.is_empty(), "{path}: {diagnostics:?}");
    let settings = [(size.0.to_string(), size.1.into())].into_iter().collect();
    let options = Options { settings, training: true, ..Options::default() };
    compile(&program, &options).unwrap_or_else(|errors| panic!("{path}: {errors:?}")).kernels
}

fn example(name: &str, size: (&str, i64)) -> Program {
    let path = folder("../examples").join(name);
    training_step(name, &std::fs::read_to_string(path).unwrap(), size)
}

fn examples() -> Vec<Program> {
    vec![
        example("digits.bp", ("B", 3)),
        example("mnist_conv.bp", ("B", 2)),
        example("vae.bp", ("B", 2)),
        example("pendulum.bp", ("T", 12)),
    ]
}

#[test]
fn programs_of_the_examples_read_back_the_same() {
    let programs = examples();
    let has = |found: fn(&Step) -> bool| programs.iter().flat_map(|program| &program.steps).any(found);
    assert!(has(|step| matches!(step, Step::Product(_))) && has(|step| matches!(step, Step::March(_))));
    for program in programs {
        let text = print(&program);
        let back = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(back == program, "{text}");
        assert_eq!(print(&back), text);
        verify(&back).unwrap();
    }
}

/// The round trip sees every part: a program that differs in one number has another text.
#[test]
fn what_differs_prints_otherwise() {
    let program = example("digits.bp", ("B", 3));
    let text = print(&program);
    let differs = |change: &dyn Fn(&mut Program)| {
        let mut other = program.clone();
        change(&mut other);
        assert_ne!(other, program);
        assert_ne!(print(&other), text);
        assert_eq!(parse(&print(&other)).as_ref(), Ok(&other));
    };
    differs(&|program| program.state_bytes += 64);
    differs(&|program| program.buffers[BufferId::from_u32(0)].name = "a \"quoted\"\nname".to_string());
    let nest = program.steps.iter().position(|step| matches!(step, Step::Nest(_))).unwrap();
    let in_nest = |change: &dyn Fn(&mut bpc::kernel::ir::Nest)| {
        differs(&|program| {
            let Step::Nest(nest) = &mut program.steps[nest] else { panic!("no nest") };
            change(nest);
        });
    };
    in_nest(&|nest| nest.scratch_bytes += 64);
    in_nest(&|nest| nest.name.push('"'));
    in_nest(&|nest| nest.stages[0].stores[0].map.offset = i64::MIN);
    in_nest(&|nest| nest.stages[0].stores[0].map.strides[0] = i64::MIN);
    in_nest(&|nest| nest.stages[0].vector_axis = nest.stages[0].vector_axis.map_or(Some(0), |_| None));
    in_nest(&|nest| {
        nest.stages[0].values.values_mut().for_each(|scalar| {
            if let Scalar::Load { otherwise, .. } = scalar {
                *otherwise = bpc::ir::types::Literal::new(otherwise.dtype, -0.0);
            }
        });
    });
    let product = program.steps.iter().position(|step| matches!(step, Step::Product(_))).unwrap();
    differs(&|program| {
        let Step::Product(product) = &mut program.steps[product] else { panic!("no product") };
        product.a.row_stride += 1;
    });
}

/// Texts that lack their end, a character, or hold another one: what is read prints as something that is read again.
#[test]
fn broken_texts_give_errors() {
    let mut places = Vec::new();
    for program in [example("digits.bp", ("B", 3)), example("pendulum.bp", ("T", 3))] {
        let text = print(&program);
        let check = |broken: &str| {
            let Err(error) = parse(broken) else {
                let program = parse(broken).unwrap();
                assert_eq!(parse(&print(&program)), Ok(program), "{broken}");
                return None;
            };
            let line = broken.split('\n').nth(error.line - 1).expect("a line of the text");
            assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}\n{line}");
            assert!(!error.message.is_empty());
            Some(error.line)
        };
        let marks = ["", "]", "[", "<", "-", "9", "v", "b0", "99999999999999999999", "\"", "i", " {", "\n}", "é"];
        // The texts have thousands of places: every 7th meets each kind of token.
        for (turn, end) in (0..text.len()).step_by(7).enumerate() {
            places.extend(check(&text[..end]));
            let mark = marks[turn % marks.len()];
            places.extend(check(&format!("{}{mark}{}", &text[..end], &text[end + 1..])));
            places.extend(check(&format!("{}{mark}{}", &text[..end], &text[end..])));
        }
    }
    assert!(places.len() > 1000, "most of them are errors: {}", places.len());
}

#[test]
fn deep_repeats_and_wide_axes() {
    let head = "program \"\" state 0 bytes, workspace 0 bytes\n";
    let deep = |depth: usize| format!("{head}{}{}", "repeat \"\" 1 {\n".repeat(depth), "}".repeat(depth));
    assert!(parse(&deep(64)).is_ok());
    assert_eq!(parse(&deep(100_000)).unwrap_err().to_string(), "66:1: more than 64 repeats inside each other");
    let axes: Vec<String> = (0..20)
        .map(|index| if index < 15 { "ijklpqrstuvwxyz"[index..=index].to_string() } else { format!("i{index}") })
        .collect();
    let loops: Vec<String> = axes.iter().map(|axis| format!("{axis} < 2")).collect();
    let text = format!(
        "{head}b0 : i32[2] output \"y\" at workspace + 0\nnest \"\" [] {{\n  stage [{}] {{\n    v0: i32 = index 7 - 3 i + j - i19\n    b0[i19] = v0\n  }}\n}}\n",
        loops.join(", ")
    );
    assert_eq!(print(&parse(&text).unwrap()), text);
}

#[test]
fn every_scalar_operation_is_read() {
    use bpc::ir::op::{Arity, OpClass};
    for name in Op::NAMES {
        let operands = match Op::from_parts(name, &[]).map(|op| (op.class(), op.arity())) {
            Ok((OpClass::Unary(_), _)) => " v0",
            Ok((OpClass::Binary(_), Arity::Fixed(names))) => {
                assert_eq!(names.len(), 2);
                " v0 v0"
            }
            _ => continue,
        };
        let text = format!(
            "program \"p\" state 0 bytes, workspace 0 bytes\nnest \"n\" [] {{\n  stage [] {{\n    v0: bool = true\n    v1: bool = {name}{operands}\n  }}\n}}\n"
        );
        assert_eq!(print(&parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))), text);
    }
}

#[test]
fn file_tests() {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder("tests/kernel")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let failures: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().to_string();
            let failures = check_file(&std::fs::read_to_string(path).unwrap());
            failures.into_iter().map(move |failure| format!("{name}: {failure}"))
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The file tests cannot pass by not running.
#[test]
fn wrong_expectations_are_seen() {
    let program = "program \"p\" state 0 bytes, workspace 64 bytes\nb0 : f32[4] output \"y\" at workspace + 0\n";
    let failures = |head: &str, tail: &str| check_file(&format!("{head}\n{program}{tail}")).len();
    assert_eq!(failures("; test roundtrip", ""), 0);
    assert_eq!(failures("; test roundtrip", "   nest \"n\" [] {\n}\n"), 1);
    assert_eq!(failures("; test read", ""), 1);
    assert_eq!(failures("; test read\n; error: expected a name in quotes", "nest 3\n"), 1);
    assert_eq!(failures("; test read", "nest ; error: nothing\n"), 1);
    assert_eq!(failures("; test read", "nest 3 ; error: expected a name in quotes\n"), 0);
    assert_eq!(failures("; test verify", ""), 0);
    assert_eq!(failures("; test verify\n; error: nothing", ""), 1);
    assert_eq!(failures("; test nothing", ""), 1);
}

fn check_file(text: &str) -> Vec<String> {
    let kind = text.lines().next().unwrap_or_default();
    let mut cases: Vec<(usize, Vec<&str>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("; case:") || cases.is_empty() {
            cases.push((index, Vec::new()));
        }
        cases.last_mut().unwrap().1.push(line);
    }
    // What stands before the first case of several is the head of the file.
    if cases.len() > 1 {
        cases.remove(0);
    }
    cases
        .into_iter()
        .filter_map(|(start, lines)| {
            check_case(kind, &lines).err().map(|message| format!("the case of line {}: {message}", start + 1))
        })
        .collect()
}

fn check_case(kind: &str, lines: &[&str]) -> Result<(), String> {
    let expected: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, line.split_once("; error: ")?.1.trim())))
        .collect();
    let read = parse(&lines.join("\n"));
    match (kind, read) {
        ("; test read", Ok(_)) => Err("it is read".to_string()),
        ("; test read", Err(error)) if expected == [(error.line, error.message.as_str())] => Ok(()),
        (_, Err(error)) => Err(error.to_string()),
        ("; test roundtrip", Ok(program)) => {
            let wanted: String =
                lines.iter().filter(|line| !line.starts_with(';')).map(|line| format!("{line}\n")).collect();
            let printed = print(&program);
            if printed == wanted { Ok(()) } else { Err(format!("it prints as\n{printed}")) }
        }
        ("; test verify", Ok(program)) => {
            let found = verify(&program).err();
            if found.iter().map(String::as_str).eq(expected.iter().map(|(_, message)| *message)) {
                Ok(())
            } else {
                Err(format!("verify says {found:?}"))
            }
        }
        _ => Err("expected ; test roundtrip, read or verify".to_string()),
    }
}

#[test]
fn kernels_of_a_small_training_step() {
    let text = "use std.nn { dense, relu, cross_entropy }\nuse std.optim { sgd }\n\n\
                model small {\n    in x: f32[B, 4]\n    in label: i32[B]\n    \
                let hidden = relu(dense(x, 8))\n    minimize cross_entropy(dense(hidden, 3), label) using sgd(lr = 0.1)\n}\n";
    insta::assert_snapshot!(print(&training_step("small.bp", text, ("B", 16))));
}

/// A chain x -> a -> b -> y of maps over 32 floats (128 bytes each), where x is given and y is the result.
#[test]
fn the_peak_of_a_chain() {
    let copy = |from: usize, to: usize| {
        format!("nest \"copy\" [] {{\n  stage [i < 32] {{\n    v0: f32 = b{from}[i]\n    b{to}[i] = v0\n  }}\n}}\n")
    };
    let buffers = "program \"p\" state 0 bytes, workspace 1024 bytes\n\
                   b0 : f32[32] data \"x\" at workspace + 0\nb1 : f32[32] temporary at workspace + 128\n\
                   b2 : f32[64] temporary at workspace + 256\nb3 : f32[32] output \"y\" at workspace + 512\n\
                   b4 : f32[1000] parameter \"w\" at state + 0\n";
    let peak = |steps: &[(usize, usize)]| {
        let steps: String = steps.iter().map(|(from, to)| copy(*from, *to)).collect();
        plan::peak(&parse(&format!("{buffers}{steps}")).unwrap())
    };
    // x and a; a and b (256 bytes, of which half is written); b and y. Parameters do not count.
    assert_eq!(peak(&[(0, 1), (1, 2), (2, 3)]), Peak { bytes: 384, step: 1, moment: 2 });
    // x lives until the last step, which reads it again.
    assert_eq!(peak(&[(0, 1), (1, 2), (2, 3), (0, 3)]), Peak { bytes: 512, step: 1, moment: 2 });
    // A result lives to the end: y is written first.
    assert_eq!(peak(&[(0, 3), (3, 1), (1, 2)]), Peak { bytes: 512, step: 2, moment: 3 });
    assert_eq!(peak(&[]), Peak { bytes: 0, step: 0, moment: 0 });
}
