//! A checked configuration comes in; which of the files and folders that it names cannot be read goes out.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::Error;
use crate::config::Files;

impl Files {
    /// Where the agent keeps the key of fingerprints that it makes itself.
    pub fn own_fleet_key(&self) -> PathBuf {
        self.state.join("fleet.key")
    }
}

impl Config {
    /// Opens what the configuration names, and tells of all that cannot be read; `path` is only named in the error.
    pub fn check_named(&self, path: &Path) -> Result<(), Error> {
        let named = [
            ("files.fleet_key", &self.files.fleet_key, false),
            ("files.providers", &self.files.providers, false),
            ("files.prices", &self.files.prices, false),
            ("files.tls_offsets", &self.files.tls_offsets, false),
            ("policy.folder", &self.policy.folder, true),
            ("enforce.orders", &self.enforce.orders, false),
        ];
        let own = self.files.own_fleet_key();
        let problems: Vec<_> = named
            .into_iter()
            .filter(|(_, named, _)| !named.as_os_str().is_empty())
            // The agent makes that one at its first start.
            .filter(|(_, named, _)| **named != own || !is_missing(named))
            .filter_map(|(key, named, is_folder)| {
                let error = open(named, is_folder).err()?;
                Some(format!("{key} names {}, which cannot be read: {error}", named.display()))
            })
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Named { path: path.to_owned(), problems: problems.join("; ") })
    }
}

/// Whether nothing is there, not even a link that leads nowhere.
fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn open(path: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        return fs::read_dir(path).map(drop);
    }
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    fs::File::open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_the_agent_makes_itself_need_not_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.files.state = folder.path().to_owned();
        config.files.fleet_key = folder.path().join("fleet.key");
        let check = |config: &Config| config.check_named(Path::new("t.toml"));
        check(&config).unwrap();
        std::os::unix::fs::symlink("/nowhere/key", &config.files.fleet_key).unwrap();
        check(&config).unwrap_err();
        config.files.fleet_key = folder.path().join("other.key");
        check(&config).unwrap_err();
    }

    #[test]
    fn every_file_that_is_named_and_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there.toml"), "").unwrap();
        let mut config = Config::default();
        let check = |config: &Config| config.check_named(Path::new("t.toml"));
        check(&config).unwrap();
        config.files.prices = at("there.toml");
        config.policy.folder = folder.path().to_owned();
        check(&config).unwrap();
        config.files.fleet_key = at("gone.key");
        config.files.providers = folder.path().to_owned();
        config.files.tls_offsets = at("gone.toml");
        config.policy.folder = at("there.toml");
        config.enforce.orders = at("gone.orders");
        let said = check(&config).unwrap_err().to_string();
        let keys: Vec<_> = said
            .split("; ")
            .filter_map(|problem| problem.trim_start_matches("t.toml: ").split(' ').next())
            .collect();
        assert_eq!(
            keys,
            [
                "files.fleet_key",
                "files.providers",
                "files.tls_offsets",
                "policy.folder",
                "enforce.orders"
            ],
            "{said}"
        );
        let gone =
            format!("enforce.orders names {}, which cannot be read: ", at("gone.orders").display());
        assert!(said.contains(&gone), "{said}");
    }
}
