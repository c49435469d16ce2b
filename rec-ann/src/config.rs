//! An index as a config names it: `kind = "hnsw"`, and beside it the settings of that kind.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Flat, FlatConfig, Forest, ForestConfig, Hnsw, HnswConfig, Index, Ivf, IvfConfig, IvfPq, IvfPqConfig, Metric, Pq, PqConfig};

/// Which index, with its settings. A setting that is left out has its default; a key that the kind does not have is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum IndexConfig {
    /// [`Flat`].
    Flat(FlatConfig),
    /// [`Hnsw`].
    Hnsw(HnswConfig),
    /// [`Forest`].
    Forest(ForestConfig),
    /// [`Ivf`].
    Ivf(IvfConfig),
    /// [`Pq`].
    Pq(PqConfig),
    /// [`IvfPq`].
    IvfPq(IvfPqConfig),
}

/// A kind of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexKind {
    /// [`Flat`].
    Flat,
    /// [`Hnsw`].
    Hnsw,
    /// [`Forest`].
    Forest,
    /// [`Ivf`].
    Ivf,
    /// [`Pq`].
    Pq,
    /// [`IvfPq`].
    IvfPq,
}

impl IndexKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Flat, Self::Hnsw, Self::Forest, Self::Ivf, Self::Pq, Self::IvfPq];

    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Hnsw => "hnsw",
            Self::Forest => "forest",
            Self::Ivf => "ivf",
            Self::Pq => "pq",
            Self::IvfPq => "ivf-pq",
        }
    }

    /// The setting that [`Index::set_effort`] sets, where there is one.
    pub fn effort(self) -> Option<&'static str> {
        match self {
            Self::Flat => None,
            Self::Hnsw => Some("ef"),
            Self::Forest => Some("search_k"),
            Self::Ivf | Self::IvfPq => Some("probes"),
            Self::Pq => Some("rerank"),
        }
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IndexKind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => bail!("there is no index `{name}`: there are {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}

impl IndexConfig {
    /// The kind of index.
    pub fn kind(&self) -> IndexKind {
        match self {
            Self::Flat(_) => IndexKind::Flat,
            Self::Hnsw(_) => IndexKind::Hnsw,
            Self::Forest(_) => IndexKind::Forest,
            Self::Ivf(_) => IndexKind::Ivf,
            Self::Pq(_) => IndexKind::Pq,
            Self::IvfPq(_) => IndexKind::IvfPq,
        }
    }

    /// Checks ranges. Whether parts divide the dimension shows when the index is built.
    ///
    /// # Errors
    /// one that names the key and the allowed range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Flat(_) => Ok(()),
            Self::Hnsw(config) => config.check(),
            Self::Forest(config) => config.check(),
            Self::Ivf(config) => config.check(),
            Self::Pq(config) => config.check(),
            Self::IvfPq(config) => config.check(),
        }
    }

    /// The index of `vectors` (`[n, dim]`), built on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn build(&self, vectors: &[f32], dim: usize, metric: Metric) -> Result<Box<dyn Index>> {
        Ok(match self.clone() {
            Self::Flat(config) => Box::new(Flat::with_precision(vectors, dim, metric, config.precision)?),
            Self::Hnsw(config) => Box::new(Hnsw::new(vectors, dim, metric, config)?),
            Self::Forest(config) => Box::new(Forest::new(vectors, dim, metric, config)?),
            Self::Ivf(config) => Box::new(Ivf::new(vectors, dim, metric, config)?),
            Self::Pq(config) => Box::new(Pq::new(vectors, dim, metric, config)?),
            Self::IvfPq(config) => Box::new(IvfPq::new(vectors, dim, metric, config)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_and_some_of_its_settings_are_a_config_and_other_keys_are_refused() {
        for kind in IndexKind::ALL {
            let config: IndexConfig = serde_json::from_value(json!({ "kind": kind })).expect("defaults");
            assert_eq!((config.kind(), kind.name().parse::<IndexKind>().expect("a kind")), (kind, kind));
            config.check().expect("defaults are in range");
            let again: IndexConfig = serde_json::from_value(serde_json::to_value(&config).expect("JSON")).expect("its own JSON");
            assert_eq!(again, config);
            let mut index = config.build(&[0.5; 80], 4, Metric::L2).expect("built");
            assert_eq!(index.set_effort(7).is_ok(), !matches!(kind, IndexKind::Flat | IndexKind::Pq), "{kind}");
            assert_eq!(index.search(&[0.5; 4], 3, None).expect("finite").len(), 3);
            let wrong = serde_json::from_value::<IndexConfig>(json!({ "kind": kind, "colour": 1 })).expect_err("no such key").to_string();
            assert!(wrong.contains("unknown field `colour`"), "{kind}: {wrong}");
        }
        let set: IndexConfig = serde_json::from_value(json!({ "kind": "hnsw", "m": 5 })).expect("a config");
        assert_eq!(set, IndexConfig::Hnsw(HnswConfig { m: 5, ..HnswConfig::default() }));
        let error = |value| serde_json::from_value::<IndexConfig>(value).map(|config| config.check()).expect("read").expect_err("refused");
        assert_eq!(error(json!({ "kind": "hnsw", "m": 1 })).to_string(), "m is 1: it must lie in 2..=1024");
        assert!(error(json!({ "kind": "pq", "quantiser": { "kmeans": { "sample": 0 } } })).to_string().contains("sample"));
        assert!(error(json!({ "kind": "ivf-pq", "probes": 0 })).to_string().contains("probes is 0"));
        assert!("hsnw".parse::<IndexKind>().expect_err("none").to_string().contains("there are flat, hnsw"));
    }
}
