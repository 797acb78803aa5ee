//! A command of a person comes in; a private network of AI services is brought up, shown or taken down.
#![expect(clippy::print_stdout, reason = "a command line tool speaks on standard output")]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tollgate_tests::harness::{Process, is_root, kill_group};
use tollgate_tests::lab::ca::Authority;
use tollgate_tests::lab::clients::load::Load;
use tollgate_tests::lab::clients::{Api, CLIENTS, Client, Kit, Spec};
use tollgate_tests::lab::net::{DNS_ADDRESS, HOSTS, Names, Net, Options, address_of, sweep};
use tollgate_tests::lab::provider::control::read_facts;
use tollgate_tests::lab::provider::server::{Server, Settings};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

/// Where `lab up` keeps the files of running labs.
const STATE_FOLDER: &str = "/run/tollgate-lab";

/// Time in which a server starts, its certificate authority included.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A private internet of AI services, with real clients.
#[derive(Parser)]
#[command(name = "lab")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs the clients into the cache folder.
    Install,
    /// Serves until killed; the first line printed tells the addresses.
    Serve {
        /// Namespace to listen in; the present one where not said.
        #[arg(long)]
        namespace: Option<String>,
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1")]
        address: IpAddr,
        /// Port with TLS.
        #[arg(long, default_value_t = 443)]
        tls_port: u16,
        /// Port without TLS.
        #[arg(long, default_value_t = 80)]
        plain_port: u16,
        /// Also answer DNS questions, on the lab's own address.
        #[arg(long)]
        dns: bool,
        /// Folder for `ca.pem` and the Unix socket `control`.
        #[arg(long)]
        folder: PathBuf,
    },
    /// Brings a lab up and leaves it running.
    Up {
        /// Learn addresses from the lab's name server instead of /etc/hosts.
        #[arg(long)]
        dns: bool,
    },
    /// Takes down every lab that `up` left running, and what killed labs left behind.
    Down,
    /// Prints the facts of a running lab, one line of JSON a call.
    Facts {
        /// The `control` socket.
        socket: PathBuf,
    },
    /// Runs every client once whole and once streamed and compares both sides; then a load.
    Demo {
        /// Run this client only; may be given several times.
        #[arg(long)]
        client: Vec<String>,
        /// One-way delay of the wire, in milliseconds.
        #[arg(long, default_value_t = 0)]
        delay: u64,
        /// Knobs of the calls.
        #[arg(long, default_value = "")]
        scenario: String,
        /// Calls of the load at the end; 0 for none.
        #[arg(long, default_value_t = 20_000)]
        load: u32,
    },
}

/// What `down` must know of a lab that `up` left running.
#[derive(Serialize, Deserialize)]
struct State {
    server_pid: u32,
    namespace: String,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Task::Install => println!("{:#?}", Kit::install()?),
        Task::Serve { namespace, address, tls_port, plain_port, dns, folder } => {
            let dns = dns.then_some((DNS_ADDRESS, true));
            let control = Some(folder.join("control"));
            serve(Settings { namespace, address, tls_port, plain_port, control, dns }, &folder)?;
        }
        Task::Up { dns } => up(if dns { Names::Dns } else { Names::Hosts })?,
        Task::Down => down()?,
        Task::Facts { socket } => {
            for fact in read_facts(&socket)? {
                println!("{}", serde_json::to_string(&fact)?);
            }
        }
        Task::Demo { client, delay, scenario, load } => {
            demo(&client, Duration::from_millis(delay), &scenario, load)?;
        }
    }
    Ok(())
}

fn serve(settings: Settings, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).context("making the server's folder")?;
    let authority = Arc::new(Authority::new()?);
    authority.write_pem(&folder.join("ca.pem"))?;
    let server = Server::start(settings, &authority)?;
    println!(
        "{}",
        serde_json::json!({"tls": server.tls_address(), "plain": server.plain_address()})
    );
    forever()
}

fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

