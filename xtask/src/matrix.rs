//! The fault matrix with its last results, as a table in `docs/reliability.md`.

use toml::{Table, Value};

use crate::results::{Results, Said};
use crate::{Done, root};

const BEGIN: &str = "<!-- written by cargo xtask test: begin -->";
const END: &str = "<!-- written by cargo xtask test: end -->";
const PAGE: &str = "docs/reliability.md";

/// Writes the table when it changed. A result that was left out on this machine,
/// or on the one that wrote the page, is no change.
pub(crate) fn write(results: &Results) -> Done {
    let text = read("tests/matrix.toml")?;
    let matrix: Table = toml::from_str(&text).map_err(|cause| format!("tests/matrix.toml: {cause}"))?;
    let table = table(&matrix, results)?;
    let page = read(PAGE)?;
    let lost = || format!("{PAGE} has lost its marks {BEGIN} and {END}");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(lost)?;
    let (old, after) = rest.split_once(END).ok_or_else(lost)?;
    if is_same(old.trim(), &table) {
        return Ok(());
    }
    let new = format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}");
    std::fs::write(root().join(PAGE), new).map_err(|cause| format!("{PAGE}: {cause}"))?;
    match std::env::var("CI").as_deref() {
        Ok("true") => {
            Err(format!("{PAGE} did not tell what the tests said; run `cargo xtask test` and commit it"))
        }
        _ => {
            println!("{PAGE} is written anew: the tests said something else than it told");
            Ok(())
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(path)).map_err(|cause| format!("{path}: {cause}"))
}

fn text<'a>(row: &'a Table, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn table(matrix: &Table, results: &Results) -> Result<String, String> {
    let mut lines = Vec::new();
    let mut group = "";
    for row in matrix.get("row").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table) {
        if text(row, "group") != group {
            group = text(row, "group");
            let space = if lines.is_empty() { "" } else { "\n" };
            lines.push(format!("{space}### {}\n", capital(group)));
            lines.push("| # | fault | then | shown by | last result |".into());
            lines.push("| --- | --- | --- | --- | --- |".into());
        }
        let number = row.get("number").and_then(Value::as_integer).unwrap_or_default();
        let (mut shown, mut said) = (Vec::new(), Vec::new());
        for proof in row.get("proof").and_then(Value::as_array).into_iter().flatten() {
            let proof = proof.as_table().ok_or("a proof is a table")?;
            let (layer, test) = (text(proof, "layer"), text(proof, "test"));
            let result = match results.get(test) {
                Some(Said::Ok) => "ok".to_owned(),
                Some(Said::Skipped(why)) => format!("skipped: {}", why.replace('|', "/")),
                Some(Said::Failed) => return Err(format!("row {number}: `{test}` failed")),
                None => return Err(format!("row {number}: `{test}` is named, and did not run")),
            };
            let name = test.rsplit("::").next().unwrap_or(test);
            let package = test.split("::").next().unwrap_or(test);
            shown.push(format!("{layer}: `{name}` ({package})"));
            if !said.contains(&result) {
                said.push(result);
            }
        }
        let waits = text(row, "waits");
        if !waits.is_empty() {
            said.push(format!("waits: {waits}"));
        }
        let (fault, expected) = (text(row, "fault"), text(row, "expected"));
        let (shown, said) = (shown.join("<br>"), said.join("; "));
        lines.push(format!("| {number} | {fault} | {expected} | {shown} | {said} |"));
    }
    Ok(lines.join("\n"))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Line by line; what either side skipped does not count.
fn is_same(old: &str, new: &str) -> bool {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old == new || is_skip(old, new))
}

fn is_skip(old: &str, new: &str) -> bool {
    let split = |line: &str| {
        let line = line.trim_end_matches(" |");
        line.rsplit_once(" | ").map(|(row, result)| (row.to_owned(), result.to_owned()))
    };
    match (split(old), split(new)) {
        (Some((old_row, old)), Some((new_row, new))) => {
            old_row == new_row && (old.contains("skipped: ") || new.contains("skipped: "))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: &str = "[[row]]\nnumber = 1\ngroup = 'g'\nfault = 'f'\nexpected = 'e'\n\
                          proof = [{ layer = 'U', test = 'p::lib::t' }]\n\
                          [[row]]\nnumber = 2\ngroup = 'g'\nfault = 'h'\nexpected = 'e'\nwaits = 'hosts'\n";

    fn made(said: Said) -> Result<String, String> {
        table(&toml::from_str(MATRIX).unwrap(), &Results::from([("p::lib::t".to_owned(), said)]))
    }

    #[test]
    fn a_row_tells_its_proof_and_its_result_or_what_it_waits_for() {
        let table = made(Said::Ok).unwrap();
        assert!(table.contains("| 1 | f | e | U: `t` (p) | ok |"), "{table}");
        assert!(table.contains("| 2 | h | e |  | waits: hosts |"), "{table}");
    }

    #[test]
    fn what_this_machine_cannot_do_is_no_change_and_all_else_is() {
        let (ok, skipped) = (made(Said::Ok).unwrap(), made(Said::Skipped("no disk".into())).unwrap());
        assert!(is_same(&ok, &skipped) && is_same(&skipped, &ok));
        assert!(!is_same(&ok, &ok.replace("| f |", "| g |")));
        assert!(!is_same(&ok, &ok.replace("| 2 |", "| 3 |")));
    }

    #[test]
    fn a_proof_that_failed_or_did_not_run_is_an_error() {
        assert!(made(Said::Failed).is_err());
        assert!(table(&toml::from_str(MATRIX).unwrap(), &Results::new()).is_err());
    }
}
