//! Evaluation: one fused pass over all users: product, mask, partial top-k, all metrics at once.

mod evaluator;
mod exposure;
mod labelled;
mod metric;
mod neighbours;
mod pointwise;
mod product;
mod ranking;
mod rating;
mod reliability;
mod top_k;

pub use evaluator::{Evaluation, evaluate, top_items};
pub use metric::{Metric, MetricKind};
pub use neighbours::nearest_by_cosine;
pub use pointwise::{Grouped, auc, gauc, log_loss};
pub use product::{ItemPanels, dot};
pub use rating::{mean_absolute_error, root_mean_squared_error};
pub use reliability::{Group, Reliability};
