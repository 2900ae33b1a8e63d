//! Opening every kind of source, on small files made here.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::batches::{BatchSize, Batches, Plan};
use super::*;
use crate::data::idx::tests::idx_bytes;
use crate::file::tests::gzip;
use crate::tensor::HostTensor;

/// Once through everything in the order of the file.
fn in_order(batch: BatchSize) -> Plan {
    Plan { batch, whole: false, epochs: 1, seed: 0, shuffle: false }
}

fn wanted(name: &str, dtype: Dtype, row_shape: &[u64]) -> WantedInput {
    WantedInput { name: name.to_string(), dtype, row_shape: row_shape.iter().copied().map(Some).collect() }
}

fn names<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(input, name)| (input.to_string(), name.to_string())).to_vec()
}

/// The whole of a data set as one batch.
fn everything(dataset: &Dataset) -> Vec<HostTensor> {
    let mut batches = Batches::new(dataset.clone(), in_order(BatchSize::All)).unwrap();
    batches.next().unwrap().unwrap().tensors
}

fn error_of(spec: &SourceSpec, wanted: &[WantedInput]) -> String {
    open(spec, wanted, 0).unwrap_err().to_string()
}

fn table(folder: &TempDir, split: Option<f64>) -> SourceSpec {
    let path = folder.path().join("table.csv");
    let rows: Vec<String> = (0..10).map(|row| format!("{row},{},{}", row * 10, row % 3)).collect();
    fs::write(&path, gzip(format!("a,b,label\n{}\n", rows.join("\n")).as_bytes())).unwrap();
    SourceSpec::Csv { path, columns: vec![("label".to_string(), vec!["label".to_string()])], split }
}

fn table_inputs() -> [WantedInput; 2] {
    [wanted("label", Dtype::I32, &[]), wanted("x", Dtype::F32, &[2])]
}

#[test]
fn a_table_with_the_rest_of_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let split = open(&table(&folder, None), &table_inputs(), 0).unwrap();
    assert!(split.test.is_none());
    let tensors = everything(&split.train);
    assert_eq!(tensors[0].to_vec::<i32>().unwrap(), (0..10).map(|row| row % 3).collect::<Vec<i32>>());
    assert_eq!(tensors[1].type_text(), "f32[10, 2]");
    assert_eq!(tensors[1].to_f64()[..6], [0.0, 0.0, 1.0, 10.0, 2.0, 20.0]);
}

#[test]
fn splits_depend_on_the_seed_alone_and_share_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let spec = table(&folder, Some(0.8));
    let rows = |seed| {
        let split = open(&spec, &table_inputs(), seed).unwrap();
        let side = |dataset: &Dataset| everything(dataset)[1].to_f64().into_iter().step_by(2).collect::<Vec<f64>>();
        (side(&split.train), side(&split.test.unwrap()))
    };
    let (train, test) = rows(5);
    assert_eq!((train.len(), test.len()), (8, 2));
    assert_eq!((train.clone(), test.clone()), rows(5));
    assert!((0..5).any(|seed| rows(seed).1 != test));
    let mut both = [train, test].concat();
    both.sort_by(f64::total_cmp);
    assert_eq!(both, (0..10).map(f64::from).collect::<Vec<f64>>());
}

#[test]
fn wrong_splits_and_inputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (split, expected) in [
        (1.5, "split = 1.5 is not between 0 and 1"),
        (f64::NAN, "split = NaN is not between"),
        (0.99, "split = 0.99 of 10 rows leaves nothing"),
    ] {
        let error = error_of(&table(&folder, Some(split)), &table_inputs());
        assert!(error.contains("table.csv: ") && error.contains(expected), "{error}");
    }
    let [label, x] = table_inputs();
    let more = [label.clone(), x.clone(), wanted("mask", Dtype::Bool, &[])];
    assert!(error_of(&table(&folder, None), &more).contains("input `mask` gets no data"));
    let other = [wanted("labels", Dtype::I32, &[]), x];
    let error = error_of(&table(&folder, None), &other);
    assert!(error.contains("the model has no input `label`") && error.contains("did you mean `labels`?"), "{error}");
    let error = error_of(&table(&folder, None), &[label, wanted("x", Dtype::F32, &[3])]);
    assert!(error.contains("table.csv: input `x` wants rows f32[3], the data has rows f32[2]"), "{error}");
}

