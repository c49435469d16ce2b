//! The folders where data lie.

use std::env;
use std::path::{PathBuf, absolute};

use anyhow::{Context, Result};

use crate::{problem, require};

/// Where data sets are looked for, and where what is fetched and parsed is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The user's own folder of data sets (`REC_DATA_DIR`); only read.
    pub data: Option<PathBuf>,
    /// The cache: `data/<id>/` holds fetched files, `parsed/` parsed data sets.
    pub cache: PathBuf,
}

impl Folders {
    /// `REC_DATA_DIR`; and `REC_CACHE_DIR`, else `$XDG_CACHE_HOME/rec`, else `~/.cache/rec`.
    ///
    /// # Errors
    /// a usage problem where `REC_DATA_DIR` is no folder, or nothing says where the cache is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        let data = variable("REC_DATA_DIR");
        if let Some(data) = &data {
            require!(data.is_dir(), Usage, "REC_DATA_DIR is {}, which is not a folder; correct it or unset it", data.display());
        }
        let cache = variable("REC_CACHE_DIR")
            // The XDG specification says to ignore a relative path.
            .or_else(|| variable("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("rec")))
            .or_else(|| variable("HOME").map(|p| p.join(".cache/rec")))
            .ok_or_else(|| problem!(Usage, "there is no place for a cache: set REC_CACHE_DIR, XDG_CACHE_HOME or HOME"))?;
        let whole = |path: PathBuf| absolute(&path).with_context(|| format!("cannot make {} absolute", path.display()));
        Ok(Self { data: data.map(whole).transpose()?, cache: whole(cache)? })
    }

    /// Where files fetched for a data set lie.
    pub fn fetched(&self, id: &str) -> PathBuf {
        self.cache.join("data").join(id)
    }

    /// Where parsed data sets lie.
    pub fn parsed(&self) -> PathBuf {
        self.cache.join("parsed")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Folders> {
        Folders::from_variables(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v)))
    }

    #[test]
    fn the_cache_is_the_first_that_is_named() {
        let cache = |v: &[(&str, &str)]| from(v).expect("folders").cache;
        assert_eq!(cache(&[("REC_CACHE_DIR", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]), Path::new("/a"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/b"), ("HOME", "/c")]), Path::new("/b/rec"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/c")]), Path::new("/c/.cache/rec"));
        assert!(from(&[]).expect_err("none").to_string().contains("set REC_CACHE_DIR"));
    }

    #[test]
    fn a_data_folder_that_is_not_there_is_a_usage_problem() {
        let error = from(&[("REC_DATA_DIR", "/nonexistent/x"), ("HOME", "/c")]).expect_err("no folder");
        assert!(error.to_string().contains("REC_DATA_DIR is /nonexistent/x"), "{error}");
        assert_eq!(crate::Kind::exit_code_of(&error), 2);
    }
}
