//! The plugin with the host's forms, the real apt and the real dpkg, in a root
//! of their own. The root is a text that names a folder by what is installed in
//! it, so that a run killed anywhere can be compared with one that was not.

#![expect(clippy::print_stdout, reason = "what is left out is said")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use packages::Packages;
use sternway_plugin::rehearsal::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, forms, run, try_run};
use sternway_plugin::{Error, Failure, Kind};

const FORMS: &str = include_str!("../../../agent/src/capabilities/programs/forms/packages.toml");

thread_local! {
    static FOLDER: RefCell<PathBuf> = RefCell::default();
    /// Each question is asked once of each root.
    static ANSWERS: RefCell<BTreeMap<String, (Ended, String)>> = RefCell::default();
}

/// The folder, and the root that every world begins with.
struct Roots(PathBuf, OnceCell<String>);

impl Drop for Roots {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An archive with several versions of `app`, `lib` and `helper`, and a root in
/// which `app` 1.3 and `lib` 2.0 are installed.
const MAKE: &str = r#"
deb() { # name version depends
    rm -rf deb; mkdir -p deb/DEBIAN deb/usr/share/$1; echo $2 > deb/usr/share/$1/version
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n' $1 $2 > deb/DEBIAN/control
    [ -z "$3" ] || echo "Depends: $3" >> deb/DEBIAN/control
    dpkg-deb --root-owner-group -Zgzip -b deb archive/$1_$2_all.deb >/dev/null
}
mkdir -p archive host/etc/apt/apt.conf.d host/etc/apt/preferences.d host/var/lib/dpkg/info host/var/lib/dpkg/updates \
    host/var/lib/apt/lists/partial host/var/cache/apt/archives/partial host/var/log/apt host/usr/bin
touch host/var/lib/dpkg/status
deb lib 1.0; deb lib 2.0; deb helper 5; deb app 1.0 'lib (<< 2)'; deb app 1.1 'lib (<< 2), helper'; deb app 1.3 'lib (>= 2)'
deb loner 1.0; deb loner 2.0; deb gone 1.0
cd archive; for file in *.deb; do
    dpkg-deb -f $file; echo "Filename: ./$file"; echo "Size: $(stat -c %s $file)"
    echo "SHA256: $(sha256sum $file | cut -d' ' -f1)"; echo
done > Packages; cd ..
echo "deb [trusted=yes] file:$PWD/archive ./" > host/etc/apt/sources.list
cat > conf <<END
Dir "$PWD/host/";
Dir::State::status "$PWD/host/var/lib/dpkg/status";
Dir::Bin::dpkg "/usr/bin/dpkg";
Dir::Log "$PWD/host/var/log/apt";
DPkg::Options { "--root=$PWD/host"; "--force-not-root"; "--force-bad-path"; };
DPkg::Use-Pty "0";
APT::Sandbox::User "root";
END
export APT_CONFIG=$PWD/conf DPKG_ROOT=$PWD/host
apt-get -qq update
apt-get -qq -y install app=1.3 lib=2.0 loner=2.0 gone=1.0 >/dev/null
apt-mark auto lib >/dev/null; apt-mark hold lib >/dev/null
# A version that is installed and in no archive any more.
sed -i '/^Package: gone$/,/^$/d' archive/Packages; apt-get -qq update
"#;

const STATE: &str = r#"{ dpkg-query --show --showformat='${db:Status-Abbrev} ${Package} ${Version}\n' | grep -v '^.[nc]'
    apt-mark showauto | sort; dpkg --audit; } | sha256sum | cut -c 1-16"#;

impl Roots {
    /// None when this machine has no apt, or we are not root.
    fn new(name: &str, test: &str) -> Option<Self> {
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|done| done.stdout == b"0\n");
        let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !is_root || !["apt-get", "dpkg-deb"].into_iter().all(has) {
            println!("skipped  {test}: it needs root, apt-get and dpkg-deb");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("sternway-packages-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        FOLDER.set(folder.clone());
        ANSWERS.take();
        shell(&folder, MAKE);
        Some(Self(folder, OnceCell::new()))
    }

    fn world(&self) -> World {
        let model = [("root".to_owned(), self.1.get_or_init(keep).clone())].into_iter().collect();
        World { model, programs: Some(programs), ..World::default() }
    }

    /// Packages with their states, and those that came for others.
    fn told(&self, world: &World) -> String {
        shell(&self.0, &format!("rm -rf host; cp -a {} host", world.model["root"]));
        shell(
            &self.0,
            &format!(
                "{EXPORT}; dpkg-query --show --showformat='${{db:Status-Abbrev}}${{Package}} ${{Version}},' | tr -d '\\n'; apt-mark showauto"
            ),
        )
    }

    fn refusal(&self, settings: &str) -> Failure {
        let world = self.world();
        let (ended, result) = try_run::<Packages>(world.clone(), settings, None, Goal::Applied);
        assert_eq!(ended.model, world.model, "{settings}");
        result.unwrap_err()
    }
}

const EXPORT: &str = "export APT_CONFIG=$PWD/conf DPKG_ROOT=$PWD/host";

fn shell(at: &Path, script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).current_dir(at).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Keeps the root as it is now under a name that tells what is installed.
fn keep() -> String {
    let folder = FOLDER.with_borrow(PathBuf::clone);
    let name = format!("kept-{}", shell(&folder, &format!("{EXPORT}; {STATE}")));
    shell(&folder, &format!("[ -e {name} ] || cp -a host {name}"));
    name
}

fn programs(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let holes: Vec<String> =
        call.holes.iter().map(|hole| format!("{}={:?}", hole.name, hole.values)).collect();
    let key = format!("{} {} {holes:?}", world.model["root"], call.form);
    let known = ANSWERS.with_borrow(|answers| answers.get(&key).cloned());
    let (ended, root) = known.unwrap_or_else(|| {
        let folder = FOLDER.with_borrow(PathBuf::clone);
        shell(&folder, &format!("rm -rf host; cp -a {} host", world.model["root"]));
        let variables = [("APT_CONFIG", folder.join("conf")), ("DPKG_ROOT", folder.join("host"))];
        let ended = forms::run_with(FORMS, call, &|_, path| PathBuf::from(path), &variables);
        (ended, keep())
    });
    ANSWERS.with_borrow_mut(|answers| answers.insert(key, (ended.clone(), root.clone())));
    world.model.insert("root".to_owned(), root);
    Ok(ended)
}

const BACK: &str = r#"{"install": {"app": "1.1", "lib": "1.0"}}"#;

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    let Some(roots) = Roots::new("crash", "a_crash_anywhere_ends_as_no_crash") else { return };
    assert!(crash_matrix::<Packages>(&roots.world(), BACK, None) > 100);
    let one = r#"{"install": {"loner": "1.0"}, "hold": false}"#;
    assert!(crash_matrix::<Packages>(&roots.world(), one, None) > 60);
}

