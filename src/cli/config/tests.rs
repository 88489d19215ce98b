use super::*;

struct Machine {
    dir: tempfile::TempDir,
    around: Surroundings,
}

fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let around = Surroundings {
        variables: BTreeMap::from([("HOME".into(), dir.path().join("home").into())]),
        system_file: dir.path().join("etc/config.toml"),
        is_root: false,
    };
    Machine { dir, around }
}

impl Machine {
    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn error(&self) -> String {
        let error = Config::load(&self.around, Flags::default()).unwrap_err();
        assert_eq!(error.exit(), crate::cli::error::Exit::Usage);
        error.render(false).replace(&*self.dir.path().to_string_lossy(), "DIR")
    }
}

#[test]
fn later_wins_and_the_origin_is_kept() {
    let mut machine = machine();
    let origin = |machine: &Machine, flags: Flags| {
        let config = Config::load(&machine.around, flags).unwrap();
        let (value, origin) = config.get(Setting::CacheDir).unwrap();
        format!("{} {origin}", value.display()).replace(&*machine.dir.path().to_string_lossy(), "DIR")
    };
    assert_eq!(origin(&machine, Flags::default()), "DIR/home/.cache/atfs default");
    machine.file("etc/config.toml", "cache_dir = '/etc-says'\nregion = 'eu-west-1'");
    assert_eq!(origin(&machine, Flags::default()), "/etc-says DIR/etc/config.toml");
    machine.file("home/.config/atfs/config.toml", "cache_dir = '/home-says'");
    assert_eq!(origin(&machine, Flags::default()), "/home-says DIR/home/.config/atfs/config.toml");
    machine.around.variables.insert("ATFS_CACHE_DIR".into(), "/env-says".into());
    assert_eq!(origin(&machine, Flags::default()), "/env-says environment ATFS_CACHE_DIR");
    let mut flags = Flags::default();
    flags.set(Setting::CacheDir, "--cache-dir", Some("/flag-says"));
    flags.set(Setting::StateDir, "--state-dir", None::<&str>);
    assert_eq!(origin(&machine, flags.clone()), "/flag-says flag --cache-dir");
    let config = Config::load(&machine.around, flags).unwrap();
    assert_eq!(config.text(Setting::Region).as_deref(), Some("eu-west-1"), "the weaker file still counts");
}

#[test]
fn defaults_follow_the_user() {
    let mut machine = machine();
    machine.around.variables.insert("XDG_STATE_HOME".into(), "/xdg/state".into());
    machine.around.variables.insert("XDG_CACHE_HOME".into(), "relative".into());
    let config = Config::load(&machine.around, Flags::default()).unwrap();
    assert_eq!(config.state_dir().unwrap(), Path::new("/xdg/state/atfs"));
    assert!(config.cache_dir().unwrap().ends_with("home/.cache/atfs"), "XDG says: relative is invalid");
    machine.around.is_root = true;
    let config = Config::load(&machine.around, Flags::default()).unwrap();
    assert_eq!(config.cache_dir().unwrap(), Path::new("/var/cache/atfs"));
    assert_eq!(config.state_dir().unwrap(), Path::new("/var/lib/atfs"));
    assert_eq!(config.cache_size(), CacheSize::Percent(80));
    machine.around.is_root = false;
    machine.around.variables.clear();
    let error = Config::load(&machine.around, Flags::default()).unwrap().cache_dir().unwrap_err();
    assert_eq!(
        error.render(false),
        "error: no place for cache_dir: HOME is not set\nhint: set ATFS_CACHE_DIR to a folder of your own"
    );
}

#[test]
fn one_file_only_or_none() {
    let mut machine = machine();
    machine.file("etc/config.toml", "nonsense");
    machine.around.variables.insert("ATFS_CONFIG".into(), "".into());
    assert!(Config::load(&machine.around, Flags::default()).is_ok());
    let only = machine.file("only.toml", "author = 'A <a@b>'");
    machine.around.variables.insert("ATFS_CONFIG".into(), only.into());
    assert_eq!(Config::load(&machine.around, Flags::default()).unwrap().author(), "A <a@b>");
}

#[test]
fn errors_name_file_setting_and_form() {
    let mut machine = machine();
    machine.file("etc/config.toml", "cache_sise = '1G'");
    assert_eq!(
        machine.error(),
        "error: DIR/etc/config.toml: unknown setting \"cache_sise\"\nhint: the settings are author, cache_dir, \
         cache_size, cache_floor, state_dir, endpoint_url, region, aws_profile, ca_bundle, log"
    );
    machine.file("etc/config.toml", "cache_size = '1Q'");
    assert_eq!(
        machine.error(),
        "error: cache_size (DIR/etc/config.toml): \"1Q\" is not a size: write a number and a unit, such as 500GiB, \
         1.5T or 4096"
    );
    machine.file("etc/config.toml", "cache_size = '99%'");
    assert!(machine.error().contains("write 1% to 95%"));
    machine.file("etc/config.toml", "cache_floor = '-1'");
    assert!(machine.error().starts_with("error: cache_floor (DIR/etc/config.toml): "));
    machine.file("etc/config.toml", "author = ['a']");
    assert_eq!(machine.error(), "error: DIR/etc/config.toml: author must be a text in quotes, not array");
    machine.file("etc/config.toml", "cache_dir = 'relative'");
    assert!(machine.error().contains("must be an absolute path"));
    machine.file("etc/config.toml", "= 3");
    assert!(
        machine
            .error()
            .contains("DIR/etc/config.toml is not valid TOML\n  cause: TOML parse error at line 1")
    );
    machine.file("etc/config.toml", "");
    machine.around.variables.insert("ATFS_ENDPOINT_URL".into(), "localhost:9000".into());
    assert_eq!(
        machine.error(),
        "error: endpoint_url (environment ATFS_ENDPOINT_URL): \"localhost:9000\" is not a URL: write \
         http://host:port or https://host"
    );
    std::fs::create_dir_all(machine.dir.path().join("etc/config.toml.d")).unwrap();
    machine.around.system_file = machine.dir.path().join("etc/config.toml.d");
    assert!(
        machine
            .error()
            .contains("cannot read the settings file DIR/etc/config.toml.d\n  cause: Is a directory")
    );
}

#[test]
fn every_setting_is_listed_once() {
    let mut names: Vec<_> = SETTINGS.iter().map(|(setting, _)| setting.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
    assert_eq!(Setting::EndpointUrl.variable(), "ATFS_ENDPOINT_URL");
}
