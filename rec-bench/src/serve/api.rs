//! What clients send and get, as JSON.

use serde::{Deserialize, Serialize};

/// The body of a request for recommendations: one user or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Each of them is answered by itself.
    pub requests: Vec<Asked>,
}

/// One user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Raw id of a user that the model was trained with.
    pub user: Option<String>,
    /// Raw ids of items, oldest first; without it what the model knows of the user.
    pub history: Option<Vec<String>>,
    /// The rating of each item of the history, for models of ratings.
    pub ratings: Option<Vec<f32>>,
    /// How many items.
    #[serde(default = "ten")]
    pub k: usize,
    /// Whether items of the history may be recommended again.
    #[serde(default)]
    pub with_seen: bool,
}

fn ten() -> usize {
    10
}

/// The answer to one user.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answer {
    /// Best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Answer {
    /// No items, for a reason.
    pub fn refused(why: &str) -> Self {
        Self { items: Vec::new(), error: Some(why.to_owned()) }
    }
}

/// One recommended item.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Its raw id.
    pub item: String,
    /// Higher is better; numbers of different models do not compare.
    pub score: f32,
    /// Its title, where the data has titles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// What is served.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// The model, or both of a pipeline.
    pub model: String,
    /// The data it learned from.
    pub dataset: String,
    /// The number of items.
    pub items: usize,
    /// The number of users.
    pub users: usize,
    /// Whether a history alone is enough.
    pub new_users: bool,
}