#[test]
fn packages_go_back_with_what_they_need_are_held_and_come_forth_again() {
    let Some(roots) = Roots::new("back", "packages_go_back_with_what_they_need") else { return };
    let before = "ii app 1.3,ii gone 1.0,hi lib 2.0,ii loner 2.0,lib";
    assert_eq!(roots.told(&roots.world()), before);
    let ended = run::<Packages>(roots.world(), BACK, None, Goal::Applied, None);
    assert_eq!(roots.told(&ended), "hi app 1.1,ii gone 1.0,ii helper 5,hi lib 1.0,ii loner 2.0,helper\nlib");
    let undone = run::<Packages>(roots.world(), BACK, None, Goal::Undone, None);
    assert_eq!(roots.told(&undone), before);
}

#[test]
fn what_apt_would_not_do_is_refused_before_anything_is_touched() {
    let Some(roots) = Roots::new("refusals", "what_apt_would_not_do_is_refused") else { return };
    let unavailable = roots.refusal(r#"{"install": {"app": "0.9"}}"#).error;
    assert_eq!(unavailable.code, "packages/not-available");
    assert!(unavailable.message.ends_with("there are: 1.3, 1.1, 1.0"), "{unavailable:?}");
    for (settings, code) in [
        (r#"{"install": {"app": "1.1"}}"#, "packages/refused"),
        (r#"{"install": {"nothing": "1"}}"#, "packages/not-available"),
        (r#"{"install": {"lib": "1.0"}}"#, "packages/removes"),
    ] {
        let error = roots.refusal(settings).error;
        assert!(error.code == code || error.code == "packages/refused", "{settings}: {error:?}");
    }
}

#[test]
fn what_could_not_be_installed_again_is_not_taken_away() {
    let Some(roots) = Roots::new("way", "what_could_not_be_installed_again") else { return };
    shell(
        &roots.0,
        &format!(
            "{EXPORT}; awk -v RS= -v ORS='\\n\\n' '!(/Package: loner/ && /Version: 2.0/)' archive/Packages > p
             mv p archive/Packages; apt-get -qq update; rm -rf kept-*"
        ),
    );
    // apt-cache lists what is installed as well, with dpkg's own file as its place.
    let error = roots.refusal(r#"{"install": {"loner": "1.0"}}"#).error;
    assert_eq!(error.code, "packages/no-way-back", "{error:?}");
}

#[test]
fn work_that_dpkg_was_interrupted_in_is_finished_first() {
    let Some(roots) = Roots::new("interrupted", "work_that_dpkg_was_interrupted_in") else { return };
    shell(
        &roots.0,
        "sed -i '/^Package: gone$/{n;s/install ok installed/install ok unpacked/}' host/var/lib/dpkg/status",
    );
    assert!(roots.told(&roots.world()).contains("iU gone"));
    let ended = run::<Packages>(roots.world(), BACK, None, Goal::Applied, None);
    assert!(roots.told(&ended).starts_with("hi app 1.1,ii gone 1.0"));
}

#[test]
fn a_lock_held_by_another_is_an_error_that_may_pass() {
    let world = World { programs: Some(locked), ..World::default() };
    let (_, result) = try_run::<Packages>(world, BACK, None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!((error.kind, error.code.as_str()), (Kind::Transient, "packages/locked"));
}

fn locked(_: &mut World, call: &Call) -> Result<Ended, Error> {
    let complaint = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)\n";
    let (code, output) = match call.form.as_str() {
        "packages.installed" => (0, "ii \tapp\t1.3\nii \tlib\t2.0\n"),
        "packages.available" => (0, "app | 1.3 | x\napp | 1.1 | x\nlib | 2.0 | x\nlib | 1.0 | x\n"),
        "packages.simulate" => (0, "Inst app [1.3] (1.1 x [all])\nInst lib [2.0] (1.0 x [all])\n"),
        "packages.download" => (100, ""),
        _ => (0, ""),
    };
    Ok(Ended {
        code: Some(code),
        signal: None,
        output: output.as_bytes().to_vec(),
        complaint: complaint.to_owned(),
        elapsed_ms: 1,
    })
}
