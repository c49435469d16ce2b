use super::*;
use tch::{Device, Kind};

/// Values that no test chose by hand: a fixed pseudo-random f64 tensor in about [−1.5, 1.5].
fn numbers(shape: &[i64], salt: f64) -> Tensor {
    let n: i64 = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|i| 1.5 * ((i as f64 + 1.0) * 12.9898 + salt).sin()).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Compares the gradient with central differences at every coordinate of every input.
fn check_gradient(name: &str, inputs: &[Tensor], loss: &dyn Fn(&[Tensor]) -> Result<Tensor>) {
    let leaves: Vec<Tensor> = inputs.iter().map(|t| t.copy().set_requires_grad(true)).collect();
    loss(&leaves).expect("accepts its input").backward();
    let step = 1e-6;
    for (which, leaf) in leaves.iter().enumerate() {
        let gradient: Vec<f64> = Vec::try_from(leaf.grad().reshape([-1])).expect("f64");
        for (at, &found) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let inputs: Vec<Tensor> = inputs
                    .iter()
                    .enumerate()
                    .map(|(i, t)| {
                        let t = t.copy();
                        if i == which {
                            let flat = t.reshape([-1]);
                            let _ = flat.narrow(0, at as i64, 1).g_add_scalar_(by);
                            return flat.reshape(t.size());
                        }
                        t
                    })
                    .collect();
                tch::no_grad(|| loss(&inputs).expect("accepts its input").double_value(&[]))
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            assert!(
                (found - expected).abs() < 1e-7 * (1.0 + expected.abs()),
                "{name}: input {which}, place {at}: {found} but differences give {expected}"
            );
        }
    }
}

#[test]
fn gradients_agree_with_differences_in_f64() {
    let (positive, negatives) = (numbers(&[4], 0.3), numbers(&[4, 3], 1.7));
    for loss in [
        LossConfig::Bpr {},
        LossConfig::BprMax { score_l2: 0.3 },
        LossConfig::Top1 {},
        LossConfig::Top1Max {},
        LossConfig::CrossEntropy {},
        LossConfig::SampledSoftmax { log_q: false },
        LossConfig::WeightedBce { positive_weight: 2.5 },
    ] {
        check_gradient(&format!("{loss:?}"), &[positive.copy(), negatives.copy()], &|t| {
            loss.loss(&LossInput::Ranked { positive: &t[0], negatives: &t[1], log_q: None })
        });
    }
    let (q_positive, q_negatives) = (numbers(&[4], 5.0) - 2.0, numbers(&[4, 3], 6.0) - 2.0);
    check_gradient("logQ", &[positive.copy(), negatives.copy()], &|t| {
        SampledSoftmax { log_q: true }.loss(&LossInput::Ranked {
            positive: &t[0],
            negatives: &t[1],
            log_q: Some((&q_positive, &q_negatives)),
        })
    });
    let target = Tensor::from_slice(&[0i64, 2, 1, 1]);
    check_gradient("cross-entropy", &[negatives.copy()], &|t| CrossEntropy.loss(&LossInput::Classes { logits: &t[0], target: &target }));
    let labels = Tensor::from_slice(&[0.0f64, 1.0, 1.0, 0.25]);
    let weights = Tensor::from_slice(&[1.0f64, 0.5, 3.0, 0.0]);
    check_gradient("weighted-bce", &[positive.copy()], &|t| {
        WeightedBce { positive_weight: 0.7 }.loss(&LossInput::Labelled { logits: &t[0], labels: &labels, weights: Some(&weights) })
    });
    let (left, right) = (numbers(&[4, 3], 2.0), numbers(&[4, 3], 4.0));
    let info_nce = |similarity, negatives| LossConfig::InfoNce { temperature: 0.2, similarity, negatives };
    for loss in [
        info_nce(Similarity::Cosine, Strangers::OtherView),
        info_nce(Similarity::Cosine, Strangers::AllViews),
        info_nce(Similarity::DotProduct, Strangers::AllViews),
        LossConfig::Contrastive { margin: 2.0 },
    ] {
        check_gradient(&format!("{loss:?}"), &[left.copy(), right.copy()], &|t| loss.loss(&LossInput::Views { left: &t[0], right: &t[1] }));
    }
    let mask = Tensor::from_slice(&[1.0f64, 0.0, 1.0, 1.0]);
    check_gradient("squared-error", &[positive.copy()], &|t| {
        SquaredError.loss(&LossInput::Rated { predicted: &t[0], observed: &labels, mask: Some(&mask) })
    });
}

