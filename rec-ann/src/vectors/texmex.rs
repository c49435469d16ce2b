//! The formats of the TEXMEX corpora (<http://corpus-texmex.irisa.fr>): before each vector its number of values, in 32 bits.

use anyhow::{Result, bail, ensure};

use super::VectorSet;

/// Vectors of `float32`.
pub(super) fn read_fvecs(bytes: &[u8]) -> Result<VectorSet> {
    read(bytes, 4, |value| value.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

/// Vectors of bytes, 0 to 255.
pub(super) fn read_bvecs(bytes: &[u8]) -> Result<VectorSet> {
    read(bytes, 1, |value| value.iter().map(|&value| f32::from(value)).collect())
}

fn read(bytes: &[u8], width: usize, decode: impl Fn(&[u8]) -> Vec<f32>) -> Result<VectorSet> {
    let Some(first) = bytes.first_chunk::<4>() else { bail!("it holds no vector") };
    let dim = u32::from_le_bytes(*first) as usize;
    let length = 4 + dim * width;
    ensure!(bytes.len().is_multiple_of(length), "{} bytes are no whole number of vectors of {dim} values", bytes.len());
    let mut set = VectorSet::new(Vec::with_capacity(bytes.len() / length * dim), dim);
    for (row, vector) in bytes.chunks_exact(length).enumerate() {
        ensure!(vector[..4] == *first, "vector {row} has another number of values than the first, {dim}");
        set.values.extend(decode(&vector[4..]));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_and_what_does_not_fit_is_refused() {
        let one = |values: [f32; 2]| [&2u32.to_le_bytes()[..], &values[0].to_le_bytes(), &values[1].to_le_bytes()].concat();
        let bytes = [one([0.5, -1.0]), one([3.0, 4.0])].concat();
        assert_eq!(read_fvecs(&bytes).expect("whole"), VectorSet::new(vec![0.5, -1.0, 3.0, 4.0], 2));
        assert_eq!(read_bvecs(&[2, 0, 0, 0, 7, 255, 2, 0, 0, 0, 0, 1]).expect("whole"), VectorSet::new(vec![7.0, 255.0, 0.0, 1.0], 2));
        for length in (0..bytes.len()).filter(|&length| length != 12) {
            assert!(read_fvecs(&bytes[..length]).is_err(), "{length}");
        }
        assert!(read_bvecs(&[2, 0, 0, 0, 7, 255, 1, 0, 0, 0, 0, 1]).expect_err("refused").to_string().contains("vector 1"));
    }
}
