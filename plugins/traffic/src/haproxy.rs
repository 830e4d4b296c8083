//! HAProxy's runtime interface: its table of servers, and the commands that
//! lead from one state to another. Pure.

use serde::{Deserialize, Serialize};
use sternway_plugin::Error;

use crate::share::Share;

/// The most a weight can be.
pub(crate) const WEIGHT_MAX: u32 = 256;
const FORCED_MAINTENANCE: u32 = 0x01;
const FORCED_DRAIN: u32 = 0x08;
const RUNNING: u32 = 2;

/// What an operator can set of a server, and whether it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) state: AdminState,
    pub(crate) running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AdminState {
    Ready,
    Drain,
    Maint,
}

impl AdminState {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

impl Server {
    /// As people see it.
    pub(crate) fn share(&self) -> Share {
        match self.state {
            AdminState::Ready => Share::Weight(self.weight),
            AdminState::Drain => Share::Drain,
            AdminState::Maint => Share::Down,
        }
    }

    /// This server with another share. Who drains or rests keeps its weight.
    pub(crate) fn with(&self, share: Share) -> Self {
        let (weight, state) = match share {
            Share::Weight(weight) => (weight, AdminState::Ready),
            Share::Drain => (self.weight, AdminState::Drain),
            Share::Down | Share::Backup => (self.weight, AdminState::Maint),
        };
        Self { weight, state, ..self.clone() }
    }

    fn is_set_as(&self, other: &Self) -> bool {
        self.weight == other.weight && self.state == other.state
    }
}

/// Whether what can be set is the same in both.
pub(crate) fn same(one: &[Server], other: &[Server]) -> bool {
    one.len() == other.len()
        && one.iter().all(|one| other.iter().any(|other| other.name == one.name && one.is_set_as(other)))
}

/// A name that can stand in a command.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain)
}

/// The table that `show servers state BACKEND` answers.
pub(crate) fn servers(answer: &[u8], backend: &str) -> Result<Vec<Server>, Error> {
    let text = String::from_utf8_lossy(answer);
    let shown = || text.trim().chars().take(200).flat_map(char::escape_debug).collect::<String>();
    if text.starts_with("Can't find backend") {
        return Err(Error::not_found(
            "traffic/no-such-backend",
            format!("HAProxy has no backend `{backend}`"),
        ));
    }
    let strange =
        || Error::failed("traffic/haproxy-answer", format!("HAProxy answered what is no table: {}", shown()));
    let mut lines = text.lines();
    let header = lines.by_ref().find_map(|line| line.strip_prefix("# ")).ok_or_else(strange)?;
    let place = |wanted: &str| header.split(' ').position(|name| name == wanted).ok_or_else(strange);
    let [backend_at, name, weight, admin, running] = [
        place("be_name")?,
        place("srv_name")?,
        place("srv_uweight")?,
        place("srv_admin_state")?,
        place("srv_op_state")?,
    ];
    let mut found = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let row: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| row.get(at).and_then(|text| text.parse::<u32>().ok()).ok_or_else(strange);
        if row.get(backend_at) != Some(&backend) {
            continue;
        }
        let flags = number(admin)?;
        let state = if flags & FORCED_MAINTENANCE != 0 {
            AdminState::Maint
        } else if flags & FORCED_DRAIN != 0 {
            AdminState::Drain
        } else {
            AdminState::Ready
        };
        found.push(Server {
            name: (*row.get(name).ok_or_else(strange)?).to_owned(),
            weight: number(weight)?,
            state,
            running: number(running)? == RUNNING,
        });
    }
    if found.is_empty() {
        return Err(Error::not_found(
            "traffic/no-servers",
            format!("the backend `{backend}` has no servers"),
        ));
    }
    Ok(found)
}

/// What to say so that `now` becomes `to`; who gains comes before who loses, so
/// that somebody always takes the traffic. None when nothing has to change.
pub(crate) fn commands(backend: &str, now: &[Server], to: &[Server]) -> Option<String> {
    let mut changed: Vec<(&Server, &Server)> = to
        .iter()
        .filter_map(|to| Some((now.iter().find(|now| now.name == to.name)?, to)))
        .filter(|(now, to)| !now.is_set_as(to))
        .collect();
    changed.sort_by_key(|(now, to)| {
        let gains = to.share().receives() && (!now.share().receives() || to.weight > now.weight);
        !gains
    });
    let mut words = Vec::new();
    for (now, to) in changed {
        let server = format!("set server {backend}/{}", to.name);
        if now.weight != to.weight {
            words.push(format!("{server} weight {}", to.weight));
        }
        if now.state != to.state {
            words.push(format!("{server} state {}", to.state.word()));
        }
    }
    (!words.is_empty()).then(|| format!("{}\n", words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6.12 answered.
    const TABLE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
        3 app 1 blue 127.0.0.1 2 0 100 100 5 1 0 2 0 0 0 0 - 8001 - 0 0 - - 0\n\
        3 app 2 green 127.0.0.1 0 5 10 10 5 1 0 2 0 0 0 0 - 8002 - 0 0 - - 0\n\
        3 app 3 old 127.0.0.1 2 8 1 1 5 1 0 2 0 0 0 0 - 8003 - 0 0 - - 0\n\n";

    #[test]
    fn the_table_is_read_by_its_own_header() {
        let servers = servers(TABLE.as_bytes(), "app").unwrap();
        let told: Vec<_> = servers.iter().map(|one| (one.name.as_str(), one.share(), one.running)).collect();
        assert_eq!(
            told,
            [("blue", Share::Weight(100), true), ("green", Share::Down, false), ("old", Share::Drain, true)]
        );
    }

    #[test]
    fn who_gains_comes_before_who_loses() {
        let now = servers(TABLE.as_bytes(), "app").unwrap();
        let to = [now[0].with(Share::Weight(0)), now[1].with(Share::Weight(100)), now[2].clone()];
        assert_eq!(
            commands("app", &now, &to).unwrap(),
            "set server app/green weight 100; set server app/green state ready; set server app/blue weight 0\n"
        );
        assert_eq!(
            commands("app", &to, &now).unwrap(),
            "set server app/blue weight 100; set server app/green weight 10; set server app/green state maint\n"
        );
        assert_eq!(commands("app", &now, &now), None);
    }

    #[test]
    fn what_is_no_table_is_told_as_it_is() {
        for (answer, code) in [
            ("Can't find backend.\n", "traffic/no-such-backend"),
            ("Permission denied\n", "traffic/haproxy-answer"),
            ("", "traffic/haproxy-answer"),
            ("1\n# be_name srv_name\n", "traffic/haproxy-answer"),
        ] {
            assert_eq!(servers(answer.as_bytes(), "app").unwrap_err().code, code, "{answer}");
        }
        assert_eq!(servers(TABLE.as_bytes(), "other").unwrap_err().code, "traffic/no-servers");
        for bad in ["", "a b", "a;b", "a\nb", "a/b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
