//! The command line with the models of this workspace.

fn main() -> std::process::ExitCode {
    rec_bench::main_with(|_| {})
}
