//! Scalars: one number of one tag at one step; the SCALARS and TIME SERIES tabs, and the metric columns of HPARAMS.

use anyhow::Result;
use tensorboard_proto::summary::Summary_Value;

use super::EventWriter;

impl EventWriter {
    /// One point of the curve `tag`, kept in single precision; tags with one prefix before `/` share a section.
    ///
    /// A value that is NaN or infinite is written as it is: TensorBoard marks such points with a triangle.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        let mut summary = Summary_Value::new();
        summary.set_tag(tag.to_string());
        summary.set_simple_value(value as f32);
        self.value(step, summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::readback;

    #[test]
    fn scalars_come_back_with_tag_step_and_value() {
        let values = readback::values(|writer| {
            writer.scalar("train/loss", 7, 0.25).expect("scalar");
            writer.scalar("train/loss", u64::MAX, f64::NAN).expect("scalar");
        });
        assert_eq!((values[0].0, values[0].1.get_tag(), values[0].1.get_simple_value()), (7, "train/loss", 0.25));
        assert_eq!(values[1].0, i64::MAX);
        assert!(values[1].1.get_simple_value().is_nan());
    }
}
