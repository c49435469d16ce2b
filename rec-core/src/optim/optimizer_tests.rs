use super::*;
use crate::optim::{Part, Rule, Schedule};
use crate::params::Init;

fn rules() -> Vec<Rule> {
    let (beta1, beta2, epsilon) = (0.9, 0.99, 1e-8);
    vec![
        Rule::Sgd { momentum: 0.0, nesterov: false },
        Rule::Sgd { momentum: 0.9, nesterov: false },
        Rule::Sgd { momentum: 0.9, nesterov: true },
        Rule::Adagrad { initial: 0.1, momentum: 0.0, epsilon: 1e-10 },
        Rule::Adagrad { initial: 1e-6, momentum: 0.3, epsilon: 1e-10 },
        Rule::Rmsprop { alpha: 0.9, momentum: 0.0, epsilon: 1e-8 },
        Rule::Rmsprop { alpha: 0.9, momentum: 0.5, epsilon: 1e-8 },
        Rule::Rprop { shrink: 0.5, grow: 1.2, min_step: 1e-6, max_step: 50.0 },
        Rule::Ftrl { l1: 0.0, beta: 1.0 },
        Rule::Ftrl { l1: 0.7, beta: 0.5 },
        Rule::Adam { beta1, beta2, epsilon },
        Rule::Adamw { beta1, beta2, epsilon },
    ]
}

fn model(seed: u64) -> (Params, Tensor, crate::params::Table) {
    let mut params = Params::new(Device::Cpu, seed);
    let dense = params.dense("w", &[3, 4], Init::Normal { std: 0.5 }).expect("made");
    let table = params.table("t", 7, 4, Init::Normal { std: 0.5 }).expect("made");
    (params, dense, table)
}

/// A loss that touches the dense parameter and some rows, one of them twice.
fn backward(dense: &Tensor, table: &crate::params::Table, turn: u32) {
    let ids = [turn % 7, (turn * 3 + 1) % 7, turn % 7];
    let rows = table.rows(&ids).expect("in range");
    (rows.matmul(&dense.transpose(0, 1)).square().sum(Kind::Float) + (dense - 0.3).square().sum(Kind::Float)).backward();
}

#[test]
fn slices_and_tensors_make_the_same_steps() {
    for rule in rules() {
        for rows in [Rows::All, Rows::Touched] {
            if rows == Rows::Touched && matches!(rule, Rule::Rprop { .. }) {
                continue;
            }
            let config = OptimizerConfig {
                rule,
                rows,
                learning_rate: 0.05,
                l2: 0.01,
                max_gradient_norm: 1.5,
                schedule: Schedule::Constant,
                parts: Vec::new(),
            };
            let (params, dense, table) = model(3);
            let (mirror, mirror_dense, mirror_table) = model(3);
            let mut optimizer = Optimizer::new(&config, &params).expect("a fine config");
            let mut by_tensors = Optimizer::new(&config, &mirror).expect("a fine config");
            for turn in 0..6 {
                backward(&dense, &table, turn);
                optimizer.step(&params, 0, false).expect("finite");
                backward(&mirror_dense, &mirror_table, turn);
                tch::no_grad(|| {
                    let mut gradients: Vec<Gradient> = mirror.list().iter().map(|p| gradient_of(p).expect("there")).collect();
                    let size = norm(&gradients, &mirror).expect("finite");
                    by_tensors.steps += 1;
                    let step = rule.step(by_tensors.steps, 0.05, 0.01);
                    for ((p, g), s) in mirror.list().iter().zip(&mut gradients).zip(&mut by_tensors.states) {
                        if let Gradient::Dense(g) | Gradient::Rows(_, g) = g
                            && size > 1.5
                        {
                            let _ = g.g_mul_scalar_(1.5 / size);
                        }
                        config.move_by_tensors(step, p, g, s).expect("moves");
                    }
                });
            }
            for (a, b) in params.list().iter().zip(mirror.list()) {
                let difference = (a.tensor() - b.tensor()).abs().max().double_value(&[]);
                assert!(difference < 2e-6, "{rule:?}, rows {rows:?}, `{}`: {difference}", a.name());
            }
        }
    }
}

