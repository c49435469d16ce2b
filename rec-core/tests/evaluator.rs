//! The evaluator's promises: the same bits from factors as from scores, on any number of threads, in any order and any part of the
//! users; scores that are not finite are named; −∞ is never recommended.

use anyhow::Result;
use rec_core::eval::{Evaluation, Metric, dot, evaluate, top_items};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::split::{SplitSpec, split};
use rec_core::rec_data::view::{Asking, Candidates, HeldOut, RatedRows, SampledCandidates, TrainView, views};
use rec_core::rec_data::{Interactions, Kind, Vocabulary};
use rec_core::{Factors, Score, Scores, Users};

const METRICS: [&str; 17] = [
    "hit@10",
    "recall@10",
    "recall@20",
    "recall_min@10",
    "precision@5",
    "mrr@10",
    "ndcg@10",
    "ndcg@20",
    "ndcg_exp@10",
    "ndcg_lin@10",
    "map@10",
    "map_min@10",
    "novelty@10",
    "auc_user",
    "coverage@10",
    "gini@10",
    "gini@20",
];

fn metrics() -> Vec<Metric> {
    METRICS.iter().map(|name| name.parse().expect("a metric's name")).collect()
}

/// score(u, i) = p_u · q_i + b_i, answered as factors or as the numbers.
#[derive(Clone)]
struct Bilinear {
    dim: usize,
    users: Vec<f32>,
    items: Vec<f32>,
    bias: Vec<f32>,
    as_factors: bool,
}

impl Bilinear {
    /// `coarse` factors are multiples of one half, so that many scores are equal.
    fn random(users: usize, items: usize, dim: usize, coarse: bool) -> Self {
        let mut rng = Rng::keyed(17, Stream::Init, 0, u64::from(coarse));
        let mut draw = |n: usize| -> Vec<f32> {
            let round = |v: f64| if coarse { (v * 2.0).round() / 2.0 } else { v };
            (0..n).map(|_| round(rng.normal()) as f32).collect()
        };
        Self { dim, users: draw(users * dim), items: draw(items * dim), bias: draw(items), as_factors: true }
    }

    fn dense(&self) -> Self {
        Self { as_factors: false, ..self.clone() }
    }

    fn one(&self, user: u32, item: usize) -> f32 {
        dot(&self.users[user as usize * self.dim..][..self.dim], &self.items[item * self.dim..][..self.dim]) + self.bias[item]
    }
}

impl Score for Bilinear {
    fn num_items(&self) -> usize {
        self.bias.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        if self.as_factors {
            let factors = Factors::gather(self.dim, &self.users, users.known()?, (&self.items[..]).into());
            return Ok(Scores::Factors(factors.with_bias((&self.bias[..]).into())));
        }
        let scores: Vec<f32> = users.known()?.iter().flat_map(|&u| (0..self.num_items()).map(move |i| self.one(u, i))).collect();
        Ok(Scores::Dense(scores.into()))
    }
}

/// What is asked about each user, row by row.
#[derive(Clone)]
struct Questions {
    users: Vec<u32>,
    masked: Vec<Vec<u32>>,
    relevant: Vec<Vec<(u32, f32)>>,
    candidates: Option<Vec<Vec<u32>>>,
    num_items: usize,
}

impl Questions {
    fn random(users: usize, num_items: usize, with_candidates: bool) -> Self {
        let mut rng = Rng::keyed(23, Stream::Split, 0, u64::from(with_candidates));
        let mut some = |most: u32| -> Vec<u32> { (0..rng.below(most)).map(|_| rng.below(num_items as u32)).collect() };
        let masked = (0..users).map(|_| some(60)).collect();
        let gain = |item: u32| (item, (1 + item % 5) as f32);
        // Some users have nothing relevant, and some relevant items are masked.
        let relevant = (0..users).map(|_| some(30).into_iter().map(gain).collect()).collect();
        let candidates = with_candidates.then(|| (0..users).map(|_| some(200)).collect());
        Self { users: (0..users as u32).collect(), masked, relevant, candidates, num_items }
    }

