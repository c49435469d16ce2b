//! Valid file contents, damaged: what readers are tried on.

use proptest::collection::vec;
use proptest::prelude::*;

/// Random bytes, or `valid` cut, repeated, or with some bytes overwritten, inserted or removed.
pub fn mangled(valid: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let edit =
        (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(&b"\t\n\r :|,\"-.0123456789eEn(){}"[..])], 0..4u8);
    prop_oneof![
        1 => vec(any::<u8>(), 0..200),
        1 => Just(valid.to_vec()),
        4 => (vec(edit, 1..6), any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(edits, cut, cut_off)| {
            let mut bytes = valid.to_vec();
            for (at, byte, kind) in edits {
                let at = at.index(bytes.len().max(1));
                match kind {
                    0 => bytes.insert(at.min(bytes.len()), byte),
                    1 if at < bytes.len() => { bytes.remove(at); }
                    2 => bytes.extend_from_slice(&valid[at.min(valid.len())..]),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => {}
                }
            }
            if cut_off {
                bytes.truncate(cut.index(bytes.len().max(1)));
            }
            bytes
        }),
    ]
}
