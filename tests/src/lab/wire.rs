//! Two namespaces and a delay come in; a wire between them, a device at each end, goes out: netem for kernels without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_tun::Tun;

use crate::lab::net::enter;

/// Largest packet: the devices' MTU.
const PACKET_BYTES_MAX: usize = 1500;

/// Packets on the way in one direction; more are lost, as on a full link.
const PACKETS_MAX: usize = 100_000;

/// An end of the wire: a namespace and the device's name in it.
pub type End = (String, String);

/// A pair of TUN devices, with a thread that carries packets between them after a delay.
#[derive(Debug)]
pub struct DelayedWire {
    one_way_ns: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DelayedWire {
    /// Lays a wire; its devices have no addresses and are down.
    pub fn lay(ends: [End; 2], one_way: Duration) -> Result<Self> {
        let one_way_ns = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, readiness) = sync_channel(1);
        let delay = Arc::clone(&one_way_ns);
        let thread = std::thread::Builder::new().name("lab-wire".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime.context("making the wire's runtime") {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let laid = runtime.block_on(async { connect(&ends, &delay) });
            let failed = laid.is_err();
            if ready.send(laid).is_ok() && !failed {
                // The sender is dropped to say stop; the carrying tasks end with the runtime.
                drop(runtime.block_on(stopped));
            }
        });
        let thread = thread.context("starting the wire's thread")?;
        readiness.recv().context("the wire's thread ended")??;
        let wire = Self { one_way_ns, stop: Some(stop), thread: Some(thread) };
        wire.set_delay(one_way);
        Ok(wire)
    }

    /// Changes the delay of packets that set out from now on.
    pub fn set_delay(&self, one_way: Duration) {
        let nanos = u64::try_from(one_way.as_nanos()).unwrap_or(u64::MAX);
        self.one_way_ns.store(nanos, Ordering::Relaxed);
    }
}

impl Drop for DelayedWire {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn connect(ends: &[End; 2], delay: &Arc<AtomicU64>) -> Result<()> {
    let [one, other] = ends;
    let (one, other) = (Arc::new(open(one)?), Arc::new(open(other)?));
    carry(Arc::clone(&one), Arc::clone(&other), Arc::clone(delay));
    carry(other, one, Arc::clone(delay));
    Ok(())
}

/// A device belongs to the namespace that the thread is in when it is opened.
fn open((namespace, device): &End) -> Result<Tun> {
    enter(namespace)?;
    let mut made = Tun::builder().name(device).build().context("opening a TUN device")?;
    made.pop().context("no TUN device")
}

fn carry(from: Arc<Tun>, to: Arc<Tun>, delay: Arc<AtomicU64>) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(PACKETS_MAX);
    tokio::spawn(async move {
        let mut buffer = [0; PACKET_BYTES_MAX];
        while let Ok(length) = from.recv(&mut buffer).await {
            let wait = Duration::from_nanos(delay.load(Ordering::Relaxed));
            let Some(due) = Instant::now().checked_add(wait) else { break };
            let packet = buffer.get(..length).unwrap_or_default().to_vec();
            // A full queue loses the packet, and TCP learns that the link is full.
            drop(sender.try_send((due, packet)));
        }
    });
    tokio::spawn(async move {
        while let Some((due, packet)) = queue.recv().await {
            sleep_until(due).await;
            if to.send(&packet).await.is_err() {
                break;
            }
        }
    });
}