    /// One user with one relevant item.
    fn single(num_items: usize, relevant: u32, candidates: Option<Vec<u32>>) -> Self {
        Self {
            users: vec![2],
            masked: vec![vec![]],
            relevant: vec![vec![(relevant, 1.0)]],
            candidates: candidates.map(|c| vec![c]),
            num_items,
        }
    }

    fn held_out(&self) -> HeldOut {
        let (mut rows, mut items, mut gains) = (Vec::new(), Vec::new(), Vec::new());
        for (row, relevant) in self.relevant.iter().enumerate() {
            for &(item, gain) in relevant {
                rows.push(row as u32);
                items.push(item);
                gains.push(gain);
            }
        }
        let targets = Csr::from_coordinates(self.users.len(), self.num_items, &rows, &items, &gains);
        let masked = Csr::from_rows(self.num_items, &self.masked);
        let candidates = self.candidates.as_ref().map(|lists| Csr::from_rows(self.num_items, lists));
        HeldOut::new(self.users.clone(), masked.clone(), &masked, &targets, candidates.as_ref(), RatedRows::default())
    }

    /// The same questions about the users at `order`.
    fn at(&self, order: &[usize]) -> Self {
        fn pick<T: Clone>(all: &[T], order: &[usize]) -> Vec<T> {
            order.iter().map(|&at| all[at].clone()).collect()
        }
        Self {
            users: pick(&self.users, order),
            masked: pick(&self.masked, order),
            relevant: pick(&self.relevant, order),
            candidates: self.candidates.as_ref().map(|c| pick(c, order)),
            num_items: self.num_items,
        }
    }
}

fn train(num_items: usize) -> TrainView {
    let mut rng = Rng::keyed(29, Stream::Negatives, 0, 0);
    let rows = 20 * num_items;
    TrainView::of_all(&Interactions {
        users: (0..rows).map(|_| rng.below(300)).collect::<Vec<_>>().into(),
        items: (0..rows).map(|_| (rng.unit() * rng.unit() * num_items as f64) as u32).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(300),
        item_ids: Vocabulary::numbers(num_items),
        ..Interactions::default()
    })
}

fn measure(model: &Bilinear, questions: &Questions, train: &TrainView) -> Evaluation {
    evaluate(model, &questions.held_out(), train, &metrics()).expect("scores are finite")
}

/// All of an evaluation to the bit.
fn bits(evaluation: &Evaluation) -> Vec<(Metric, Vec<u64>)> {
    let values = evaluation.values.iter().map(|v| (v.0, vec![v.1.to_bits()]));
    values.chain(per_user_bits(evaluation)).collect()
}

fn per_user_bits(evaluation: &Evaluation) -> Vec<(Metric, Vec<u64>)> {
    evaluation.per_user.iter().map(|(m, values)| (*m, values.iter().map(|v| v.to_bits()).collect())).collect()
}

/// Models and questions whose sizes fit neither blocks of users nor panels and blocks of items.
fn examples() -> Vec<(Bilinear, Questions)> {
    let (users, items) = (77, 1_103);
    let both = |coarse: bool| [false, true].map(|c| (Bilinear::random(users, items, 19, coarse), Questions::random(users, items, c)));
    [false, true].into_iter().flat_map(both).collect()
}

#[test]
fn a_factor_models_metrics_are_to_the_bit_those_of_its_scores() {
    let train = train(1_103);
    for (model, questions) in examples() {
        let (found, expected) = (measure(&model, &questions, &train), measure(&model.dense(), &questions, &train));
        assert_eq!(bits(&found), bits(&expected));
        let ndcg = found.get("ndcg@20".parse().expect("a metric's name")).expect("asked for");
        assert!(ndcg > 0.0 && ndcg < 1.0, "an example that shows something: {ndcg}");
    }
}

#[test]
fn metrics_are_the_same_bits_on_one_two_and_three_threads() {
    let train = train(1_103);
    for (model, questions) in examples() {
        for model in [model.dense(), model] {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
                pool.install(|| bits(&measure(&model, &questions, &train)))
            };
            let one = on(1);
            assert_eq!(one, on(2));
            assert_eq!(one, on(3));
        }
    }
}