#[test]
fn losses_of_whole_rows_are_those_of_dense_labels() {
    let entries = Arc::new(Pattern::of(&rec_data::csr::Csr::from_rows(3, [vec![0, 2], vec![], vec![1], vec![0, 1, 2]])));
    let values = Tensor::from_slice(&[1.0f64, 0.5, 2.0, 1.0, 1.0, 0.25]);
    let dense = Tensor::from_slice(&[1.0f64, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 1.0, 1.0, 0.25]).view([4, 3]);
    let scores = numbers(&[4, 3], 0.9);
    let by_hand = |loss: LossConfig| match loss {
        LossConfig::CrossEntropy {} => (&dense * scores.log_softmax(-1, None::<Kind>)).sum(None::<Kind>) / -4.0,
        LossConfig::SquaredError {} => (&scores - &dense).square().sum(None::<Kind>) / 4.0,
        other => other.loss(&LossInput::Labelled { logits: &scores, labels: &dense, weights: None }).expect("accepts its input") * 3.0,
    };
    for loss in [
        LossConfig::CrossEntropy {},
        LossConfig::SquaredError {},
        LossConfig::WeightedBce { positive_weight: 1.0 },
        LossConfig::WeightedBce { positive_weight: 3.0 },
    ] {
        let rows = |t: &[Tensor]| loss.loss(&LossInput::Rows { scores: &t[0], entries: &entries, values: Some(&values) });
        let (found, expected) = (rows(&[scores.copy()]).expect("accepts its input"), by_hand(loss));
        assert!((found - expected).abs().double_value(&[]) < 1e-12, "{loss:?}");
        check_gradient(&format!("{loss:?} of rows"), &[scores.copy()], &rows);
    }
}

#[test]
fn values_are_those_of_the_formulas() {
    let (positive, negatives) = (Tensor::from_slice(&[0.5f64]), Tensor::from_slice(&[0.2f64, -1.0]).view([1, 2]));
    let input = LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let s: Vec<f64> = [0.2f64, -1.0].iter().map(|r| r.exp() / (0.2f64.exp() + (-1.0f64).exp())).collect();
    let value = |loss: LossConfig| loss.loss(&input).expect("accepts its input").double_value(&[]);
    for (loss, expected) in [
        (LossConfig::Bpr {}, -(sigmoid(0.3).ln() + sigmoid(1.5).ln()) / 2.0),
        (LossConfig::Top1 {}, (sigmoid(-0.3) + sigmoid(0.04) + sigmoid(-1.5) + sigmoid(1.0)) / 2.0),
        (LossConfig::Top1Max {}, s[0] * (sigmoid(-0.3) + sigmoid(0.04)) + s[1] * (sigmoid(-1.5) + sigmoid(1.0))),
        (LossConfig::BprMax { score_l2: 0.5 }, -(s[0] * sigmoid(0.3) + s[1] * sigmoid(1.5)).ln() + 0.5 * (s[0] * 0.04 + s[1])),
        (LossConfig::CrossEntropy {}, -0.5 + (0.5f64.exp() + 0.2f64.exp() + (-1.0f64).exp()).ln()),
        (LossConfig::WeightedBce { positive_weight: 2.0 }, -(2.0 * sigmoid(0.5).ln() + sigmoid(-0.2).ln() + sigmoid(1.0).ln()) / 3.0),
    ] {
        assert!((value(loss) - expected).abs() < 1e-12, "{loss:?}: {} but the formula gives {expected}", value(loss));
    }
}

#[test]
fn large_scores_give_finite_losses() {
    let positive = Tensor::from_slice(&[-200.0f32]);
    let negatives = Tensor::from_slice(&[200.0f32]).view([1, 1]);
    for loss in [
        LossConfig::Bpr {},
        LossConfig::BprMax { score_l2: 0.0 },
        LossConfig::CrossEntropy {},
        LossConfig::WeightedBce { positive_weight: 1.0 },
    ] {
        let value = loss
            .loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })
            .expect("accepts its input")
            .double_value(&[]);
        assert!(value.is_finite() && value > 100.0, "{loss:?}: {value}");
    }
}

#[test]
fn a_loss_refuses_what_it_does_not_judge() {
    let x = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
    let error = Bpr.loss(&LossInput::Views { left: &x, right: &x }).expect_err("two views are no ranking");
    assert_eq!(error.to_string(), "the loss `bpr` judges a positive against negatives, this model brings two views");
}
