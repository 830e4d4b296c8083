use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::fill::Values;
use super::*;
use crate::processes::Identity;

mod lasting;

const LONG: Duration = Duration::from_secs(60);

/// What this test binary does when it is started as an attendant.
#[test]
fn attend_when_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "attend")
        && let Some(folder) = arguments.get(at + 1)
    {
        let code = attend::main(Path::new(folder));
        assert_eq!(code, std::process::ExitCode::SUCCESS);
    }
}

/// Our own program as an attendant: the test above, which takes FOLDER for
/// one more filter that fits nothing.
fn attendant() -> Vec<OsString> {
    let own = std::env::current_exe().unwrap().into_os_string();
    let filter = "capabilities::programs::tests::attend_when_asked";
    vec![own, filter.into(), "--exact".into(), "--nocapture".into()]
}

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn programs(&self, own: &str) -> Programs {
        self.try_programs(own, BTreeMap::new()).unwrap()
    }

    fn try_programs(
        &self,
        own: &str,
        settings: BTreeMap<String, PowerSettings>,
    ) -> Result<Programs, FormError> {
        #[derive(Deserialize)]
        struct Own {
            form: Vec<Form>,
        }
        let own: Own = toml::from_str(own).unwrap();
        Programs::new(self.path("state"), attendant(), settings, own.form)
    }

    /// Paths of the host lie below `root` and their side copies beside.
    fn resolve(&self) -> impl Fn(Place, &str) -> Result<PathBuf, HostError> {
        let root = self.path("root");
        fs::create_dir_all(root.join("data")).unwrap();
        move |place, path| {
            let live = root.join(path.trim_start_matches('/'));
            Ok(if place == Place::Live { live } else { live.with_extension("side") })
        }
    }

    fn ask(&self, programs: &Programs, call: &Call) -> Result<Ended, HostError> {
        self.heard(programs, call).0
    }

    fn heard(&self, programs: &Programs, call: &Call) -> (Result<Ended, HostError>, Vec<String>) {
        let lines = RefCell::new(Vec::new());
        let on_line = |line: &str| lines.borrow_mut().push(line.to_owned());
        let watch = Watch { deadline: Instant::now() + LONG, give_up: &|| false, on_line: &on_line };
        let ended = match programs.effect_of(&call.form) {
            Ok(FormEffect::Stage) => programs.stage(&self.resolve(), call, watch),
            _ => programs.ask(&self.resolve(), call, watch),
        };
        (ended, lines.into_inner())
    }
}