fn up(names: Names) -> Result<()> {
    ensure!(is_root(), "network namespaces need root");
    let mut net = Net::up(&Options { clients: 2, names, ipv6: false })?;
    let folder = Path::new(STATE_FOLDER).join(net.server());
    fs::create_dir_all(&folder).context("making the lab's folder")?;
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.args([
        "serve",
        "--address",
        "0.0.0.0",
        "--dns",
        "--namespace",
        net.server(),
        "--folder",
    ]);
    let mut process = Process::start(command.arg(&folder), &folder.join("errors"))?;
    let line = process.line(START_DEADLINE)?;
    ensure!(line.is_some(), "the server did not start: {}", process.errors());
    let state = State { server_pid: process.pid(), namespace: net.server().to_owned() };
    fs::write(folder.join("state.json"), serde_json::to_string(&state)?)?;
    process.leave();
    net.leave();
    let (client, ca) = (net.client(0)?, folder.join("ca.pem"));
    println!("server namespace  {}\nclient namespaces {client} {}", net.server(), net.client(1)?);
    println!(
        "authority         {}\nfacts             lab facts {}",
        ca.display(),
        folder.join("control").display()
    );
    for host in HOSTS {
        println!("  {:<24}{}", host, address_of(host).context("no address")?);
    }
    println!(
        "try: ip netns exec {client} curl --cacert {} https://api.openai.com/v1/models -H 'Authorization: Bearer sk-LABFAKE'",
        ca.display()
    );
    Ok(())
}

fn down() -> Result<()> {
    let folders = fs::read_dir(STATE_FOLDER).into_iter().flatten().flatten();
    for folder in folders.map(|entry| entry.path()) {
        if let Ok(text) = fs::read_to_string(folder.join("state.json")) {
            let state: State = serde_json::from_str(&text).context("reading a lab's state")?;
            // The id may belong to another process by now: only a server of this very lab is ended.
            let command = fs::read_to_string(format!("/proc/{}/cmdline", state.server_pid));
            let is_ours =
                command.is_ok_and(|line| line.contains("serve") && line.contains(&state.namespace));
            if is_ours && kill_group(state.server_pid) {
                println!("ended the server of {}", state.namespace);
            }
        }
        fs::remove_dir_all(&folder).context("removing a lab's folder")?;
    }
    for name in sweep() {
        println!("removed {name}");
    }
    Ok(())
}

fn demo(only: &[String], delay: Duration, scenario: &str, calls: u32) -> Result<()> {
    ensure!(is_root(), "network namespaces need root");
    let unknown = only.iter().find(|name| CLIENTS.iter().all(|client| client.name != *name));
    ensure!(unknown.is_none(), "the lab has no client {}", unknown.map_or("", String::as_str));
    let mut lab = Lab::up(&Options::default())?;
    if !delay.is_zero() {
        lab.delay(delay)?;
    }
    println!(
        "{:<18}{:<12}{:<9}{:<10}{:>7}{:>7}{:>8}{:>8}  agrees",
        "client", "api", "stream", "protocol", "status", "chunks", "input", "output"
    );
    for client in CLIENTS
        .iter()
        .filter(|client| only.is_empty() || only.iter().any(|name| name == client.name))
    {
        for (api, stream) in client.apis.iter().flat_map(|api| [(*api, false), (*api, true)]) {
            if !stream || !matches!(api, Api::Embeddings | Api::CountTokens) {
                show(&lab, client, (api, stream), scenario)?;
            }
        }
    }
    if calls > 0 {
        let figures =
            lab.start_load(&Load { calls, ..Load::default() })?.finish(CLIENT_DEADLINE)?;
        println!(
            "load: {} calls, {} failed, {} a second, median {} us",
            figures.calls,
            figures.failed,
            figures.rate(),
            figures.p50_ns / 1000
        );
    }
    Ok(())
}

fn show(lab: &Lab, client: &Client, (api, stream): (Api, bool), scenario: &str) -> Result<()> {
    let before = lab.facts().len();
    let mut spec = Spec::new(client.name, api).scenario(scenario);
    spec.stream = stream;
    let seen = lab.run(&spec)?;
    let call = seen.calls.first().context("the client made no call")?;
    let facts = tollgate_tests::harness::wait_until(START_DEADLINE, "the fact", || {
        Some(lab.facts()).filter(|facts| facts.len() > before)
    })?;
    let fact = facts.last().context("the server saw no call")?;
    let told = fact.usage.filter(|_| fact.usage_on_wire);
    let agrees = call.id == fact.id && call.usage() == told;
    let usage = fact.usage.unwrap_or_default();
    println!(
        "{:<18}{:<12}{:<9}{:<10}{:>7}{:>7}{:>8}{:>8}  {}",
        client.name,
        fact.operation,
        fact.stream,
        fact.protocol,
        fact.status,
        fact.chunks,
        usage.all_input(),
        usage.output,
        call.error.clone().unwrap_or_else(|| agrees.to_string())
    );
    Ok(())
}
