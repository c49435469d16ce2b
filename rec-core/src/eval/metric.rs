//! Names of metrics, and what they mean.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use rec_data::problem::did_you_mean;
use rec_data::{fail, problem};
use serde::{Deserialize, Serialize};

/// What is measured. R are the user's relevant items that are not masked, L the first K of the ranked candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// 1 where L holds a relevant item, else 0.
    Hit,
    /// |L ∩ R| / |R|.
    Recall,
    /// |L ∩ R| / min(K, |R|).
    RecallMin,
    /// |L ∩ R| / K.
    Precision,
    /// 1 / rank of the first relevant item of L, 0 without one.
    Mrr,
    /// Σ over relevant places of 1/log₂(place + 1), over the same sum of min(K, |R|) relevant items first. Gains are 1.
    Ndcg,
    /// The same sum over that of all |R| relevant items first, so that a list of K cannot reach 1 where |R| > K.
    NdcgFull,
    /// NDCG with the gain 2^value − 1.
    NdcgExp,
    /// NDCG with the gain value.
    NdcgLin,
    /// |first min(K, |R|) of L ∩ R| / |R|: R-precision of a list of K.
    RPrecision,
    /// Σ over relevant places of the precision up to there, over |R|.
    Map,
    /// Σ over relevant places of the precision up to there, over min(K, |R|).
    MapMin,
    /// Share of (relevant, other) pairs of candidates in the right order, ties one half; mean over users.
    AucUser,
    /// Share of all items that are in the L of at least one user.
    Coverage,
    /// Gini index of how often items are in an L: Σ(2i − n − 1)x_i / (n Σx), x rising over all n items. 0 is even, 1 is all on one.
    Gini,
    /// Mean over L of −log₂(max(training rows of the item, 1) / training users); mean over users.
    Novelty,
    /// √mean (predicted − value)², over all held-out rows.
    Rmse,
    /// mean |predicted − value|, over all held-out rows.
    Mae,
    /// Mean over users of each user's own RMSE.
    RmseUser,
    /// Mean over users of each user's own MAE.
    MaeUser,
    /// Share of (positive, negative) pairs of labelled rows in the right order, ties one half.
    Auc,
    /// Mean over users of the AUC of the user's own labelled rows, weighted by their number; users with one label only are left out (Zhu
    /// et al., KDD 2017).
    Gauc,
    /// mean −(y ln p + (1 − y) ln(1 − p)) over labelled rows, p clipped to [1e-7, 1 − 1e-7].
    LogLoss,
    /// Relative information: 1 − LogLoss / H, H being the LogLoss of the share of positives (He et al., ADKDD 2014, normalised entropy
    /// taken from 1).
    RelativeInformation,
    /// Sum of predicted probabilities over the number of positives: 1 is calibrated.
    Calibration,
}

/// A metric with its cut-off: `ndcg@10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metric {
    /// What is measured.
    pub kind: MetricKind,
    /// K; 0 for metrics without a cut-off.
    pub cutoff: usize,
}

const KINDS: [(&str, MetricKind, bool); 25] = [
    ("hit", MetricKind::Hit, true),
    ("recall", MetricKind::Recall, true),
    ("recall_min", MetricKind::RecallMin, true),
    ("precision", MetricKind::Precision, true),
    ("mrr", MetricKind::Mrr, true),
    ("ndcg", MetricKind::Ndcg, true),
    ("ndcg_full", MetricKind::NdcgFull, true),
    ("r_precision", MetricKind::RPrecision, true),
    ("ndcg_exp", MetricKind::NdcgExp, true),
    ("ndcg_lin", MetricKind::NdcgLin, true),
    ("map", MetricKind::Map, true),
    ("map_min", MetricKind::MapMin, true),
    ("coverage", MetricKind::Coverage, true),
    ("gini", MetricKind::Gini, true),
    ("novelty", MetricKind::Novelty, true),
    ("auc_user", MetricKind::AucUser, false),
    ("rmse", MetricKind::Rmse, false),
    ("mae", MetricKind::Mae, false),
    ("rmse_user", MetricKind::RmseUser, false),
    ("mae_user", MetricKind::MaeUser, false),
    ("auc", MetricKind::Auc, false),
    ("gauc", MetricKind::Gauc, false),
    ("logloss", MetricKind::LogLoss, false),
    ("relative_information", MetricKind::RelativeInformation, false),
    ("calibration", MetricKind::Calibration, false),
];

impl Metric {
    /// Whether a larger value is a better one.
    pub fn higher_is_better(&self) -> bool {
        use MetricKind::{Gini, LogLoss, Mae, MaeUser, Rmse, RmseUser};
        !matches!(self.kind, Gini | Rmse | Mae | RmseUser | MaeUser | LogLoss)
    }

    /// Whether it is computed from predicted values, not from a ranking.
    pub fn is_rating(&self) -> bool {
        matches!(self.kind, MetricKind::Rmse | MetricKind::Mae | MetricKind::RmseUser | MetricKind::MaeUser)
    }

    /// Whether it is computed from the predicted labels of rows.
    pub fn is_of_labels(&self) -> bool {
        use MetricKind::{Auc, Calibration, Gauc, LogLoss, RelativeInformation};
        matches!(self.kind, Auc | Gauc | LogLoss | RelativeInformation | Calibration)
    }

    /// Whether of the predicted labels of rows only their order matters.
    pub fn is_of_label_order(&self) -> bool {
        matches!(self.kind, MetricKind::Auc | MetricKind::Gauc)
    }

    /// Whether it is computed from ranked items.
    pub fn is_ranking(&self) -> bool {
        !self.is_rating() && !self.is_of_labels()
    }

    /// Whether it is a mean over users of a value a user.
    pub fn is_per_user(&self) -> bool {
        let of_all = matches!(self.kind, MetricKind::Coverage | MetricKind::Gini | MetricKind::Rmse | MetricKind::Mae);
        !of_all && !self.is_of_labels()
    }

    /// Names of all metrics.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|k| k.0)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _, cut) = KINDS.iter().find(|k| k.1 == self.kind).expect("every kind is listed");
        if *cut { write!(f, "{name}@{}", self.cutoff) } else { f.write_str(name) }
    }
}

impl FromStr for Metric {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, cutoff) = match text.split_once('@') {
            Some((name, cutoff)) => (name, Some(cutoff)),
            None => (text, None),
        };
        let Some((_, kind, cut)) = KINDS.iter().find(|k| k.0 == name) else {
            fail!(
                Usage,
                "no metric is called `{name}`{}; there are {}",
                did_you_mean(name, Self::names()),
                Self::names().collect::<Vec<_>>().join(", ")
            );
        };
        let cutoff = match (cut, cutoff) {
            (true, Some(k)) => {
                k.parse().ok().filter(|&k| k > 0).ok_or_else(|| problem!(Usage, "the cut-off of `{text}` is not a number above 0"))?
            }
            (true, None) => fail!(Usage, "`{name}` needs a cut-off, such as `{name}@10`"),
            (false, None) => 0,
            (false, Some(_)) => fail!(Usage, "`{name}` has no cut-off: write `{name}`"),
        };
        Ok(Metric { kind: *kind, cutoff })
    }
}

impl Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
