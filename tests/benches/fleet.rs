//! Twenty hosts, five steps, four waves, no soak: wall time from the operator's
//! Enter to the last verified host, processor time of everything, memory of an
//! agent at rest; then an emergency of eight hosts, against the same plan signed
//! and launched by hand. Prints `name<TAB>value` lines for `cargo xtask bench`.

#![expect(clippy::print_stdout, reason = "the numbers are what is asked for")]

use std::time::Instant;

use sternway_tests::emergency::{Site, all_began_after, now_of_the_day};
use sternway_tests::fleet::{Fleet, text};

const HOSTS: usize = 20;
const ROUNDS: usize = 3;

fn plan(round: usize) -> String {
    let steps: String = (1..=5)
        .map(|step| {
            format!(
                "[[step]]\nname = \"step {step}\"\nuses = \"config@0\"\nwith = {{ file = \"/etc/app.json\", set = {{ s{step} = {round} }} }}\n"
            )
        })
        .collect();
    let waves: String = [1, 5, 10, HOSTS]
        .iter()
        .map(|hosts| format!("\n[[wave]]\nhosts = {hosts}\nsoak = \"0s\"\ngate = \"usual\"\n"))
        .collect();
    format!(
        "format = 1\nname = \"bench-{round}\"\nreason = \"a bench\"\nseverity = \"low\"\nservice = \"db\"\nfrom = \"2\"\nto = \"1\"\n\
         [fleet]\nselect = \"service=db\"\nmin = {HOSTS}\nmax = {HOSTS}\n\
         [approval]\nsignatures = 2\nfrom = [\"sre\", \"owners\"]\nauthor = true\n{steps}\
         [pace]\nat_once = \"100%\"\n{waves}\n[gate.usual]\nfailed = 0\nsilent = 0\n"
    )
}

/// Processor seconds of all processes of the fleet so far.
fn processor_seconds(fleet: &Fleet) -> f64 {
    let ticks: u64 = fleet
        .processes()
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| {
            let fields: Vec<u64> =
                stat.rsplit(')').next()?.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            Some(fields.get(11)? + fields.get(12)?)
        })
        .sum();
    ticks as f64 / 100.0
}

/// Proportional set size of an agent, in MiB.
fn memory_mib(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
    kib / 1024.0
}

fn main() {
    waves();
    emergency();
}

fn waves() {
    let fleet = Fleet::of(HOSTS);
    println!(
        "agent at rest, MiB (proportional, {HOSTS} on the machine)\t{:.1}",
        memory_mib(fleet.processes()[0])
    );
    let mut walls = Vec::new();
    let mut processors = Vec::new();
    for round in 0..=ROUNDS {
        let sealed = fleet.seal(&plan(round));
        let (before, began) = (processor_seconds(&fleet), Instant::now());
        let (code, said) = fleet.launch(&sealed);
        let wall = began.elapsed().as_secs_f64();
        assert_eq!(code, 0, "{said}\n{}", fleet.logs());
        assert!(text(said.as_bytes()).contains("done"), "{said}");
        // The first compiles plugins; what people feel later is the others.
        if round == 0 {
            println!("20 hosts x 5 steps x 4 waves, first of a fleet, s\t{wall:.2}");
            continue;
        }
        walls.push(wall);
        processors.push(processor_seconds(&fleet) - before);
    }
    walls.sort_by(f64::total_cmp);
    processors.sort_by(f64::total_cmp);
    println!("20 hosts x 5 steps x 4 waves, wall, s (median of {ROUNDS})\t{:.2}", walls[ROUNDS / 2]);
    println!(
        "20 hosts x 5 steps x 4 waves, processor, s (median of {ROUNDS})\t{:.2}",
        processors[ROUNDS / 2]
    );
    println!("agent after that, MiB (proportional)\t{:.1}", memory_mib(fleet.processes()[0]));
}

const AGORA: usize = 8;

/// Runs what a person types, on hosts that all have the bad version; answers
/// the milliseconds until every host had begun, and until all was well.
fn time(site: &Site, rollout: &str, commands: &[&[&str]]) -> (f64, f64) {
    (0..AGORA).for_each(|host| site.deploy(host, "1.3"));
    let (decided, clock) = (now_of_the_day(), Instant::now());
    for words in commands {
        let output = site.fleet.sternway("mary", words);
        assert!(output.status.success(), "{words:?}: {}\n{}", text(&output.stderr), site.fleet.logs());
    }
    let whole = clock.elapsed().as_secs_f64() * 1000.0;
    (all_began_after(&site.fleet, rollout, decided) as f64, whole)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn emergency() {
    let site = Site::of(AGORA);
    let plan = site.prepare(&site.draft()).display().to_string();
    let count = AGORA.to_string();
    let (mut by_verb, mut by_hand) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..=ROUNDS {
        let one = ["emergency", "--service", "agora", "--reason", "a bench", "--confirm", &count];
        let verb = time(&site, &format!("r-{}", 2 * round + 1), &[&one]);
        let sealed = site.fleet.path(&format!("{round}.sealed")).display().to_string();
        let sign = ["sign", &plan, "--out", &sealed, "--confirm", &count];
        let launch = ["launch", &sealed, "--confirm", &count];
        let hand = time(&site, &format!("r-{}", 2 * round + 2), &[&sign, &launch]);
        // The first opens repositories and compiles plugins.
        if round == 0 {
            println!(
                "emergency of {AGORA} hosts, first of a fleet: decision to all agents started, ms\t{:.0}",
                verb.0
            );
            continue;
        }
        by_verb.0.push(verb.0);
        by_verb.1.push(verb.1);
        by_hand.0.push(hand.0);
        by_hand.1.push(hand.1);
    }
    let (verb, hand) = ((median(by_verb.0), median(by_verb.1)), (median(by_hand.0), median(by_hand.1)));
    println!("emergency: decision to all agents started, ms (median of {ROUNDS})\t{:.0}", verb.0);
    println!("emergency: the whole, ms (median of {ROUNDS})\t{:.0}", verb.1);
    println!("emergency: started, by hand : by verb\t{:.2}", hand.0 / verb.0.max(1.0));
    println!("emergency: the whole, by hand : by verb\t{:.2}", hand.1 / verb.1.max(1.0));
}