fn call(name: &str, holes: &[(&str, &[&str])]) -> Call {
    let hole = |(name, values): &(&str, &[&str])| Hole {
        name: (*name).to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let holes = holes.iter().map(hole).collect();
    Call { form: format!("command.{name}"), on: name.to_owned(), holes, timeout_ms: 0 }
}

fn text(ended: &Ended) -> &str {
    std::str::from_utf8(&ended.output).unwrap()
}

/// Prints each of its arguments on a line, in brackets.
const SHOW: &str = r#"
[[form]]
name = "command.show"
effect = "read"
program = "sh"
arguments = ["-c", "for word; do printf '[%s]\n' \"$word\"; done", "show",
    "--on={on}", ["-n", "{name}"], "--text={glued}", "{alone}", ["-c", "{sql}"], "{number}", "{choice}",
    "{path}", "{live}", "{side}", "{many}", "-x{each}", "{{json}} {{.ID}}"]
[form.holes]
name   = { kind = "name", optional = true }
glued  = { kind = "text", optional = true }
alone  = { kind = "text", optional = true }
sql    = { kind = "sql", optional = true }
number = { kind = "number", optional = true }
choice = { kind = "choice", choices = ["plain", "custom"], optional = true }
path   = { kind = "path", optional = true }
live   = { kind = "live", optional = true }
side   = { kind = "side", optional = true }
many   = { kind = "text", many = true }
each   = { kind = "name", many = true }
"#;

#[test]
fn the_arguments_are_exactly_as_the_form_says() {
    let host = Host::new();
    let programs = host.programs(SHOW);
    let bare = host.ask(&programs, &call("show", &[])).unwrap();
    assert_eq!(text(&bare), "[--on=show]\n[{json} {{.ID}}]\n");
    let resolve = host.resolve();
    let (live, side) = (resolve(Place::Live, "/data/a").unwrap(), resolve(Place::Side, "/data/a").unwrap());
    fs::write(&live, "x").unwrap();
    let full = call(
        "show",
        &[
            ("name", &["db-1"]),
            ("glued", &["-rf $(id) `id`; a b"]),
            ("alone", &["two\nlines *"]),
            ("sql", &["select 'a' -- b"]),
            ("number", &["0042"]),
            ("choice", &["custom"]),
            ("path", &["/data/none"]),
            ("live", &["/data/a"]),
            ("side", &["/data/a"]),
            ("many", &["", "b b"]),
            ("each", &["y", "z"]),
        ],
    );
    let ended = host.ask(&programs, &full).unwrap();
    let none = resolve(Place::Live, "/data/none").unwrap();
    let expected = format!(
        "[--on=show]\n[-n]\n[db-1]\n[--text=-rf $(id) `id`; a b]\n[two\nlines *]\n[-c]\n[select 'a' -- b]\n\
         [0042]\n[custom]\n[{}]\n[{}]\n[{}]\n[]\n[b b]\n[-xy]\n[-xz]\n[{{json}} {{{{.ID}}}}]\n",
        none.display(),
        live.display(),
        side.display()
    );
    assert_eq!(text(&ended), expected);
    assert_eq!((ended.code, ended.signal, ended.complaint.as_str()), (Some(0), None, ""));
    let FileScopes { read, changed } = programs.file_scopes(&full).unwrap();
    let mut scopes = [read, changed].concat();
    scopes.sort();
    assert_eq!(scopes, ["/data/a", "/data/a", "/data/none"]);
}

#[test]
fn hostile_values_are_refused_with_their_hole_and_the_reason() {
    let host = Host::new();
    let programs = host.programs(SHOW);
    let long = "x".repeat(201);
    for (hole, value, reason) in [
        ("name", "-rf", "begin with `-`"),
        ("name", "", "is no name"),
        ("name", "..", "is no name"),
        ("name", "a/b", "is no name"),
        ("name", "a b", "is no name"),
        ("name", "a\nb", "is no name"),
        ("name", "a\\b", "is no name"),
        ("name", "a;b", "is no name"),
        ("name", "a\0b", "a NUL"),
        ("name", &long, "is no name"),
        ("glued", "a\0b", "a NUL"),
        ("alone", "--output=/etc/passwd", "an option"),
        ("alone", "-", "an option"),
        ("many", "-o", "an option"),
        ("sql", "\\! id", "backslash"),
        ("sql", " \\copy t from '/etc/passwd'", "backslash"),
        ("sql", "select 1 \\g |id", "backslash"),
        ("sql", "'\\'' \\! id '", "backslash"),
        ("sql", "select 1;\n system id", "`system`"),
        ("sql", "SOURCE /etc/passwd", "`source`"),
        ("sql", "-- only\n", "an option"),
        ("sql", "  ", "no SQL"),
        ("number", "-1", "no number"),
        ("number", "1e9", "no number"),
        ("number", "1234567890123456789", "no number"),
        ("choice", "other", "none of plain, custom"),
        ("choice", "", "none of plain, custom"),
        ("path", "data/a", "not absolute"),
        ("path", "/data/../etc", "`..`"),
        ("path", "/data/a\nb", "control character"),
        ("path", "-/data", "not absolute"),
        ("live", "/data/./a", "`..`"),
        ("live", "/data/\0", "a NUL"),
        ("side", "/data//a", "empty component"),
        ("side", "..", "not absolute"),
        ("nothing", "x", "no such hole"),
    ] {
        let error = host.ask(&programs, &call("show", &[(hole, &[value])])).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Invalid, "programs/bad-hole"),
            "{hole} {value}"
        );
        assert!(error.message.contains(&format!("`{hole}`")), "{}", error.message);
        assert!(error.message.contains(reason), "{hole} {value}: {}", error.message);
    }
    let two = call("show", &[("name", &["a", "b"])]);
    assert!(host.ask(&programs, &two).unwrap_err().message.contains("one value"));
    let twice = call("show", &[("name", &["a"]), ("name", &["b"])]);
    assert!(host.ask(&programs, &twice).unwrap_err().message.contains("twice"));
    let absent = call("show", &[("live", &["/data/absent"])]);
    assert_eq!(host.ask(&programs, &absent).unwrap_err().code, "programs/no-file");
}

