//! Which version of a service runs, as its owner said it can be found out.

use std::time::Duration;

use super::{Ground, PiecesError, git};
use crate::capabilities::files::HostPath;
use crate::config::{PointService, Version};

const PATIENCE: Duration = Duration::from_secs(30);
const CHARACTERS_MAX: usize = 120;

/// Empty when nobody said how.
pub(super) fn version(ground: &Ground<'_>, service: &PointService) -> Result<String, PiecesError> {
    let text = match &service.version {
        None => return Ok(String::new()),
        Some(Version::File(path)) => ground.text(&HostPath::parse(path)?)?,
        Some(Version::Git(path)) => git::describe(ground, &HostPath::parse(path)?)?,
        Some(Version::Command(command)) => {
            let what = || format!("the version of `{}`", service.name);
            let (program, words) =
                command.split_first().ok_or_else(|| PiecesError::NoCommand { what: what() })?;
            let failed = |cause| PiecesError::Version { service: service.name.clone(), cause };
            let call = ground.programs.call(program).map_err(failed)?.words(words);
            call.ask(PATIENCE).map_err(failed)?.text()
        }
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(CHARACTERS_MAX).collect();
    match line.is_empty() {
        true => Err(PiecesError::NoVersion { service: service.name.clone() }),
        false => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, service};

    fn found(host: &Host, how: &str) -> Result<String, PiecesError> {
        version(&host.ground(), &service(&format!("name = \"agora\"\nfiles = [\"/opt\"]\n{how}")))
    }

    #[test]
    fn a_version_is_the_first_line_of_a_file_or_of_what_a_program_says() {
        let host = Host::new();
        host.write("/opt/agora/VERSION", "\n 1.3.2 \nbuilt today\n");
        host.write("/opt/agora/EMPTY", "\n");
        host.programs.add("agora", "echo \"agora $1\"; echo more");
        assert_eq!(found(&host, "").unwrap(), "");
        assert_eq!(found(&host, "version = { file = \"/opt/agora/VERSION\" }").unwrap(), "1.3.2");
        assert_eq!(found(&host, "version = { command = [\"agora\", \"2.0\"] }").unwrap(), "agora 2.0");
        let error = found(&host, "version = { file = \"/opt/agora/EMPTY\" }").unwrap_err();
        assert_eq!(error.to_string(), "nothing says which version of `agora` runs");
        assert!(found(&host, "version = { file = \"/opt/agora/gone\" }").is_err());
        assert!(found(&host, "version = { command = [\"gone\"] }").is_err());
    }
}