#[test]
fn users_in_another_order_have_the_same_values() {
    let train = train(1_103);
    for (model, questions) in examples() {
        let mut order: Vec<usize> = (0..questions.users.len()).collect();
        Rng::keyed(5, Stream::Shuffle, 0, 0).shuffle(&mut order);
        for model in [model.dense(), model] {
            let (here, there) = (measure(&model, &questions, &train), measure(&model, &questions.at(&order), &train));
            assert_eq!(there.users, order.iter().map(|&at| here.users[at]).collect::<Vec<_>>());
            for ((metric, here), (_, there)) in per_user_bits(&here).iter().zip(per_user_bits(&there)) {
                assert_eq!(there, order.iter().map(|&at| here[at]).collect::<Vec<_>>(), "{metric}");
            }
            // The means are sums in the users' order: they may differ by rounding. Counts may not.
            for (&(metric, here), &(_, there)) in here.values.iter().zip(&there.values) {
                let allowed = if metric.is_per_user() { 1e-12 } else { 0.0 };
                assert!((here - there).abs() <= allowed, "{metric}: {here} {there}");
            }
        }
    }
}

#[test]
fn parts_of_the_users_have_the_values_that_they_have_among_all() {
    let train = train(1_103);
    for (model, questions) in examples() {
        let held = questions.held_out();
        for model in [model.dense(), model] {
            let whole = per_user_bits(&measure(&model, &questions, &train));
            let parts = [(0..31).collect::<Vec<_>>(), vec![], vec![76, 31], (32..76).step_by(2).collect(), (33..76).step_by(2).collect()];
            for part in parts.iter().filter(|p| !p.is_empty()) {
                let found = evaluate(&model, &held.subset(part), &train, &metrics()).expect("scores are finite");
                assert_eq!(found.users, part.iter().map(|&at| questions.users[at]).collect::<Vec<_>>());
                for ((metric, whole), (_, found)) in whole.iter().zip(per_user_bits(&found)) {
                    assert_eq!(found, part.iter().map(|&at| whole[at]).collect::<Vec<_>>(), "{metric}");
                }
            }
            assert!(evaluate(&model, &held.subset(&[]), &train, &metrics()).is_err(), "nobody to rank for is said, not measured");
        }
    }
}

/// Items at the bounds of panels and blocks, and some in between.
fn blocked() -> Vec<u32> {
    (0..1_103).filter(|i| i % 7 == 3 || [0, 15, 16, 511, 512, 1_102].contains(i)).collect()
}

#[test]
fn items_blocked_for_all_give_the_bits_of_listing_the_others_for_each_user() {
    let train = train(1_103);
    let blocked = blocked();
    for (model, mut questions) in examples().into_iter().filter(|e| e.1.candidates.is_none()) {
        // Targets are added to a list, so none of them may be blocked here.
        questions.relevant.iter_mut().for_each(|r| r.retain(|(item, _)| !blocked.contains(item)));
        let others: Vec<u32> = (0..1_103).filter(|item| !blocked.contains(item)).collect();
        let listed = Questions { candidates: Some(vec![others; questions.users.len()]), ..questions.clone() };
        let held = questions.held_out().with_blocked(blocked.clone());
        for model in [model.dense(), model] {
            let found = evaluate(&model, &held, &train, &metrics()).expect("scores are finite");
            assert_eq!(bits(&found), bits(&measure(&model, &listed, &train)));
            assert_ne!(bits(&found), bits(&measure(&model, &questions, &train)), "an example that shows something");
            let part = [76, 3, 40];
            let some = evaluate(&model, &held.subset(&part), &train, &metrics()).expect("scores are finite");
            for ((metric, whole), (_, some)) in per_user_bits(&found).iter().zip(per_user_bits(&some)) {
                assert_eq!(some, part.map(|at| whole[at]), "{metric}");
            }
        }
    }
}

