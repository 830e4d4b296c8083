//! A disk that writes down every flush of a plan: made again as it was at each
//! of them, it mounts, and its agent goes on to the same end. The same disk can
//! be slow, or answer nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use sternway_agent::crash;
use sternway_core::run::Ending;
use sternway_disks::disk::{Disk, Kind};
use sternway_disks::fuse::{Event, FuseDisk, Mood};
use sternway_disks::ground::Ground;
use sternway_disks::host::{Host, wait_until};
use sternway_disks::{is_long, plans, skip, tree};

/// Flushes looked at, evenly chosen; all of them in the long form.
const CHOSEN: usize = 30;

fn lacks() -> Option<String> {
    FuseDisk::lacks().or_else(|| Kind::Ext4.lacks())
}

/// A host whose whole disk lies behind FUSE.
fn host_on_fuse(ground: &Ground, at: usize) -> (FuseDisk, Disk, Host) {
    let host = ground.bare_host(at);
    let image = host.folder.join("image");
    let mut disk = Disk::make(Kind::Ext4, image.clone(), &host.disk(), 0, &[]);
    ground.fill(&host);
    disk.unmount();
    let kept = host.folder.join("kept");
    std::fs::rename(&image, &kept).expect("it can be renamed");
    drop(disk);
    let fuse = FuseDisk::mount(&kept, &host.folder.join("fuse"));
    let disk = Disk::of(fuse.file().to_path_buf(), &host.disk());
    (fuse, disk, host)
}

fn has(host: &Host, kind: &str) -> bool {
    host.records().iter().any(|record| crash::record(record) == kind)
}

#[test]
fn a_disk_as_it_was_at_any_flush_leads_to_the_same_end() {
    if let Some(why) = lacks() {
        skip!("every flush of a plan: {why}");
    }
    let mut ground = Ground::of(1);
    let (fuse, mut disk, mut host) = host_on_fuse(&ground, 0);
    disk.unmount();
    let (kept, work) = (host.folder.join("kept"), host.folder.join("work"));
    let advancing = host.folder.join("advancing");
    std::fs::copy(&kept, &advancing).expect("it can be copied");
    fuse.record();
    disk.mount();
    let before = host.tree();
    host.start_agent(&[]);
    ground.launch(plans::FILES);
    assert_eq!(host.wait_for_ending(), Ending::Finished);
    host.stop_agent();
    let after = tree::without_kept(host.tree());
    disk.unmount();
    drop(disk);
    let events = fuse.recorded();
    drop(fuse);
    // A disk that went back in time is another story, which a coordinator tells
    // from the numbers; here nobody but the host itself remembers.
    ground.fleet.kill_coordinator();
    let flushes = events.iter().filter(|event| matches!(event, Event::Flush)).count();
    assert!(flushes > 40, "{flushes} flushes");
    let every = if is_long() { 1 } else { flushes.div_ceil(CHOSEN) };
    let image = File::options().write(true).open(&advancing).expect("it was copied");
    let (mut flush, mut permitted) = (0, 0);
    for event in &events {
        match event {
            Event::Write(offset, bytes) => image.write_all_at(bytes, *offset).expect("it can be written"),
            Event::Flush => {
                flush += 1;
                if flush % every == 0 || flush == flushes {
                    std::fs::copy(&advancing, &work).expect("it can be copied");
                    let mut disk = Disk::of(work.clone(), &host.disk());
                    permitted += usize::from(go_on(&mut host, flush, &before, &after));
                    disk.unmount();
                }
            }
        }
    }
    assert!(permitted > CHOSEN / 3, "only {permitted} of the flushes came after the permit");
}

/// Starts the agent on the disk of one flush; answers whether it had a permit.
fn go_on(host: &mut Host, flush: usize, before: &tree::Tree, after: &tree::Tree) -> bool {
    let (had, permitted) = (host.account(), has(host, "permitted"));
    host.start_agent(&[]);
    let expected = if permitted {
        let ending = host.wait_for_ending();
        assert_eq!(ending, Ending::Finished, "flush {flush}: {had}\n{}", host.account());
        after
    } else {
        let up = wait_until(|| host.log().contains("starts"));
        assert!(up, "flush {flush}: the agent does not start\n{had}\n{}", host.account());
        std::thread::sleep(Duration::from_millis(200));
        assert!(host.agent_ended().is_none(), "flush {flush}: the agent ended\n{had}\n{}", host.account());
        before
    };
    host.stop_agent();
    let difference = tree::difference(expected, &tree::without_kept(host.tree()));
    assert!(difference.is_empty(), "flush {flush}:\n{}\n{had}\n{}", difference.join("\n"), host.account());
    permitted
}

/// Whatever happens, a disk that hangs answers again before its agent is waited for.
struct Relief<'a>(&'a FuseDisk);

impl Drop for Relief<'_> {
    fn drop(&mut self) {
        self.0.be(Mood::Quick);
    }
}

fn coordinators_log(ground: &Ground) -> String {
    std::fs::read_to_string(ground.fleet.path("coordinator.log")).unwrap_or_default()
}

#[test]
fn a_slow_disk_does_not_make_a_host_look_dead() {
    if let Some(why) = lacks() {
        skip!("a slow disk: {why}");
    }
    let ground = Ground::of(1);
    let (fuse, mut disk, mut host) = host_on_fuse(&ground, 0);
    let relief = Relief(&fuse);
    host.start_agent(&[]);
    ground.launch(plans::FILES);
    assert!(wait_until(|| has(&host, "permitted")), "{}", host.account());
    fuse.be(Mood::Slow(Duration::from_secs(5)));
    std::thread::sleep(Duration::from_secs(25));
    let said = host.log();
    assert!(!said.contains("the connection to the coordinator broke"), "{said}");
    let came = coordinators_log(&ground).matches("a host is here").count();
    assert_eq!(came, 1, "it was here all the time\n{}", coordinators_log(&ground));
    drop(relief);
    assert_eq!(host.wait_for_ending(), Ending::Finished, "{}", host.account());
    host.stop_agent();
    disk.unmount();
}

#[test]
fn a_disk_that_never_answers_is_reported_and_nothing_begins() {
    if let Some(why) = lacks() {
        skip!("a disk that hangs: {why}");
    }
    let ground = Ground::of(1);
    let (fuse, mut disk, mut host) = host_on_fuse(&ground, 0);
    let relief = Relief(&fuse);
    host.start_agent(&[]);
    ground.launch(plans::FILES);
    assert!(wait_until(|| has(&host, "permitted")), "{}", host.account());
    fuse.be(Mood::Hangs);
    let hung = Instant::now();
    let told = wait_until(|| coordinators_log(&ground).contains("journal stalled"));
    let after = hung.elapsed();
    assert!(told, "{}\n{}", host.log(), coordinators_log(&ground));
    assert!(after < Duration::from_secs(30), "told after {after:?}");
    assert!(host.log().contains("journal stalled"), "{}", host.log());
    assert!(host.agent_ended().is_none(), "{}", host.log());
    drop(relief);
    assert_eq!(host.wait_for_ending(), Ending::Finished, "{}", host.account());
    host.stop_agent();
    disk.unmount();
}