/// IDX files of three images of 2 x 2 and so many labels.
fn images(folder: &TempDir, labels: u8) -> Vec<(String, PathBuf)> {
    let (image, label) = (folder.path().join("images"), folder.path().join(format!("labels{labels}")));
    fs::write(&image, gzip(&idx_bytes(8, &[3, 2, 2], &(0..12).collect::<Vec<u8>>()))).unwrap();
    fs::write(&label, idx_bytes(8, &[labels.into()], &(0..labels).collect::<Vec<u8>>())).unwrap();
    vec![("image".to_string(), image), ("label".to_string(), label)]
}

#[test]
fn images_and_labels() {
    let folder = tempfile::tempdir().unwrap();
    let fields = images(&folder, 3);
    let inputs = [wanted("image", Dtype::F32, &[4]), wanted("label", Dtype::I32, &[])];
    let spec = SourceSpec::Idx { fields: fields.clone(), test: Some(fields.clone()), split: None };
    let split = open(&spec, &inputs, 0).unwrap();
    let tensors = everything(&split.test.unwrap());
    assert_eq!(tensors[0].type_text(), "f32[3, 4]");
    assert_eq!(tensors[0].to_f64(), (0..12).map(f64::from).collect::<Vec<f64>>());
    let open_sizes = WantedInput { row_shape: vec![None, None], ..inputs[0].clone() };
    let split = open(&spec, &[open_sizes, inputs[1].clone()], 0).unwrap();
    assert_eq!(split.train.fields()[0].row_shape(), [2, 2]);

    let error = error_of(&spec, &[wanted("image", Dtype::F32, &[784]), inputs[1].clone()]);
    assert!(error.contains("images: input `image` wants rows f32[784], the data has rows u8[2, 2]"), "{error}");
    let error = error_of(&spec, &[inputs[0].clone(), wanted("label", Dtype::Bool, &[])]);
    assert!(error.contains("labels3: row 2: 2 does not fit in bool of input `label`"), "{error}");
    let mismatch = SourceSpec::Idx { fields: images(&folder, 4), test: None, split: None };
    let error = error_of(&mismatch, &inputs);
    assert!(error.contains("input `image` has 3 rows, input `label` ") && error.contains("labels4) has 4"), "{error}");
    let both = SourceSpec::Idx { fields: fields.clone(), test: Some(fields), split: Some(0.5) };
    assert!(error_of(&both, &inputs).contains("both `test` and `split`"));
    let nothing = SourceSpec::Idx { fields: vec![], test: None, split: None };
    assert!(error_of(&nothing, &inputs).contains("input `image` gets no data"));
    assert!(error_of(&nothing, &[]).contains("no input that takes data"));
}

#[test]
fn arrays_of_numpy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let tensors = vec![
        ("inputs".to_string(), HostTensor::from_slice([2, 2], &[1.0f64, 2.0, 3.0, 1e300]).unwrap()),
        ("one".to_string(), HostTensor::scalar(1i32)),
        ("none".to_string(), HostTensor::zeros(Dtype::F32, [0, 2]).unwrap()),
    ];
    npz::write(&path, &tensors).unwrap();
    let spec = |array| SourceSpec::Npz { path: path.clone(), fields: names([("x", array)]), split: Some(0.5) };
    let split = open(&spec("inputs"), &[wanted("x", Dtype::F64, &[2])], 0).unwrap();
    assert_eq!(everything(&split.train)[0].shape(), [1, 2]);
    let error = error_of(&spec("inputs"), &[wanted("x", Dtype::F32, &[2])]);
    assert!(error.contains("a.npz: row 1: ") && error.contains("does not fit in f32 of input `x`"), "{error}");
    assert!(error_of(&spec("input"), &[wanted("x", Dtype::F32, &[2])]).contains("did you mean `inputs`?"));
    assert!(error_of(&spec("one"), &[wanted("x", Dtype::F32, &[])]).contains("which has no rows"));
    assert!(error_of(&spec("none"), &[wanted("x", Dtype::F32, &[2])]).contains("there are no rows"));
}

/// A text whose character number `i` is the letter number `i` of the alphabet, in turn.
fn letters(folder: &TempDir, count: u8, split: Option<f64>, length: Option<u64>) -> SourceSpec {
    let path = folder.path().join("a.txt");
    fs::write(&path, (0..count).map(|at| char::from(b'a' + at % 26)).collect::<String>()).unwrap();
    SourceSpec::Text { path, input: "tokens".to_string(), target: Some("next".to_string()), split, length }
}