#[test]
fn a_blocked_item_is_as_one_at_minus_infinity_where_it_is_relevant_and_where_candidates_are_listed() {
    let train = train(1_103);
    for (model, questions) in examples() {
        let mut lowered = model.clone();
        blocked().iter().for_each(|&item| lowered.bias[item as usize] = f32::NEG_INFINITY);
        for (model, lowered) in [(model.dense(), lowered.dense()), (model, lowered)] {
            let found = evaluate(&model, &questions.held_out().with_blocked(blocked()), &train, &metrics()).expect("scores are finite");
            assert_eq!(bits(&found), bits(&measure(&lowered, &questions, &train)));
        }
    }
}

/// 400 000 items make tiles of 41 users.
#[test]
fn users_on_either_side_of_a_tiles_bound_have_the_values_that_they_have_alone() {
    let (users, items) = (84, 400_000);
    let (model, questions, train) = (Bilinear::random(users, items, 2, true), Questions::random(users, items, false), train(items));
    let whole = measure(&model, &questions, &train);
    assert_eq!(bits(&whole), bits(&measure(&model.dense(), &questions, &train)));
    let around = [0, 40, 41, 42, 81, 82, 83];
    let some = measure(&model, &questions.at(&around), &train);
    for ((metric, whole), (_, some)) in per_user_bits(&whole).iter().zip(per_user_bits(&some)) {
        assert_eq!(some, around.map(|at| whole[at]), "{metric}");
    }
}

/// Counts the users that it is asked about.
struct Counting(Bilinear, std::cell::Cell<usize>);

impl Score for Counting {
    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.1.set(self.1.get() + users.len());
        self.0.score(users)
    }
}

#[test]
fn a_question_with_several_draws_of_candidates_is_scored_once_and_ranked_with_each() {
    let rows = || (0..8u32).flat_map(|user| (0..4).map(move |at| (user, (3 * user + at) % 20)));
    let data = Interactions {
        users: rows().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows().map(|r| r.1).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(8),
        item_ids: Vocabulary::numbers(20),
        ..Interactions::default()
    };
    let split = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 0 }, None, 1).expect("splits");
    let candidates = Candidates::Sampled(SampledCandidates { sets: 5, ..SampledCandidates::uniform(6) });
    let views = views(&data, None, &split, &Asking { candidates, ..Asking::default() }, 1).expect("made");
    let test = &*views.test;
    assert_eq!((test.users().len(), test.in_a_row()), (40, 5));
    let one_by_one = test.subset(&(0..40).collect::<Vec<_>>());
    assert_eq!(one_by_one.in_a_row(), 1);
    let factors = Bilinear::random(8, 20, 3, false);
    for model in [factors.dense(), factors] {
        let counting = Counting(model.clone(), Default::default());
        let once = evaluate(&counting, test, &views.train, &metrics()).expect("finite");
        let each = evaluate(&model, &one_by_one, &views.train, &metrics()).expect("finite");
        assert_eq!(counting.1.get(), 8);
        assert_eq!((bits(&once), per_user_bits(&once)), (bits(&each), per_user_bits(&each)));
    }
}

#[test]
fn a_score_that_is_nan_or_infinite_is_an_error_that_names_user_and_item() {
    let items = 700;
    let train = train(items);
    for wrong in [f32::NAN, f32::INFINITY] {
        for item in [0, 15, 16, 511, 512, 699] {
            let mut model = Bilinear::random(5, items, 3, false);
            model.bias[item] = wrong;
            // The item is relevant, or another one is; all items are ranked, or few are.
            for relevant in [item as u32, 300] {
                for candidates in [None, Some(vec![3, item as u32, 650])] {
                    for names in [&METRICS[..], &["ndcg@10"], &["auc_user"]] {
                        let metrics: Vec<Metric> = names.iter().map(|name| name.parse().expect("a metric's name")).collect();
                        let held = Questions::single(items, relevant, candidates.clone()).held_out();
                        for model in [&model, &model.dense()] {
                            let error = evaluate(model, &held, &train, &metrics).expect_err("a score is not finite");
                            assert_eq!(Kind::exit_code_of(&error), Kind::Numeric.exit_code());
                            let message = error.to_string();
                            assert!(message.contains("user number 2") && message.contains(&format!("item number {item} ")), "{message}");
                        }
                    }
                }
            }
            let history = Csr::from_rows(items, [[0u32; 0]]).into();
            let error = top_items(&model, &Users::new(&[2], &history), &[vec![]], 10).expect_err("a score is not finite");
            assert_eq!(Kind::exit_code_of(&error), Kind::Numeric.exit_code());
            assert!(error.to_string().contains(&format!("item number {item} ")), "{error}");
        }
    }
}

