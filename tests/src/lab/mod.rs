//! What a test needs comes in; a private internet of AI services with real clients inside goes out.

pub mod ca;
pub mod clients;
pub mod containerd;
pub mod cri;
pub mod dns;
pub mod net;
pub mod provider;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::harness::{temp_folder, wait_until};
use crate::lab::ca::Authority;
use crate::lab::clients::load::{Load, RunningLoad};
use crate::lab::clients::{Kit, Running, Seen, Spec};
use crate::lab::net::Net;
use crate::lab::provider::fact::Fact;
use crate::lab::provider::server::{Server, Settings};

/// Time in which any client of the lab ends, on a busy machine too.
pub const CLIENT_DEADLINE: Duration = Duration::from_mins(2);

/// Time in which the server files a fact once its client has ended.
const FACT_DEADLINE: Duration = Duration::from_secs(20);

/// A private network, a provider server in it, and the means to run clients against it.
///
/// Everything it made (namespaces, files, threads) is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    // The order matters: the server stops before its namespace goes.
    server: Server,
    net: Net,
    kit: Kit,
    folder: TempDir,
}

impl Lab {
    /// Brings a lab up; needs root. Installs the clients on first use.
    pub fn up(options: &net::Options) -> Result<Self> {
        let kit = Kit::install()?;
        let folder = temp_folder("lab")?;
        let authority = Arc::new(Authority::new()?);
        authority.write_pem(&folder.path().join("ca.pem"))?;
        let net = Net::up(options)?;
        let settings = Settings {
            namespace: Some(net.server().to_owned()),
            control: Some(folder.path().join("control")),
            dns: Some((net::DNS_ADDRESS, options.ipv6)),
            ..Settings::default()
        };
        let server = Server::start(settings, &authority)?;
        Ok(Self { server, net, kit, folder })
    }

    /// Returns the network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Sets the one-way delay of the first client's network; connections of before may break.
    pub fn delay(&mut self, one_way: Duration) -> Result<()> {
        self.net.delay(0, one_way)
    }

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the installed clients.
    pub fn kit(&self) -> &Kit {
        &self.kit
    }

    /// Returns the folder of this lab's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the file that makes a client trust the lab.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the Unix socket on which another process can read the facts.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// Starts a client in the first client namespace.
    pub fn start(&self, spec: &Spec) -> Result<Running> {
        Running::start(&self.kit, self.net.client(0)?, &self.ca_file(), spec)
    }

    /// Runs a client to its end.
    pub fn run(&self, spec: &Spec) -> Result<Seen> {
        self.start(spec)?.finish(CLIENT_DEADLINE)
    }

    /// Starts a load in the first client namespace.
    pub fn start_load(&self, load: &Load) -> Result<RunningLoad> {
        RunningLoad::start(&self.kit, self.net.client(0)?, &self.ca_file(), load)
    }

    /// Returns the facts of all calls that have ended.
    pub fn facts(&self) -> Vec<Fact> {
        self.server.facts().all()
    }

    /// Waits until `count` calls of a scenario have ended, and returns their facts.
    pub fn facts_of(&self, scenario: &str, count: usize) -> Result<Vec<Fact>> {
        let what = format!("{count} facts of {scenario}");
        wait_until(FACT_DEADLINE, &what, || {
            let all = self.facts().into_iter();
            let facts: Vec<Fact> = all.filter(|fact| fact.scenario == scenario).collect();
            (facts.len() >= count).then_some(facts)
        })
    }
}
