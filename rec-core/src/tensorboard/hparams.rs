//! Hyper-parameters of runs: the HPARAMS tab, a table of runs with their hyper-parameters and final metrics.
//!
//! A run says its values once, in [`EventWriter::session_start`], and how it ended in [`EventWriter::session_end`]. The tab then finds the
//! columns by itself: the hyper-parameters of all runs below the opened folder, and all their scalars as metrics. One
//! [`EventWriter::experiment`] in that folder narrows them to a chosen list. TensorBoard 2.21 finds no metrics by itself where the opened
//! folder is the very folder of the event file: open one above it.

use anyhow::Result;
use protobuf::well_known_types::Value;
use protobuf::{CodedOutputStream, Message, RepeatedField};
use tensorboard_proto::api::{DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status};
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::summary::Summary_Value;
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType as TensorType;

use super::EventWriter;
use super::writer::{plugin_metadata, wall_time};

/// The value of one hyper-parameter of one run.
#[derive(Debug, Clone, PartialEq)]
pub enum HparamValue {
    /// A number; one that is not finite is shown as text, because TensorBoard cannot serve it otherwise.
    Number(f64),
    /// A name, or anything else that is written out.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

impl From<f64> for HparamValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for HparamValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_string())
    }
}

impl From<bool> for HparamValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl HparamValue {
    fn to_proto(&self) -> Value {
        let mut value = Value::new();
        match self {
            Self::Number(number) if number.is_finite() => value.set_number_value(*number),
            Self::Number(number) => value.set_string_value(number.to_string()),
            Self::Text(text) => value.set_string_value(text.clone()),
            Self::Flag(flag) => value.set_bool_value(*flag),
        }
        value
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Number(number) if number.is_finite() => DataType::DATA_TYPE_FLOAT64,
            Self::Number(_) | Self::Text(_) => DataType::DATA_TYPE_STRING,
            Self::Flag(_) => DataType::DATA_TYPE_BOOL,
        }
    }
}

/// A config as hyper-parameters: nested keys are joined by a full stop, lists are written out, absent values are left out.
///
/// An integer that double precision cannot hold, such as a large seed, becomes text.
///
/// ```
/// # use rec_core::tensorboard::flatten_hparams;
/// let config = serde_json::json!({ "model": { "embedding_size": 64, "hidden_sizes": [600, 200] }, "early_stopping": null });
/// let names: Vec<String> = flatten_hparams(&config).into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["model.embedding_size", "model.hidden_sizes"]);
/// ```
pub fn flatten_hparams(config: &serde_json::Value) -> Vec<(String, HparamValue)> {
    let mut hparams = Vec::new();
    flatten_into(&mut hparams, "", config);
    hparams
}

fn flatten_into(hparams: &mut Vec<(String, HparamValue)>, name: &str, value: &serde_json::Value) {
    use serde_json::Value as Json;
    let flat = match value {
        Json::Null => return,
        Json::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten_into(hparams, &name, value);
            }
            return;
        }
        Json::Bool(flag) => HparamValue::Flag(*flag),
        Json::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() || double.abs() <= 2f64.powi(53) => HparamValue::Number(double),
            _ => HparamValue::Text(number.to_string()),
        },
        Json::String(text) => HparamValue::Text(text.clone()),
        Json::Array(_) => HparamValue::Text(value.to_string()),
    };
    hparams.push((name.to_string(), flat));
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// It came to its end.
    Success,
    /// It failed, or was stopped for good.
    Failure,
    /// It is still going on.
    Running,
}

impl EventWriter {
    /// The columns of the HPARAMS tab: the names and types of `hparams` (their values do not matter), and the scalar tags that are
    /// `metrics`.
    ///
    /// TensorBoard takes the first such list that it finds below the opened folder, for all runs in it: write it once, in the folder that
    /// holds the runs, and not in each run. `description` may be Markdown.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn experiment(&mut self, description: &str, hparams: &[(String, HparamValue)], metrics: &[&str]) -> Result<()> {
        let infos = hparams.iter().map(|(name, value)| {
            let mut info = HParamInfo::new();
            info.set_name(name.clone());
            info.set_field_type(value.data_type());
            info
        });
        let metrics = metrics.iter().map(|tag| {
            let mut name = MetricName::new();
            name.set_tag(tag.to_string());
            let mut info = MetricInfo::new();
            info.set_name(name);
            info
        });
        let mut experiment = Experiment::new();
        experiment.set_description(description.to_string());
        experiment.set_time_created_secs(wall_time());
        experiment.set_hparam_infos(infos.collect());
        experiment.set_metric_infos(metrics.collect());
        let mut data = HParamsPluginData::new();
        data.set_experiment(experiment);
        self.hparams("_hparams_/experiment", data.write_to_bytes()?)
    }

    /// The hyper-parameters of the run whose folder this file is in. Runs of one `group` (seeds of one config, say) share a row, which
    /// shows their mean; an empty group is a row of its own.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn session_start(&mut self, group: &str, hparams: &[(String, HparamValue)]) -> Result<()> {
        let mut info = SessionStartInfo::new();
        info.set_group_name(group.to_string());
        info.set_start_time_secs(wall_time());
        let mut bytes = info.write_to_bytes()?;
        // The generated type keeps its map in a random order. A map is a repeated field, and messages that are written one after the other
        // are one message: so each entry is encoded by itself, in the caller's order.
        for (name, value) in hparams {
            let mut entry = SessionStartInfo::new();
            entry.mut_hparams().insert(name.clone(), value.to_proto());
            bytes.extend(entry.write_to_bytes()?);
        }
        self.hparams("_hparams_/session_start_info", plugin_data_with_session_start(&bytes)?)
    }

    /// How the run ended.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn session_end(&mut self, status: SessionStatus) -> Result<()> {
        let mut info = SessionEndInfo::new();
        info.set_status(match status {
            SessionStatus::Success => Status::STATUS_SUCCESS,
            SessionStatus::Failure => Status::STATUS_FAILURE,
            SessionStatus::Running => Status::STATUS_RUNNING,
        });
        info.set_end_time_secs(wall_time());
        let mut data = HParamsPluginData::new();
        data.set_session_end_info(info);
        self.hparams("_hparams_/session_end_info", data.write_to_bytes()?)
    }

    /// The plugin keeps everything in the metadata; the value is a tensor of no elements.
    fn hparams(&mut self, tag: &str, content: Vec<u8>) -> Result<()> {
        let mut shape = TensorShapeProto::new();
        shape.set_dim(RepeatedField::from_vec(vec![TensorShapeProto_Dim::new()]));
        let mut tensor = TensorProto::new();
        tensor.set_dtype(TensorType::DT_FLOAT);
        tensor.set_tensor_shape(shape);
        let mut summary = Summary_Value::new();
        summary.set_tag(tag.to_string());
        summary.set_metadata(plugin_metadata("hparams", content));
        summary.set_tensor(tensor);
        self.value(0, summary)
    }
}

