//! The numbers, taken in one run on one machine and written down with both.

use std::process::Command;

use crate::{Done, build_programs, cargo, root};

pub(crate) fn run(words: &[String]) -> Done {
    if let Some(odd) = words.first() {
        return Err(format!("`{odd}` is not known; cargo xtask bench takes nothing"));
    }
    build_programs("release")?;
    let mut rows = Vec::new();
    for bench in ["calls", "points", "fleet"] {
        rows.extend(measured(bench)?);
    }
    let page = page(&rows);
    std::fs::write(root().join("docs/performance.md"), &page).map_err(|cause| cause.to_string())?;
    println!("{page}");
    Ok(())
}

fn measured(bench: &str) -> Result<Vec<(String, String)>, String> {
    let output = cargo()
        .args(["bench", "--locked", "--workspace", "--bench", bench])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|cause| format!("could not start cargo: {cause}"))?;
    if !output.status.success() {
        return Err(format!("the bench `{bench}` ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn page(rows: &[(String, String)]) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut page = format!(
        "# Performance\n\nWritten by `cargo xtask bench` on {}: {cores} cores, {}, Linux {}, {}. Release build.\n\n\
         Compare the ratios, which are taken within one run; absolute figures are this machine's.\n\n\
         | what | measured |\n|---|---|\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        cpu.trim_start_matches([':', ' ', '\t']),
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
    );
    for (name, value) in rows {
        page.push_str(&format!("| {name} | {value} |\n"));
    }
    page.push_str(
        "\nThe aim for 20 hosts x 5 steps x 4 waves is half a second. For that shape on a machine of this size Ansible takes\n\
         about 25 s and Ansible with Mitogen about 7 s (figures carried over, not measured in this run). A rollout's time is\n\
         journal syncs (about six a step and host, and one group commit of the coordinator per round) far more than the\n\
         sandbox: a cold plugin call is a fraction of starting any process.\n\n\
         Points: the median of rounds in which ours, `restic` and `tar | zstd` take turns at coming first; each time lasts until\n\
         what was written is on the disk, and ours opens the repository anew as a process does. What does not answer to\n\
         `restic version` or `zstd --version` is left out and said. The switch is one `apply` of the real `files` plugin in the\n\
         sandbox, after its `prepare`: what lies between the stop and the start of a service. Its two journal syncs are those above.\n",
    );
    page
}
