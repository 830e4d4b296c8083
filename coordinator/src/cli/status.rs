//! Where a rollout stands, once.

use clap::Args;

use super::Context;
use super::failure::Failure;
use super::{ending, record, tree};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway status                  the newest rollout
  sternway status r-17 --json
  sternway status r-17; echo $?    0 going or done, 3, 10 halted, 11 waits for a person, 12 stuck")]
pub struct StatusArgs {
    /// The rollout, or any beginning of its id that means one only [default: the newest]
    rollout: Option<String>,
}

pub async fn status(context: &Context, args: StatusArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(args.rollout.as_deref()).await?;
    client.close().await;
    let output = &context.output;
    output.object(record::ROLLOUT, record::rollout(&view));
    // What is printed once may scroll: nothing is left out.
    output.lines(tree::render(&view, usize::MAX));
    output.lines(ending::block(&view).into_iter().skip(1));
    Ok(view.status.exit_code())
}