const SCRIPTS: &str = r#"
[[form]]
name = "command.script"
effect = "read"
program = "sh"
arguments = ["-c", "{script}"]
output_bytes_max = 1000
holes.script = { kind = "text" }
[[form]]
name = "command.input"
effect = "read"
program = "cat"
stdin_text = "<{words}>"
holes.words = { kind = "text" }
[[form]]
name = "command.dump"
effect = "stage"
program = "sh"
arguments = ["-c", "cat; echo told >&2"]
stdin = "{from}"
stdout = "{to}"
[form.holes]
from = { kind = "live" }
to = { kind = "side" }
[[form]]
name = "command.absent"
effect = "read"
program = [["no-such-program"], ["nor-this", "one"]]
probe = ["version"]
[[form]]
name = "command.either"
effect = "read"
program = [["no-such-program"], ["false", "that"], ["env", "echo"]]
probe = ["version"]
arguments = ["{on}"]
"#;

fn script(text: &str) -> Call {
    call("script", &[("script", &[text])])
}

#[test]
fn a_program_has_a_clean_environment_no_input_and_no_new_rights() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let ended =
        host.ask(&programs, &script("env | sort; pwd; cat; grep NoNewPrivs /proc/self/status")).unwrap();
    let said = text(&ended);
    let names: Vec<&str> =
        said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let known = ["HOME", "LC_ALL", "OLDPWD", "PATH", "PWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| known.contains(name)), "{said}");
    assert!(said.contains("LC_ALL=C.UTF-8\n") && said.contains("\n/\n"), "{said}");
    assert!(said.ends_with("NoNewPrivs:\t1\n"), "{said}");
}

#[test]
fn every_end_is_an_answer() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let ended = host.ask(&programs, &script("echo no room >&2; exit 7")).unwrap();
    assert_eq!((ended.code, ended.signal, ended.complaint.as_str()), (Some(7), None, "no room\n"));
    let ended = host.ask(&programs, &script("kill -9 $$")).unwrap();
    assert_eq!((ended.code, ended.signal), (None, Some(9)));
}

#[test]
fn of_a_long_output_the_last_part_is_kept_and_every_line_is_told() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let (ended, lines) = host.heard(&programs, &script("seq 1 30000; printf 'half\\033[1m' >&2"));
    let ended = ended.unwrap();
    assert_eq!(ended.output.len(), 1000);
    assert!(text(&ended).ends_with("29999\n30000\n"));
    assert_eq!(ended.complaint, "half\u{fffd}[1m");
    assert_eq!(lines.len(), 30_001);
    assert_eq!((lines[0].as_str(), lines[30_000].as_str()), ("1", "half\u{fffd}[1m"));
}

#[test]
fn texts_and_files_are_its_input_and_a_side_copy_its_output() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let ended = host.ask(&programs, &call("input", &[("words", &["a\nb"])])).unwrap();
    assert_eq!(text(&ended), "<a\nb>");
    let resolve = host.resolve();
    fs::write(resolve(Place::Live, "/data/a").unwrap(), "rows").unwrap();
    let dump = call("dump", &[("from", &["/data/a"]), ("to", &["/data/a"])]);
    let (ended, lines) = host.heard(&programs, &dump);
    assert_eq!((ended.unwrap().output, lines), (vec![], vec!["told".to_owned()]));
    assert_eq!(fs::read(resolve(Place::Side, "/data/a").unwrap()).unwrap(), b"rows");
    let side = resolve(Place::Side, "/data/b").unwrap();
    std::os::unix::fs::symlink("/dev/full", side).unwrap();
    let linked = call("dump", &[("from", &["/data/a"]), ("to", &["/data/b"])]);
    assert_eq!(host.ask(&programs, &linked).unwrap_err().code, "programs/not-started");
}

