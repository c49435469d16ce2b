//! NumPy's array files, versions 1 to 3: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use anyhow::{Result, anyhow, bail, ensure};

use super::VectorSet;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Data starts at a multiple of this.
const ALIGNMENT: usize = 64;

/// A two-dimensional array of `float32` or `float64` in C order.
pub(super) fn read(bytes: &[u8]) -> Result<VectorSet> {
    let (header, data) = split(bytes)?;
    let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let description = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
    let width = match description {
        Some("<f4") => 4,
        Some("<f8") => 8,
        other => bail!("its values are `{}`: save it as array.astype(\"float32\")", other.unwrap_or("records")),
    };
    ensure!(
        value("fortran_order").is_some_and(|rest| rest.starts_with("False")),
        "it is in Fortran's order: save numpy.ascontiguousarray(array)"
    );
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next()).unwrap_or_default();
    let shape: Vec<usize> = shape.split(',').filter_map(|length| length.trim().parse().ok()).collect();
    let &[rows, dim] = &shape[..] else { bail!("its shape is {shape:?}: vectors are an array of two dimensions, one vector a row") };
    let expected = rows.checked_mul(dim).and_then(|values| values.checked_mul(width));
    ensure!(expected == Some(data.len()), "an array of {rows} × {dim} has another length than its {} bytes of data", data.len());
    let values = match width {
        4 => data.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect(),
        _ => data.as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect(),
    };
    Ok(VectorSet::new(values, dim))
}

/// Header and data.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| anyhow!("it does not begin as NumPy's files do"))?;
    let (start, length) = match rest {
        [1, _, a, b, ..] => (4, usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, ..] => (6, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => bail!("its version is none of 1 to 3"),
    };
    let header = rest[start..].get(..length).ok_or_else(|| anyhow!("it ends within its header"))?;
    Ok((std::str::from_utf8(header)?, &rest[start + length..]))
}

/// The bytes of a file with vectors (`[n, dim]`) as `float32`.
pub fn npy(values: &[f32], dim: usize) -> Vec<u8> {
    let mut bytes = start("<f4", &format!("{}, {dim}", values.len() / dim.max(1)));
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}

/// The bytes of a file with texts, an array of one dimension. NumPy drops characters of code 0 at the end of a text.
pub fn npy_texts<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Vec<u8> {
    let width = texts.clone().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut bytes = start(&format!("<U{width}"), &format!("{},", texts.clone().count()));
    for text in texts {
        let characters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        characters.for_each(|character| bytes.extend_from_slice(&character.to_le_bytes()));
    }
    bytes
}

/// All that stands before the data.
fn start(description: &str, shape: &str) -> Vec<u8> {
    let mut header = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(ALIGNMENT) - MAGIC.len() - 4;
    header = format!("{header:width$}\n", width = length - 1);
    [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_in_every_version_and_what_was_cut_off_is_refused() {
        let values = [0.5f32, -1.0, 2.0, 1e-30, 3.0, f32::MAX];
        let bytes = npy(&values, 3);
        assert_eq!(read(&bytes).expect("whole"), VectorSet::new(values.to_vec(), 3));
        assert!(bytes.len().is_multiple_of(4) && (bytes.len() - 24).is_multiple_of(ALIGNMENT));
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
        let (header, data) = split(&bytes).expect("whole");
        for version in [2, 3] {
            let later = [MAGIC, &[version, 0], &(header.len() as u32).to_le_bytes(), header.as_bytes(), data].concat();
            assert_eq!(read(&later).expect("whole").values, values);
        }
        let double = [start("<f8", "1, 2"), 0.25f64.to_le_bytes().to_vec(), (-4.0f64).to_le_bytes().to_vec()].concat();
        assert_eq!(read(&double).expect("whole"), VectorSet::new(vec![0.25, -4.0], 2));
        let why = |description, shape| read(&start(description, shape)).expect_err("refused").to_string();
        assert!(
            why("<i8", "0, 2").contains("`<i8`") && why("<f4", "0,").contains("two dimensions") && why("<f4", "1, 2").contains("1 × 2")
        );
        let fortran = String::from_utf8_lossy(&start("<f4", "0, 2")[10..]).replace("False", "True ");
        let fortran = [&bytes[..8], &(fortran.len() as u16).to_le_bytes(), fortran.as_bytes()].concat();
        assert!(read(&fortran).expect_err("refused").to_string().contains("Fortran"));
    }

    #[test]
    fn texts_are_as_wide_as_the_widest() {
        let bytes = npy_texts(["a", "", "ü€z"].into_iter());
        let (header, data) = split(&bytes).expect("whole");
        assert!(header.contains("'<U3'") && header.contains("(3,)"), "{header}");
        let characters: Vec<u32> = data.as_chunks::<4>().0.iter().map(|&c| u32::from_le_bytes(c)).collect();
        assert_eq!(characters, [97, 0, 0, 0, 0, 0, 0xfc, 0x20ac, 122]);
    }
}
