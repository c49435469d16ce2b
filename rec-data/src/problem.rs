//! What can go wrong, as a kind that decides the exit code, and a sentence that a stranger can act on.

use std::fmt;

/// The kind of a failure; each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag, a config key, a name or a value that the caller wrote is wrong.
    Usage,
    /// A data file is not what it should be.
    Data,
    /// Something that must be fetched cannot be had: network, server, pip.
    Unavailable,
    /// The file system refused: disk full, permission, a missing folder.
    Io,
    /// A number left its range: a loss or a score that is NaN or infinite.
    Numeric,
    /// Stopped by the user (Ctrl-C, SIGTERM), with a checkpoint written.
    Interrupted,
}

impl Kind {
    /// Every kind, in the order of its exit codes.
    pub const ALL: [Kind; 6] = [Kind::Usage, Kind::Data, Kind::Unavailable, Kind::Io, Kind::Numeric, Kind::Interrupted];

    /// The process exit code: 2 usage, 3 data, 4 unavailable, 5 I/O, 6 numeric, 130 interrupted (1 is any other failure).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Data => 3,
            Kind::Unavailable => 4,
            Kind::Io => 5,
            Kind::Numeric => 6,
            Kind::Interrupted => 130,
        }
    }

    /// The exit code of any error: that of the first [`Problem`] or `std::io::Error` in its chain, else 1.
    pub fn exit_code_of(error: &anyhow::Error) -> u8 {
        for cause in error.chain() {
            if let Some(problem) = cause.downcast_ref::<Problem>() {
                return problem.kind.exit_code();
            }
            if cause.is::<std::io::Error>() {
                return Kind::Io.exit_code();
            }
        }
        1
    }
}

/// An expected failure: its kind and its sentence.
#[derive(Debug)]
pub struct Problem {
    /// Decides the exit code.
    pub kind: Kind,
    /// What is wrong, where, and the way out; lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// An [`anyhow::Error`] of a [`Kind`]: `problem!(Data, "{path}:{line}: rating `{text}` is not a number")`.
#[macro_export]
macro_rules! problem {
    ($kind:ident, $($text:tt)*) => {
        ::anyhow::Error::new($crate::Problem { kind: $crate::Kind::$kind, message: format!($($text)*) })
    };
}

/// Returns early with a [`problem!`].
#[macro_export]
macro_rules! fail {
    ($kind:ident, $($text:tt)*) => { return Err($crate::problem!($kind, $($text)*)) };
}

/// `fail!` unless the condition holds.
#[macro_export]
macro_rules! require {
    ($condition:expr, $kind:ident, $($text:tt)*) => { if !$condition { $crate::fail!($kind, $($text)*) } };
}

/// The word of `known` closest to `word`, where one is close enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// `" (did you mean `x`?)"`, or nothing: the tail of a message about an unknown word.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|k| format!(" (did you mean `{k}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("embeding_size", ["embedding_size", "epochs"]), Some("embedding_size"));
        assert_eq!(nearest("zebra", ["embedding_size", "epochs"]), None);
    }

    #[test]
    fn the_exit_code_survives_context() {
        let error = problem!(Data, "x").context("while reading");
        assert_eq!(Kind::exit_code_of(&error), 3);
        assert_eq!(Kind::exit_code_of(&anyhow::anyhow!("other")), 1);
        assert_eq!(Kind::exit_code_of(&anyhow::Error::new(std::io::Error::other("full"))), 5);
    }
}
