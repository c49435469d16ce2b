//! Reading one section of a config: an unknown key is an error that names the nearest known one.

use std::collections::BTreeMap;

use anyhow::Result;
use rec_data::problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Where each value came from, by its path (`model.embedding_size`).
pub type Origins = BTreeMap<String, String>;

/// Reads a section into a struct whose defaults say what keys there are.
///
/// # Errors
/// a usage problem that names section, key, and the nearest known key or what the value must be.
pub fn read_section<T: DeserializeOwned + Serialize + Default>(section: &str, table: &Table) -> Result<T> {
    let mut whole = Table::try_from(T::default())?;
    let known: Vec<String> = whole.keys().cloned().collect();
    // Over the defaults, so that one key of a nested table can be set alone: `optimizer.rule.beta1=0.8`.
    overlay(&mut whole, table, "", "", &mut Origins::new());
    read_section_with(section, &whole, &known.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Reads a section that has the keys `known`.
///
/// # Errors
/// as [`read_section`].
pub fn read_section_with<T: DeserializeOwned>(section: &str, table: &Table, known: &[&str]) -> Result<T> {
    serde_path_to_error::deserialize(Value::Table(table.clone())).map_err(|e| {
        let message = e.inner().to_string();
        // `known` may lack options that are absent by default: serde has the first word on what is a key.
        let unknown = table.keys().find(|key| !known.contains(&key.as_str()) && message.starts_with(&format!("unknown field `{key}`")));
        if let Some(key) = unknown
            && let Some(near) = rec_data::problem::nearest(key, known.iter().copied())
        {
            return problem!(Usage, "[{section}] has no key `{key}` (did you mean `{near}`?); its keys are {}", known.join(", "));
        }
        let path = e.path().to_string();
        let place = if path == "." { format!("[{section}]") } else { format!("[{section}] {path}") };
        // The second line of the message names the key again.
        let message = message.lines().next().unwrap_or_default();
        problem!(
            Usage,
            "{place}: {}",
            message.replace("expected u64", "expected a whole number from 0").replace("expected usize", "expected a whole number from 0")
        )
    })
}

/// Puts `over` on top of `under`: tables merge, other values are replaced, and `origins` notes that each came from `origin`. `prefix` is
/// the path of `under`, empty at the top.
pub fn overlay(under: &mut Table, over: &Table, prefix: &str, origin: &str, origins: &mut Origins) {
    for (key, value) in over {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (under.get_mut(key), value) {
            // A tagged table (`rule = { name = "sgd", … }`) is replaced whole where its tag changes: other keys belong to the old one.
            (Some(Value::Table(old)), Value::Table(new))
                if ["name", "kind"].iter().all(|tag| path == "model" || new.get(*tag).is_none_or(|t| old.get(*tag) == Some(t))) =>
            {
                overlay(old, new, &path, origin, origins);
            }
            (_, Value::Table(new)) => {
                let mut fresh = Table::new();
                overlay(&mut fresh, new, &path, origin, origins);
                under.insert(key.clone(), Value::Table(fresh));
            }
            _ => {
                under.insert(key.clone(), value.clone());
                origins.insert(path, origin.to_owned());
            }
        }
    }
}