#[test]
fn what_is_not_here_or_not_for_this_call_is_said_by_code() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let unknown = Call { form: "postgres.burn".into(), ..script("true") };
    let error = host.ask(&programs, &unknown).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::NotFound, "programs/unknown-form"));
    let error = host.ask(&programs, &call("absent", &[])).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "programs/not-here"));
    assert!(error.message.contains("`no-such-program` or `nor-this one`"), "{error}");
    assert_eq!(text(&host.ask(&programs, &call("either", &[])).unwrap()), "either\n");
    for (form, has) in [("command.absent", false), ("command.either", true), ("command.nothing", false)] {
        assert_eq!(programs.has(form).unwrap(), has, "{form}");
    }
    let other = Call { on: "dump".into(), ..script("true") };
    assert_eq!(host.ask(&programs, &other).unwrap_err().kind, ErrorKind::Denied);
    let watch = Watch { deadline: Instant::now() + LONG, give_up: &|| false, on_line: &|_| {} };
    let error = programs.stage(&host.resolve(), &script("true"), watch).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, "programs/wrong-effect"));
    assert_eq!(error.message, "`command.script` is for `programs.ask`, not for `programs.stage`");
}

/// Starts a child and a grandchild that do not want to end, and tells who they are.
fn stubborn(note: &Path) -> String {
    let note = note.display();
    format!("trap '' TERM; (trap '' TERM; echo $$ > {note}; while :; do sleep 1; done) & wait; sleep 300")
}

fn is_gone(identity: Identity) -> bool {
    let begun = Instant::now();
    while identity.is_alive() && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(10));
    }
    !identity.is_alive()
}

fn identity_in(note: &Path) -> Option<Identity> {
    Identity::of(fs::read_to_string(note).ok()?.trim().parse().ok()?)
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_it_started() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let note = host.path("child");
    let child = RefCell::new(None);
    let give_up = || {
        child.replace_with(|known| known.or_else(|| identity_in(&note)));
        false
    };
    // The subshell's `$$` is its parent's: ask the kernel instead.
    let text = stubborn(&note).replace("$$", "$(exec sh -c 'echo $PPID')");
    let watch =
        Watch { deadline: Instant::now() + Duration::from_secs(2), give_up: &give_up, on_line: &|_| {} };
    let error = programs.ask(&host.resolve(), &script(&text), watch).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::TimedOut, "programs/timed-out"));
    assert!(is_gone(child.into_inner().expect("it has said who it is")));
}

#[test]
fn a_call_may_ask_for_less_time_than_there_is() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let begun = Instant::now();
    let call = Call { timeout_ms: 300, ..script("echo so far >&2; sleep 300") };
    let error = host.ask(&programs, &call).unwrap_err();
    assert!(error.message.ends_with("it said: so far"), "{error}");
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_call_that_is_called_off_leaves_nobody_behind() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let note = host.path("child");
    let seen = Cell::new(None);
    let give_up = || {
        seen.set(seen.get().or_else(|| identity_in(&note)));
        seen.get().is_some()
    };
    let watch = Watch { deadline: Instant::now() + LONG, give_up: &give_up, on_line: &|_| {} };
    let text = format!("(echo $(exec sh -c 'echo $PPID') > {}; sleep 300) & sleep 300; wait", note.display());
    let error = programs.ask(&host.resolve(), &script(&text), watch).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Cancelled, "programs/cancelled"));
    assert!(is_gone(seen.get().unwrap()));
}