/// `HParamsPluginData { version = 1: 0 (written as nothing), session_start_info = 3 }` around a message that is encoded already.
fn plugin_data_with_session_start(session_start_info: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = CodedOutputStream::vec(&mut bytes);
    stream.write_bytes(3, session_start_info)?;
    stream.flush()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::writer::readback;
    use super::*;

    fn plugin_data(write: impl FnOnce(&mut EventWriter)) -> (String, HParamsPluginData) {
        let values = readback::values(write);
        let value = &values[0].1;
        assert_eq!(value.get_metadata().get_plugin_data().get_plugin_name(), "hparams");
        assert!(value.has_tensor());
        let data = HParamsPluginData::parse_from_bytes(value.get_metadata().get_plugin_data().get_content()).expect("plugin data");
        (value.get_tag().to_string(), data)
    }

    fn hparams() -> Vec<(String, HparamValue)> {
        [("learning_rate", 0.01.into()), ("loss", "bpr".into()), ("lazy", true.into()), ("clip", f64::INFINITY.into())]
            .map(|(name, value): (&str, HparamValue)| (name.to_string(), value))
            .to_vec()
    }

    #[test]
    fn a_session_starts_with_its_values_and_an_infinite_one_is_text() {
        let (tag, data) = plugin_data(|writer| writer.session_start("bpr", &hparams()).expect("start"));
        assert_eq!(tag, "_hparams_/session_start_info");
        let info = data.get_session_start_info();
        assert_eq!((info.get_group_name(), info.get_hparams().len()), ("bpr", 4));
        assert!(info.get_start_time_secs() > 1.7e9);
        assert_eq!(info.get_hparams()["learning_rate"].get_number_value(), 0.01);
        assert_eq!(info.get_hparams()["loss"].get_string_value(), "bpr");
        assert!(info.get_hparams()["lazy"].get_bool_value());
        assert_eq!(info.get_hparams()["clip"].get_string_value(), "inf");
    }

    #[test]
    fn hyper_parameters_are_written_in_the_callers_order_every_time() {
        let many: Vec<(String, HparamValue)> = (0..50).map(|i| (format!("p{i}"), f64::from(i).into())).collect();
        let bytes = || {
            let values = readback::values(|writer| writer.session_start("", &many).expect("start"));
            let mut content = values[0].1.get_metadata().get_plugin_data().get_content().to_vec();
            let first = content.windows(2).position(|pair| pair == b"p0").expect("the first name");
            content.split_off(first)
        };
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn a_session_ends_with_its_status() {
        let (tag, data) = plugin_data(|writer| writer.session_end(SessionStatus::Failure).expect("end"));
        assert_eq!(tag, "_hparams_/session_end_info");
        assert_eq!(data.get_session_end_info().get_status(), Status::STATUS_FAILURE);
    }

    #[test]
    fn an_experiment_lists_types_and_metrics() {
        let (tag, data) = plugin_data(|writer| writer.experiment("*about*", &hparams(), &["valid/NDCG@10"]).expect("experiment"));
        assert_eq!(tag, "_hparams_/experiment");
        let experiment = data.get_experiment();
        let types: Vec<DataType> = experiment.get_hparam_infos().iter().map(|info| info.get_field_type()).collect();
        assert_eq!(types[..3], [DataType::DATA_TYPE_FLOAT64, DataType::DATA_TYPE_STRING, DataType::DATA_TYPE_BOOL]);
        assert_eq!(types[3], DataType::DATA_TYPE_STRING);
        assert_eq!(experiment.get_metric_infos()[0].get_name().get_tag(), "valid/NDCG@10");
    }

    #[test]
    fn a_config_is_flattened_without_losing_a_large_seed() {
        let config =
            serde_json::json!({ "seed": u64::MAX, "epochs": 20, "model": { "name": "BPR", "l2": 0.5, "sizes": [2, 1], "none": null } });
        let flat: std::collections::BTreeMap<String, HparamValue> = flatten_hparams(&config).into_iter().collect();
        assert_eq!(flat["seed"], "18446744073709551615".into());
        assert_eq!(flat["epochs"], 20.0.into());
        assert_eq!(flat["model.name"], "BPR".into());
        assert_eq!(flat["model.l2"], 0.5.into());
        assert_eq!(flat["model.sizes"], "[2,1]".into());
        assert_eq!(flat.len(), 5);
    }
}
