//! `sternway dev`: a throw-away fleet on this machine goes back, before one's eyes.
//!
//! Nothing of it is pretended: a coordinator and an agent process for every
//! host, QUIC with certificates made on the spot, plans signed by two keys,
//! real rollback points, a real service that is really broken. Only the hosts
//! are folders. No root, no network beyond loopback, nothing left behind.

mod cast;
pub mod hello;
mod scene;
mod story;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use sternway_core::exit;

use cast::Cast;
use scene::{Scene, SceneError};
use story::Story;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway dev                                twelve hosts; asks you before the third wave
  sternway dev --quick                        asks nobody, waits for nobody
  sternway dev --plan examples/hello/plan.toml --pause")]
pub struct DevArgs {
    /// How many hosts, 8 to 200
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(8..=200))]
    hosts: u16,
    /// Ask nobody and shorten the soaks
    #[arg(long)]
    quick: bool,
    /// Keep everything up at the end, until Ctrl-C
    #[arg(long)]
    pause: bool,
    /// A plan of your own instead of examples/hello/plan.toml
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

/// Plays the whole story; answers the exit code of its rollout.
pub fn dev(args: &DevArgs) -> Result<u8, SceneError> {
    let story = Story::begin();
    let cast = Cast::gather(args.hosts)?;
    cast.strike_on_signal()?;
    let played = play(args, &story, &cast);
    cast.strike();
    played
}

fn play(args: &DevArgs, story: &Story, cast: &Cast) -> Result<u8, SceneError> {
    let scene = Scene::new(cast, story, args.quick);
    scene.introduce();
    let plan = scene.write_plan(args.plan.as_deref())?;
    // What is wrong with a plan is best heard before anything is built on it.
    let hosts = match scene.check_plan(&plan)? {
        scene::Checked::Good { hosts } => hosts,
        scene::Checked::Bad => return Ok(exit::INVALID),
    };
    scene.make_points_and_break()?;
    let sealed = scene.sign(&plan, hosts)?;
    scene.start_agents()?;
    scene.forge()?;
    scene.start_coordinator()?;
    scene.wait_for_agents("ada")?;
    let ended = scene.roll_out(&sealed, hosts, !args.quick && std::io::stdin().is_terminal())?;
    if let Some(rollout) = &ended.rollout {
        scene.report(rollout)?;
    }
    if args.pause {
        scene.pause(ended.rollout.as_deref());
    }
    Ok(ended.exit)
}
