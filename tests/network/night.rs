//! A night: a fleet, a plan, and what befalls the network between them. The
//! trouble ends at some time; then everything must come to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sternway_coordinator::daemon::Assembly;
use sternway_coordinator::daemon::driver::{Command, Message};
use turmoil::{Builder, Sim};

use crate::books::{self, Committed};
use crate::host::{self, Seen, Trace};
use crate::randomness::{self, mixed};
use crate::site::{AT_ONCE, HOSTS, PORT, Site, ada};
use crate::socket::{Sky, Socket, Weather};

const COORDINATOR: &str = "coordinator";
/// Whatever happened, by then all is done.
const ENDS_WITHIN: Duration = Duration::from_secs(1_800);
/// An agent notices that its coordinator started again, and is back.
const BACK_WITHIN_MS: u64 = 6_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// So many datagrams in a thousand, until the end.
    Loss(u64),
    DoubledAndGarbled,
    /// Nothing passes from the hosts to the coordinator.
    UpCut,
    DownCut,
    BothCut,
    CoordinatorCrash,
    HostCrash,
    Flapping,
    Slow,
    /// Some loss, a cut and crashes, one after the other.
    Everything,
}

const TROUBLES: [Trouble; 13] = [
    Trouble::None,
    Trouble::Loss(50),
    Trouble::Loss(200),
    Trouble::Loss(500),
    Trouble::DoubledAndGarbled,
    Trouble::UpCut,
    Trouble::DownCut,
    Trouble::BothCut,
    Trouble::CoordinatorCrash,
    Trouble::HostCrash,
    Trouble::Flapping,
    Trouble::Slow,
    Trouble::Everything,
];

impl Trouble {
    pub(crate) fn of_seed(seed: u64) -> Self {
        TROUBLES[(seed % TROUBLES.len() as u64) as usize]
    }
}

/// What a night came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<String>,
    pub(crate) elapsed: Duration,
    pub(crate) attempts: u64,
}

impl Outcome {
    /// FNV-1a over everything that was seen.
    pub(crate) fn hash(&self) -> u64 {
        let bytes = self.lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
        bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
    }
}

struct Night<'a> {
    seed: u64,
    trouble: Trouble,
    sim: Sim<'a>,
    site: Arc<Site>,
    sky: Sky,
    seen: Seen,
    committed: Committed,
    /// The coordinator started again then; who was connected must be back soon.
    crashed_at: Option<u64>,
}

/// Lives through the night of this seed.
pub(crate) fn live_through(seed: u64, trouble: Trouble) -> Result<Outcome, String> {
    randomness::seed(seed);
    let mut night = Night::new(seed, trouble);
    let outcome = night.pass();
    let lines = std::mem::take(&mut night.seen.lock().unwrap().lines);
    match outcome {
        Ok(()) => {
            let attempts = night.seen.lock().unwrap().shown.iter().map(|shown| shown.attempts).sum();
            Ok(Outcome { lines, elapsed: night.sim.elapsed(), attempts })
        }
        Err(broken) => Err(format!("{}\nseed {seed}, {trouble:?}: {broken}", lines.join("\n"))),
    }
}