#[test]
fn what_it_left_behind_does_not_hold_its_answer_up() {
    let host = Host::new();
    let programs = host.programs(SCRIPTS);
    let begun = Instant::now();
    let ended = host.ask(&programs, &script("sleep 300 & echo said")).unwrap();
    assert_eq!(text(&ended), "said\n");
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn programs_of_a_power_run_as_its_user_with_its_settings() {
    let host = Host::new();
    let settings = PowerSettings {
        run_as: Some("nobody".into()),
        environment: BTreeMap::from([("PGHOST".into(), "/run/x".into())]),
        directory: Some("/tmp".into()),
    };
    let programs = host.try_programs(SCRIPTS, BTreeMap::from([("command".into(), settings)])).unwrap();
    let ended = host.ask(&programs, &script("id -un; id -G; echo $PGHOST $HOME; pwd"));
    if !rustix::process::geteuid().is_root() {
        assert_eq!(ended.unwrap_err().code, "programs/not-permitted");
        say_skipped("programs_of_a_power_run_as_its_user_with_its_settings", "needs root");
        return;
    }
    let ended = ended.unwrap();
    let said: Vec<&str> = text(&ended).lines().collect();
    assert_eq!((said[0], said[3]), ("nobody", "/tmp"), "{ended:?}");
    assert!(!said[1].split(' ').any(|group| group == "0"), "root's groups are gone: {}", said[1]);
    assert!(said[2].starts_with("/run/x /"), "{}", said[2]);
}

#[allow(clippy::print_stdout, reason = "a test says why it did nothing")]
fn say_skipped(test: &str, why: &str) {
    println!("skipped  {test}: {why}");
}

#[test]
fn what_the_configuration_gets_wrong_is_said_at_the_start() {
    let host = Host::new();
    let nobody = PowerSettings { run_as: Some("no-such-user".into()), ..PowerSettings::default() };
    let error = host.try_programs(SCRIPTS, BTreeMap::from([("command".into(), nobody)])).unwrap_err();
    assert!(error.to_string().contains("`no-such-user`"), "{error}");
    let twice = format!("{SHOW}{SHOW}");
    assert!(matches!(host.try_programs(&twice, BTreeMap::new()), Err(FormError::Twice { .. })));
    let foreign = SHOW.replace("command.show", "postgres.show");
    assert!(matches!(host.try_programs(&foreign, BTreeMap::new()), Err(FormError::Unsound { .. })));
}

proptest! {
    #[test]
    fn a_filled_form_has_as_many_words_as_the_form_says(
        holes in proptest::collection::btree_map(
            proptest::sample::select(vec!["name", "glued", "alone", "sql", "number", "choice", "path", "side", "many", "each"]),
            proptest::collection::vec("(plain|custom|[0-9]{1,3}|/[a-z]{1,4}(/[.]{1,3})?|.{0,12}|-{0,2}[a-z ;$`]{0,6})", 0..4),
            0..10,
        ),
    ) {
        #[derive(Deserialize)]
        struct Own { form: Vec<Form> }
        let own: Own = toml::from_str(SHOW).unwrap();
        let form = &own.form[0];
        let filled: Vec<Hole> =
            holes.iter().map(|(name, values)| Hole { name: (*name).into(), values: values.clone() }).collect();
        let call = Call { form: form.name.clone(), on: "show".into(), holes: filled, timeout_ms: 0 };
        let resolve = |_: Place, path: &str| Ok(PathBuf::from(path));
        if let Ok(filled) = Values::judge(form, &call).and_then(|values| values.fill(&resolve)) {
            let count = |name: &str| holes.get(name).map_or(0, Vec::len);
            // sh, its script and its name, the scope, the template; groups count twice.
            let fixed = 5 + ["name", "sql"].into_iter().map(count).sum::<usize>() * 2;
            let rest = ["glued", "alone", "number", "choice", "path", "side", "many", "each"];
            let expected = fixed + rest.into_iter().map(count).sum::<usize>();
            prop_assert_eq!(filled.words.len(), expected, "{:?}", filled.words);
            // No value became an option: what begins with `-` does so in the form.
            for word in &filled.words[3..] {
                let word = word.to_string_lossy();
                let known = ["--on=", "-n", "--text=", "-c", "-x"];
                prop_assert!(!word.starts_with('-') || known.iter().any(|begin| word.starts_with(begin)), "{}", word);
            }
        }
    }
}
