//! Calls to what stands outside of files, as messages and back.

use super::contract::sternway::host as wit;
use super::{Context, Error, done, mismatch};
use crate::capabilities;
use crate::gate::{ProgramCall, Reply, Request, SocketCall, SystemdCall};

impl Context {
    fn systemd(&mut self, call: SystemdCall) -> Result<Reply, Error> {
        self.pass(&Request::Systemd(call))
    }

    fn programs(&mut self, call: ProgramCall) -> Result<wit::programs::Ended, Error> {
        let ended = take!(self.pass(&Request::Programs(call)), Ended)?;
        let capabilities::programs::Ended { code, signal, output, complaint, elapsed_ms } = ended;
        Ok(wit::programs::Ended { code, signal, output, complaint, elapsed_ms })
    }
}

impl wit::systemd::Host for Context {
    fn get_unit(&mut self, name: String) -> Result<wit::systemd::Unit, Error> {
        Ok(unit_out(*take!(self.systemd(SystemdCall::GetUnit { name }), Unit)?))
    }

    fn lines(&mut self, name: String, since_ms: u64, lines_max: u32) -> Result<Vec<String>, Error> {
        take!(self.systemd(SystemdCall::Lines { name, since_ms, lines_max }), Texts)
    }

    fn run_job(
        &mut self,
        name: String,
        job: wit::systemd::Job,
        timeout_ms: u64,
    ) -> Result<wit::systemd::Unit, Error> {
        use capabilities::systemd::Job;
        let job = match job {
            wit::systemd::Job::Start => Job::Start,
            wit::systemd::Job::Stop => Job::Stop,
            wit::systemd::Job::Restart => Job::Restart,
            wit::systemd::Job::Reload => Job::Reload,
        };
        Ok(unit_out(*take!(self.systemd(SystemdCall::RunJob { name, job, timeout_ms }), Unit)?))
    }

    fn kill(&mut self, name: String) -> Result<(), Error> {
        done(self.systemd(SystemdCall::Kill { name }))
    }

    fn reset_failed(&mut self, name: String) -> Result<(), Error> {
        done(self.systemd(SystemdCall::ResetFailed { name }))
    }

    fn change_file(&mut self, name: String, change: wit::systemd::FileChange) -> Result<bool, Error> {
        use capabilities::systemd::FileChange;
        let change = match change {
            wit::systemd::FileChange::Enable => FileChange::Enable,
            wit::systemd::FileChange::Disable => FileChange::Disable,
            wit::systemd::FileChange::Mask => FileChange::Mask,
            wit::systemd::FileChange::Unmask => FileChange::Unmask,
        };
        take!(self.systemd(SystemdCall::ChangeFile { name, change }), Changed)
    }

    fn daemon_reload(&mut self) -> Result<(), Error> {
        done(self.systemd(SystemdCall::DaemonReload))
    }
}

impl wit::programs::Host for Context {
    fn has(&mut self, form: String) -> Result<bool, Error> {
        take!(self.pass(&Request::Programs(ProgramCall::Has { form })), Changed)
    }

    fn ask(&mut self, call: wit::programs::Call) -> Result<wit::programs::Ended, Error> {
        self.programs(ProgramCall::Ask(call_in(call)))
    }

    fn stage(&mut self, call: wit::programs::Call) -> Result<wit::programs::Ended, Error> {
        self.programs(ProgramCall::Stage(call_in(call)))
    }

    fn run(&mut self, key: String, call: wit::programs::Call) -> Result<wit::programs::Ended, Error> {
        self.programs(ProgramCall::Run { key, call: call_in(call) })
    }
}

impl wit::sockets::Host for Context {
    fn probe(&mut self, address: String, timeout_ms: u64) -> Result<u64, Error> {
        take!(self.pass(&Request::Sockets(SocketCall::Probe { address, timeout_ms })), Count)
    }

    fn ask(&mut self, exchange: wit::sockets::Exchange) -> Result<Vec<u8>, Error> {
        take!(self.pass(&Request::Sockets(SocketCall::Ask(exchange_in(exchange)))), Bytes)
    }

    fn tell(&mut self, exchange: wit::sockets::Exchange) -> Result<Vec<u8>, Error> {
        take!(self.pass(&Request::Sockets(SocketCall::Tell(exchange_in(exchange)))), Bytes)
    }
}

impl wit::mail::Host for Context {
    fn send(&mut self, to: String, subject: String, body: String, key: String) -> Result<(), Error> {
        done(self.pass(&Request::MailSend { to, subject, body, key }))
    }
}

impl wit::clusters::Host for Context {
    fn send(&mut self, request: wit::clusters::Request) -> Result<wit::clusters::Response, Error> {
        let wit::clusters::Request {
            cluster,
            namespace,
            method,
            group,
            rest,
            content_type,
            body,
            timeout_ms,
        } = request;
        let request = capabilities::clusters::ClusterRequest {
            cluster,
            namespace,
            method,
            group,
            rest,
            content_type,
            body,
            timeout_ms,
        };
        let response = take!(self.pass(&Request::ClustersSend(request)), ClusterResponse)?;
        let capabilities::clusters::ClusterResponse { status, body } = response;
        Ok(wit::clusters::Response { status, body })
    }
}

fn call_in(call: wit::programs::Call) -> capabilities::programs::Call {
    let wit::programs::Call { form, on, holes, timeout_ms } = call;
    let holes = holes.into_iter().map(|hole| {
        let wit::programs::Hole { name, values } = hole;
        capabilities::programs::Hole { name, values }
    });
    capabilities::programs::Call { form, on, holes: holes.collect(), timeout_ms }
}

fn exchange_in(exchange: wit::sockets::Exchange) -> capabilities::sockets::Exchange {
    let wit::sockets::Exchange { address, data, until, bytes_max, timeout_ms } = exchange;
    capabilities::sockets::Exchange { address, data, until, bytes_max, timeout_ms }
}

fn unit_out(unit: capabilities::systemd::Unit) -> wit::systemd::Unit {
    use capabilities::systemd::{Active, Load};
    wit::systemd::Unit {
        name: unit.name,
        load: match unit.load {
            Load::Loaded => wit::systemd::Load::Loaded,
            Load::NotFound => wit::systemd::Load::NotFound,
            Load::Masked => wit::systemd::Load::Masked,
            Load::Broken => wit::systemd::Load::Broken,
        },
        active: match unit.active {
            Active::Active => wit::systemd::Active::Active,
            Active::Reloading => wit::systemd::Active::Reloading,
            Active::Inactive => wit::systemd::Active::Inactive,
            Active::Failed => wit::systemd::Active::Failed,
            Active::Activating => wit::systemd::Active::Activating,
            Active::Deactivating => wit::systemd::Active::Deactivating,
        },
        sub: unit.sub,
        unit_file: unit.unit_file,
        main_pid: unit.main_pid,
        since_ms: unit.since_ms,
        restarts: unit.restarts,
        outcome: unit.outcome,
        last_exit: unit.last_exit,
        needs_reload: unit.needs_reload,
        path: unit.path,
        drop_ins: unit.drop_ins,
    }
}