#[test]
fn windows_of_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = [wanted("next", Dtype::I32, &[4]), wanted("tokens", Dtype::I64, &[4])];
    let split = open(&letters(&folder, 26, Some(0.5), None), &inputs, 0).unwrap();
    assert_eq!(split.alphabet.unwrap().len(), 26);
    // 13 characters for evaluation: three windows of 4 whose targets go up to the last character.
    let tensors = everything(split.test.as_ref().unwrap());
    assert_eq!(tensors[1].type_text(), "i64[3, 4]");
    assert_eq!(tensors[1].to_f64(), (13..25).map(f64::from).collect::<Vec<f64>>());
    assert_eq!(tensors[0].to_vec::<i32>().unwrap(), (14..26).collect::<Vec<i32>>());
    // 13 characters for training: one step of 2 x 4, then the next epoch.
    let plan = Plan { batch: BatchSize::Rows(2), whole: false, epochs: 40, seed: 1, shuffle: true };
    let batches = Batches::new(split.train.clone(), plan).unwrap();
    assert_eq!(batches.batches_per_epoch(), 1);
    let mut starts = Vec::new();
    for batch in batches {
        let tensors = batch.unwrap().tensors;
        let (next, tokens) = (tensors[0].to_f64(), tensors[1].to_f64());
        assert!(next.iter().zip(&tokens).all(|(next, token)| next - token == 1.0));
        assert!(tokens.iter().chain(&next).all(|&token| token < 13.0));
        starts.extend(tokens.iter().copied().step_by(4).map(|start| start as u64));
    }
    assert_eq!(starts.len(), 80);
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts, (0..9).collect::<Vec<u64>>(), "every window of the training part is drawn sooner or later");
}

#[test]
fn wrong_windows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = |name: &str| WantedInput { row_shape: vec![None], ..wanted(name, Dtype::I32, &[]) };
    let open_inputs = [unknown("tokens"), unknown("next")];
    let split = open(&letters(&folder, 10, None, Some(3)), &open_inputs, 0).unwrap();
    assert_eq!(split.train.fields()[0].row_shape(), [3]);
    for (spec, inputs, expected) in [
        (letters(&folder, 10, None, None), open_inputs.clone(), "a.txt: the length of a window is not known"),
        (letters(&folder, 10, None, Some(10)), open_inputs.clone(), "the text has 10 characters, a window needs 11"),
        (letters(&folder, 10, Some(0.8), Some(3)), open_inputs.clone(), "evaluation has 2 characters"),
        (letters(&folder, 10, None, Some(0)), open_inputs, "length 0 holds nothing"),
        (
            letters(&folder, 10, None, Some(3)),
            [wanted("tokens", Dtype::I32, &[4]), unknown("next")],
            "input `tokens` wants windows of 4, others of 3",
        ),
        (
            letters(&folder, 10, None, Some(3)),
            [wanted("tokens", Dtype::I32, &[]), unknown("next")],
            "input `tokens` has 0 axes",
        ),
        (letters(&folder, 10, None, Some(3)), [wanted("tokens", Dtype::Bool, &[3]), unknown("next")], "does not fit"),
    ] {
        let error = error_of(&spec, &inputs);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_digits_of_the_examples() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/digits.csv"));
    let columns = vec![("label".to_string(), vec!["label".to_string()])];
    let spec = SourceSpec::Csv { path, columns, split: Some(0.8) };
    let inputs = [wanted("image", Dtype::F32, &[64]), wanted("label", Dtype::I32, &[])];
    let split = open(&spec, &inputs, 0).unwrap();
    let test = split.test.unwrap();
    assert_eq!((split.train.rows(), test.rows()), (1438, 359));
    let mut counts = [0; 10];
    for dataset in [&split.train, &test] {
        let tensors = everything(dataset);
        assert!(tensors[0].to_f64().iter().all(|pixel| (0.0..=16.0).contains(pixel)));
        tensors[1].to_vec::<i32>().unwrap().iter().for_each(|&label| counts[label as usize] += 1);
    }
    // The numbers of each digit that UCI states for this part of its data.
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}
