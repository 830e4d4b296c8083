//! `sternway`: the operator's verbs, and the coordinator as `sternway serve`.

fn main() -> std::process::ExitCode {
    sternway_coordinator::run()
}