impl Night<'_> {
    fn new(seed: u64, trouble: Trouble) -> Self {
        let (shortest, longest) = match trouble {
            Trouble::Slow => (200, 900),
            _ => (1, 60),
        };
        let mut sim = Builder::new()
            .rng_seed(seed)
            .simulation_duration(ENDS_WITHIN * 2)
            .min_message_latency(Duration::from_millis(shortest))
            .max_message_latency(Duration::from_millis(longest))
            .udp_capacity(16_384)
            .enable_random_order()
            .build();
        let site = Arc::new(Site::new(sim.lookup(COORDINATOR)));
        let sky = Sky::new(seed);
        let seen: Seen = Arc::new(Mutex::new(Trace::default()));
        {
            let (site, sky, seen) = (Arc::clone(&site), sky.clone(), Arc::clone(&seen));
            sim.host(COORDINATOR, move || conduct(Arc::clone(&site), sky.clone(), Arc::clone(&seen)));
        }
        for (number, name) in HOSTS.iter().enumerate() {
            let (site, sky, seen) = (Arc::clone(&site), sky.clone(), Arc::clone(&seen));
            sim.host(*name, move || host::live(Arc::clone(&site), number, sky.clone(), Arc::clone(&seen)));
        }
        Self { seed, trouble, sim, site, sky, seen, committed: Committed::new(), crashed_at: None }
    }

    fn now_ms(&self) -> u64 {
        self.sim.elapsed().as_millis() as u64
    }

    fn pass(&mut self) -> Result<(), String> {
        self.troubles()?;
        self.sky.turns(self.calm());
        while !self.is_over() {
            if self.sim.elapsed() > ENDS_WITHIN {
                return Err("it does not come to its end".into());
            }
            self.go_on(100)?;
        }
        // Whoever was between two tries to connect is back, and what was said last is heard.
        self.sky.turns(Weather::default());
        self.go_on(if self.calm_is_bad() { 60_000 } else { 10_000 })?;
        self.sim.crash(COORDINATOR);
        self.check_books()?;
        let seen = self.seen.lock().unwrap();
        for (name, shown) in HOSTS.iter().zip(&seen.shown) {
            let committed = self.committed.get(*name).copied().unwrap_or(0);
            if committed < shown.last {
                return Err(format!("{name} has {} records, {committed} of them are known", shown.last));
            }
        }
        let attempts = seen.shown.iter().map(|shown| shown.attempts).max().unwrap_or(0);
        let allowed = 10 + 2 * self.sim.elapsed().as_secs();
        if attempts > allowed {
            return Err(format!("{attempts} attempts to connect, {allowed} would be many"));
        }
        Ok(())
    }

    /// What lasts until the end.
    fn calm(&self) -> Weather {
        match self.trouble {
            Trouble::Loss(lost) => Weather { lost, ..Weather::default() },
            Trouble::DoubledAndGarbled => Weather { doubled: 200, garbled: 50, ..Weather::default() },
            _ => Weather::default(),
        }
    }

    fn calm_is_bad(&self) -> bool {
        matches!(self.trouble, Trouble::Loss(lost) if lost > 50)
    }

    fn troubles(&mut self) -> Result<(), String> {
        self.sky.turns(self.calm());
        // Anywhere from the first handshakes to the last host's run.
        let begin = 500 + mixed(self.seed) % 7_000;
        match self.trouble {
            Trouble::None | Trouble::Loss(_) | Trouble::DoubledAndGarbled | Trouble::Slow => Ok(()),
            Trouble::UpCut | Trouble::DownCut | Trouble::BothCut => {
                self.go_on(begin)?;
                self.cut(self.trouble);
                self.go_on(5_000 + mixed(self.seed + 1) % 60_000)?;
                self.heal();
                Ok(())
            }
            Trouble::CoordinatorCrash => {
                self.go_on(begin)?;
                self.restart_coordinator()?;
                self.go_on(BACK_WITHIN_MS)?;
                self.all_are_back()
            }
            Trouble::HostCrash => {
                for turn in 0..4 {
                    self.go_on(500 + mixed(self.seed + turn) % 4_000)?;
                    self.restart_host((mixed(self.seed ^ turn) % HOSTS.len() as u64) as usize);
                }
                Ok(())
            }
            Trouble::Flapping => {
                // Shorter than what a link outlives, or longer.
                let (cut_ms, times) = if self.seed.is_multiple_of(2) { (2_000, 15) } else { (17_000, 4) };
                for _ in 0..times {
                    self.cut(Trouble::BothCut);
                    self.go_on(cut_ms)?;
                    self.heal();
                    self.go_on(2_000)?;
                }
                Ok(())
            }
            Trouble::Everything => {
                self.sky.turns(Weather { lost: 100, doubled: 100, garbled: 20 });
                for turn in 0..4 {
                    self.go_on(500 + mixed(self.seed + turn) % 3_000)?;
                    match mixed(self.seed ^ (turn << 8)) % 3 {
                        0 => self.restart_coordinator()?,
                        1 => self.restart_host((mixed(self.seed ^ turn) % HOSTS.len() as u64) as usize),
                        _ => {
                            self.cut(Trouble::BothCut);
                            self.go_on(mixed(self.seed + 9) % 30_000)?;
                            self.heal();
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn cut(&mut self, which: Trouble) {
        for name in HOSTS {
            if which != Trouble::DownCut {
                self.sim.partition_oneway(name, COORDINATOR);
            }
            if which != Trouble::UpCut {
                self.sim.partition_oneway(COORDINATOR, name);
            }
        }
        self.note("the network is cut");
    }

    fn heal(&mut self) {
        for name in HOSTS {
            self.sim.repair_oneway(name, COORDINATOR);
            self.sim.repair_oneway(COORDINATOR, name);
        }
        self.note("the network is whole");
    }

    fn note(&self, what: &str) {
        let line = format!("{:>8} {what}", self.now_ms());
        self.seen.lock().unwrap().lines.push(line);
    }

    fn restart_coordinator(&mut self) -> Result<(), String> {
        self.note("the coordinator is killed and starts again");
        self.sim.crash(COORDINATOR);
        self.check_books()?;
        self.sim.bounce(COORDINATOR);
        self.crashed_at = Some(self.now_ms());
        Ok(())
    }

    fn restart_host(&mut self, number: usize) {
        self.note(&format!("{} is killed and starts again", HOSTS[number]));
        self.sim.crash(HOSTS[number]);
        self.sim.bounce(HOSTS[number]);
    }

    /// The kept keys make a host notice at its next word.
    fn all_are_back(&self) -> Result<(), String> {
        let Some(crashed_at) = self.crashed_at else { return Ok(()) };
        let seen = self.seen.lock().unwrap();
        for (name, shown) in HOSTS.iter().zip(&seen.shown) {
            if shown.up_at.is_none_or(|up_at| up_at < crashed_at) {
                return Err(format!("{name} is not back {BACK_WITHIN_MS} ms after the restart"));
            }
        }
        Ok(())
    }

    fn check_books(&mut self) -> Result<(), String> {
        let committed = books::check(&self.site, &self.seen.lock().unwrap())?;
        for (name, before) in &self.committed {
            if committed.get(name).is_none_or(|now| now < before) {
                return Err(format!("{name} had {before} records committed, and now {committed:?}"));
            }
        }
        self.committed = committed;
        Ok(())
    }

    /// At every moment no more hosts are disturbed than the plan allows.
    fn go_on(&mut self, ms: u64) -> Result<(), String> {
        let until = self.now_ms() + ms;
        while self.now_ms() < until {
            self.sim.step().map_err(|cause| cause.to_string())?;
            let seen = self.seen.lock().unwrap();
            let disturbed = seen.shown.iter().filter(|shown| shown.disturbed).count();
            if disturbed > AT_ONCE as usize {
                return Err(format!("{disturbed} hosts are disturbed, {AT_ONCE} are allowed"));
            }
            if seen.shown[0].disturbed && seen.shown[1..].iter().any(|shown| shown.disturbed) {
                return Err("the second wave began before the canary had settled".into());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.seen.lock().unwrap().shown.iter().all(|shown| shown.settled)
    }
}

/// The real coordinator on the simulated network; each start launches the plan
/// again, which has the effect of once.
async fn conduct(site: Arc<Site>, sky: Sky, seen: Seen) -> turmoil::Result {
    let assembly = Assembly::new(site.coordinator())?;
    seen.lock().unwrap().lines.push(format!("{:>8} the coordinator is here", host::now_ms()));
    let (reply, answer) = tokio::sync::oneshot::channel();
    let command = Command::Launch { sealed: site.sealed.clone(), without: vec![] };
    assembly.driver().send(Message::Ask { person: ada(), command, reply }).await?;
    tokio::spawn(async move {
        if let Ok(answer) = answer.await {
            let line = format!("{:>8} {}", host::now_ms(), kind(&answer));
            seen.lock().unwrap().lines.push(line);
        }
    });
    assembly.serve_on(Socket::bind(PORT, &sky)?).await?;
    Ok(())
}

fn kind(answer: &sternway_core::wire::Answer) -> String {
    match answer {
        sternway_core::wire::Answer::Launched { rollout, .. } => format!("launched {rollout}"),
        // Launched once is launched.
        sternway_core::wire::Answer::Error(error) => error.message.clone(),
        other => format!("{other:?}"),
    }
}