#[test]
fn adam_and_sgd_agree_with_tchs_own() {
    use tch::nn::{self, OptimizerConfig as _};
    for (rule, which) in [
        (Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, 0),
        (Rule::Sgd { momentum: 0.9, nesterov: false }, 1),
        (Rule::Adamw { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, 2),
        (Rule::Rmsprop { alpha: 0.99, momentum: 0.0, epsilon: 1e-8 }, 3),
    ] {
        let (params, dense, table) = model(5);
        let store = nn::VarStore::new(Device::Cpu);
        let mirror_dense = store.root().var_copy("w", &dense);
        let mirror_table = store.root().var_copy("t", &table.all());
        let mut theirs = match which {
            0 => nn::Adam::default().build(&store, 0.05),
            1 => nn::sgd(0.9, 0.0, 0.0, false).build(&store, 0.05),
            2 => nn::AdamW { wd: 0.1, ..nn::AdamW::default() }.build(&store, 0.05),
            _ => nn::RmsProp::default().build(&store, 0.05),
        }
        .expect("builds");
        let config = OptimizerConfig {
            rule,
            rows: Rows::All,
            learning_rate: 0.05,
            l2: if which == 2 { 0.1 } else { 0.0 },
            ..OptimizerConfig::default()
        };
        let mut ours = Optimizer::new(&config, &params).expect("a fine config");
        for turn in 0..8u32 {
            backward(&dense, &table, turn);
            ours.step(&params, 0, false).expect("finite");
            let ids = Tensor::from_slice(&[i64::from(turn % 7), i64::from((turn * 3 + 1) % 7), i64::from(turn % 7)]);
            let rows = mirror_table.index_select(0, &ids);
            let loss =
                rows.matmul(&mirror_dense.transpose(0, 1)).square().sum(Kind::Float) + (&mirror_dense - 0.3).square().sum(Kind::Float);
            theirs.backward_step(&loss);
        }
        for (mine, other) in [(dense, mirror_dense), (table.all(), mirror_table)] {
            let difference = (mine - other).abs().max().double_value(&[]);
            assert!(difference < 5e-6, "{rule:?}: {difference}");
        }
    }
}

#[test]
fn touched_rows_are_exact_where_untouched_ones_would_not_move() {
    for rule in [Rule::Sgd { momentum: 0.0, nesterov: false }, Rule::Adagrad { initial: 0.0, momentum: 0.0, epsilon: 1e-10 }] {
        let mut ends = Vec::new();
        for rows in [Rows::All, Rows::Touched] {
            let (params, dense, table) = model(9);
            let config = OptimizerConfig { rule, rows, learning_rate: 0.1, ..OptimizerConfig::default() };
            let mut optimizer = Optimizer::new(&config, &params).expect("a fine config");
            for turn in 0..5 {
                backward(&dense, &table, turn);
                optimizer.step(&params, 0, false).expect("finite");
            }
            ends.push(slice(&table.all()).to_vec());
        }
        assert_eq!(ends[0], ends[1], "{rule:?}");
    }
}

/// Algorithm 1 of McMahan et al., number by number in f64.
#[test]
fn ftrl_is_the_papers_and_leaves_weights_of_little_evidence_at_0() {
    let (eta, beta, l1, l2) = (0.3, 1.0, 2.0, 0.1);
    let (params, dense, table) = model(5);
    let config =
        OptimizerConfig { rule: Rule::Ftrl { l1, beta }, rows: Rows::Touched, learning_rate: eta, l2, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(&config, &params).expect("a fine config");
    let numbers = |x: &Tensor| slice(&x.contiguous()).iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let mut weights = numbers(&dense.detach());
    let (mut z, mut n) = (vec![0f64; 12], vec![0f64; 12]);
    for turn in 0..6 {
        backward(&dense, &table, turn);
        let gradient = numbers(&dense.grad());
        optimizer.step(&params, 0, false).expect("finite");
        for i in 0..12 {
            let g = gradient[i];
            let sigma = ((n[i] + g * g).sqrt() - n[i].sqrt()) / eta;
            z[i] += g - sigma * weights[i];
            n[i] += g * g;
            weights[i] = if z[i].abs() <= l1 { 0.0 } else { -(z[i] - l1 * z[i].signum()) / ((beta + n[i].sqrt()) / eta + l2) };
        }
        let found = numbers(&dense.detach());
        assert!(found.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 1e-5), "step {turn}: {found:?} and {weights:?}");
    }
    assert!(weights.contains(&0.0) && weights.iter().any(|&w| w != 0.0), "some are 0, some are not: {weights:?}");
}

#[test]
fn a_part_moves_by_its_own_rule_and_the_others_by_the_main_one() {
    let sgd = Rule::Sgd { momentum: 0.0, nesterov: false };
    let adagrad = Rule::Adagrad { initial: 0.0, momentum: 0.0, epsilon: 1e-10 };
    let alone = |rule, learning_rate| OptimizerConfig { rule, learning_rate, l2: 0.01, ..OptimizerConfig::default() };
    for rows in [Rows::All, Rows::Touched] {
        let part = Part { parameters: vec!["t".into()], rule: adagrad, learning_rate: 0.2, l2: 0.01 };
        let joint = OptimizerConfig { rows, parts: vec![part], ..alone(sgd, 0.05) };
        let (params, dense, table) = model(8);
        let mut optimizer = Optimizer::new(&joint, &params).expect("a fine config");
        let mut folds = Vec::new();
        for (rule, learning_rate) in [(sgd, 0.05), (adagrad, 0.2)] {
            let (params, dense, table) = model(8);
            let single = Optimizer::new(&OptimizerConfig { rows, ..alone(rule, learning_rate) }, &params).expect("a fine config");
            folds.push((params, dense, table, single));
        }
        // One step: gradients are the same while no parameter has moved.
        backward(&dense, &table, 1);
        optimizer.step(&params, 0, false).expect("finite");
        for (params, dense, table, single) in &mut folds {
            backward(dense, table, 1);
            single.step(params, 0, false).expect("finite");
        }
        assert_eq!(slice(&dense.contiguous()), slice(&folds[0].1.contiguous()));
        assert_eq!(slice(&table.all()), slice(&folds[1].2.all()));
    }
    let part = |name: &str| Part { parameters: vec![name.into()], rule: sgd, learning_rate: 0.1, l2: 0.0 };
    let (params, _, _) = model(8);
    let refused =
        |parts| Optimizer::new(&OptimizerConfig { parts, ..OptimizerConfig::default() }, &params).err().expect("refused").to_string();
    assert!(refused(vec![part("v")]).contains("there are w, t"));
    assert!(refused(vec![part("w"), part("w")]).contains("`w` twice"));
}

/// The rule of GRU4Rec_PyTorch_Official's `IndexedAdagradM`, row by row in f64: acc ← acc + g²; mom ← μ mom − η g/√(acc + 10⁻⁶);
/// θ ← θ + mom, for the rows of the step only.
#[test]
fn adagrad_with_momentum_on_touched_rows_is_that_of_gru4recs_code() {
    let (eta, mu) = (0.07, 0.4);
    let rule = Rule::Adagrad { initial: 1e-6, momentum: mu, epsilon: 1e-10 };
    let (params, _, table) = model(4);
    let config = OptimizerConfig { rule, rows: Rows::Touched, learning_rate: eta, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(&config, &params).expect("a fine config");
    let mut rows: Vec<f64> = slice(&table.all()).iter().map(|&v| f64::from(v)).collect();
    let (mut acc, mut momentum) = (vec![0f64; rows.len()], vec![0f64; rows.len()]);
    for turn in 0..6u32 {
        // Row 2 is taken in every second step, row 5 twice in one.
        let ids = if turn % 2 == 0 { vec![2, 5, 5] } else { vec![0, 5] };
        let slopes: Vec<f32> = (0..ids.len() * 4).map(|i| (i as f32 + turn as f32).sin()).collect();
        let weights = Tensor::from_slice(&slopes).view([ids.len() as i64, 4]);
        (table.rows(&ids).expect("in range") * weights).sum(Kind::Float).backward();
        optimizer.step(&params, 0, false).expect("finite");
        let mut sum = vec![0f64; rows.len()];
        for (row, slopes) in ids.iter().zip(slopes.chunks(4)) {
            slopes.iter().enumerate().for_each(|(c, &g)| sum[*row as usize * 4 + c] += f64::from(g));
        }
        for at in 0..rows.len() {
            if ids.contains(&(at as u32 / 4)) {
                acc[at] += sum[at] * sum[at];
                momentum[at] = mu * momentum[at] - eta * sum[at] / (acc[at] + 1e-6).sqrt();
                rows[at] += momentum[at];
            }
        }
        for (found, expected) in slice(&table.all()).iter().zip(&rows) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "step {turn}: {found} for {expected}");
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_named() {
    let (params, dense, _) = model(1);
    (dense.sum(Kind::Float) / 0.0).backward();
    let mut optimizer =
        Optimizer::new(&OptimizerConfig { max_gradient_norm: 1.0, ..OptimizerConfig::default() }, &params).expect("a fine config");
    let error = optimizer.step(&params, 0, false).expect_err("infinite");
    assert!(error.to_string().starts_with("the gradient of `w` is not finite"), "{error}");
}

#[test]
fn a_saved_optimizer_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("o.safetensors");
    for rule in rules() {
        let config = OptimizerConfig { rule, learning_rate: 0.05, ..OptimizerConfig::default() };
        let (params, dense, table) = model(2);
        let mut optimizer = Optimizer::new(&config, &params).expect("a fine config");
        for turn in 0..3 {
            backward(&dense, &table, turn);
            optimizer.step(&params, 0, false).expect("finite");
        }
        let mut out = StateWriter::default();
        optimizer.save(&params, &mut out).expect("saves");
        out.write(&path).expect("writes");
        let (kept_dense, kept_table) = (dense.copy(), table.all().copy());
        let go_on = |optimizer: &mut Optimizer| {
            for turn in 3..6 {
                backward(&dense, &table, turn);
                optimizer.step(&params, 0, false).expect("finite");
            }
            (slice(&dense.detach()).to_vec(), slice(&table.all()).to_vec())
        };
        let uninterrupted = go_on(&mut optimizer);
        tch::no_grad(|| {
            dense.shallow_clone().copy_(&kept_dense);
            table.all().copy_(&kept_table);
        });
        let mut resumed = Optimizer::new(&config, &params).expect("a fine config");
        resumed.load(&params, &StateReader::open(&path).expect("read")).expect("the same model");
        assert_eq!(uninterrupted, go_on(&mut resumed), "{rule:?}");
    }
}