#[test]
fn an_item_at_minus_infinity_is_never_recommended() {
    let items = 40;
    let train = train(items);
    let mut model = Bilinear::random(5, items, 3, false);
    for item in (0..items).filter(|i| ![7, 21].contains(i)) {
        model.bias[item] = f32::NEG_INFINITY;
    }
    let names = ["hit@20", "precision@20", "recall@20", "coverage@20", "ndcg@20", "auc_user"];
    let metrics = names.map(|name| name.parse::<Metric>().expect("a metric's name"));
    let everything: Vec<u32> = (0..items as u32).collect();
    for model in [&model, &model.dense()] {
        for candidates in [None, Some(everything.clone())] {
            // Ten relevant items, one of which has a finite score.
            let mut questions = Questions::single(items, 7, candidates.clone());
            questions.relevant[0].extend((30..39).map(|item| (item, 1.0)));
            let found = evaluate(model, &questions.held_out(), &train, &metrics).expect("−∞ is allowed");
            let value = |at: usize| found.get(metrics[at]).expect("asked for");
            assert_eq!((value(0), value(1), value(2), value(3)), (1.0, 1.0 / 20.0, 1.0 / 10.0, 2.0 / 40.0));
            // Nothing relevant has a finite score: no hit at any length, and every pair is lost.
            let found = evaluate(model, &Questions::single(items, 30, candidates).held_out(), &train, &metrics).expect("−∞ is allowed");
            assert!([0, 1, 2, 4, 5].iter().all(|&at| found.get(metrics[at]) == Some(0.0)), "{:?}", found.values);
            assert_eq!(found.get(metrics[3]), Some(2.0 / 40.0));
        }
        let history = Csr::from_rows(items, [[0u32; 0]]).into();
        let lists = top_items(model, &Users::new(&[2], &history), &[vec![]], 20).expect("−∞ is allowed");
        let mut shown: Vec<u32> = lists[0].iter().map(|e| e.0).collect();
        shown.sort_unstable();
        assert_eq!(shown, [7, 21]);
    }
}

#[test]
fn recommendations_are_the_best_unmasked_items_best_first_with_their_scores() {
    let (users, items) = (6, 530);
    let model = Bilinear::random(users, items, 7, true);
    let histories = Csr::from_rows(items, vec![[0u32; 0]; users]).into();
    let masked: Vec<Vec<u32>> = (0..users as u32).map(|u| (0..items as u32).filter(|i| (i * 7 + u) % 3 == 0).collect()).collect();
    let ids: Vec<u32> = (0..users as u32).rev().collect();
    for model in [&model, &model.dense()] {
        let found = top_items(model, &Users::new(&ids, &histories), &masked, 25).expect("scores are finite");
        for ((&user, masked), found) in ids.iter().zip(&masked).zip(found) {
            let mut all: Vec<(u32, f32)> =
                (0..items as u32).filter(|i| !masked.contains(i)).map(|i| (i, model.one(user, i as usize))).collect();
            // Equal scores: lower numbers first. No score here is −0.
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let expected: Vec<(u32, u32)> = all[..25].iter().map(|e| (e.0, (e.1 + 0.0).to_bits())).collect();
            assert_eq!(found.iter().map(|e| (e.0, (e.1 + 0.0).to_bits())).collect::<Vec<_>>(), expected);
        }
    }
}
