//! Text in Markdown: the TEXT tab, for configs, protocols and notes.

use anyhow::Result;
use protobuf::RepeatedField;
use tensorboard_proto::summary::Summary_Value;
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::TensorShapeProto;
use tensorboard_proto::types::DataType;

use super::EventWriter;
use super::writer::plugin_metadata;

impl EventWriter {
    /// A piece of Markdown under `tag`; tables and fenced code are rendered. [`fenced`] keeps a config file as it is.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn text(&mut self, tag: &str, step: u64, markdown: &str) -> Result<()> {
        // A string tensor without dimensions: one with a dimension would be drawn as a table. The plugin's message has one field, its
        // version, whose only value, 0, is encoded as nothing at all.
        let mut tensor = TensorProto::new();
        tensor.set_dtype(DataType::DT_STRING);
        tensor.set_tensor_shape(TensorShapeProto::new());
        tensor.set_string_val(RepeatedField::from_vec(vec![markdown.as_bytes().to_vec()]));
        let mut summary = Summary_Value::new();
        summary.set_tag(tag.to_string());
        summary.set_metadata(plugin_metadata("text", Vec::new()));
        summary.set_tensor(tensor);
        self.value(step, summary)
    }
}

/// `body` as a Markdown code block, shown letter for letter whatever it contains.
///
/// ```
/// # use rec_core::tensorboard::fenced;
/// assert_eq!(fenced("toml", "epochs = 20\n"), "```toml\nepochs = 20\n```\n");
/// ```
pub fn fenced(language: &str, body: &str) -> String {
    let longest = body.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", body.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::super::writer::readback;
    use super::*;

    #[test]
    fn text_comes_back_as_one_string_of_the_text_plugin() {
        let values = readback::values(|writer| writer.text("config", 0, "# Ünïcode\n| a | b |").expect("text"));
        let value = &values[0].1;
        assert_eq!((value.get_tag(), value.get_metadata().get_plugin_data().get_plugin_name()), ("config", "text"));
        let tensor = value.get_tensor();
        assert_eq!(tensor.get_dtype(), DataType::DT_STRING);
        assert!(tensor.has_tensor_shape() && tensor.get_tensor_shape().get_dim().is_empty());
        assert_eq!(tensor.get_string_val(), ["# Ünïcode\n| a | b |".as_bytes()]);
    }

    #[test]
    fn a_code_block_is_closed_by_a_fence_longer_than_any_inside() {
        assert_eq!(fenced("", "a\n````\nb"), "`````\na\n````\nb\n`````\n");
        assert_eq!(fenced("json", ""), "```json\n\n```\n");
    }
}
