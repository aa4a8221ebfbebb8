//! A balancer of connections in front of several instances, as keepalived with LVS or `HAProxy` in mode tcp is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::http::request;
use super::pool::Pool;
use super::wait::eventually;

/// Between two looks at `/readyz`.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// An instance that takes longer to say so is not ready.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// Looks in a row that change its mind, in either direction.
const CHECKS: usize = 2;

/// Spreads connections over the instances that are ready, one after the other. It tries one instance for each
/// connection, so that a refused one is the client's to notice; connections that stand go on whatever
/// `/readyz` says.
#[derive(Debug)]
pub(crate) struct Balancer {
    address: SocketAddr,
    backends: Arc<[Backend]>,
    _stop: DropGuard,
    _serves: AbortOnDropHandle<()>,
}

/// One that does not serve yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug)]
struct Backend {
    public: SocketAddr,
    admin: SocketAddr,
    is_up: AtomicBool,
}

impl Bound {
    /// Where front ends will connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to serve and waits until it has found all of these ready.
    pub(crate) async fn start(self, instances: &[Pool]) -> Balancer {
        let backend = |pool: &Pool| Backend {
            public: pool.address(),
            admin: pool.admin_address(),
            is_up: AtomicBool::new(false),
        };
        let backends: Arc<[Backend]> = instances.iter().map(backend).collect();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for index in 0..backends.len() {
            let (backends, stop) = (backends.clone(), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(check(&backends[index])).await;
            });
        }
        let serves = serve(self.listener, backends.clone(), stop.clone(), tasks);
        let balancer = Balancer {
            address: self.address,
            backends,
            _stop: stop.drop_guard(),
            _serves: AbortOnDropHandle::new(tokio::spawn(serves)),
        };
        for index in 0..balancer.backends.len() {
            balancer.becomes(index, true).await;
        }
        balancer
    }
}

impl Balancer {
    /// Takes an address, for those that must know it before they start.
    pub(crate) async fn bind() -> Bound {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        Bound { listener, address }
    }

    /// Where front ends connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until an instance gets connections, or gets none.
    pub(crate) async fn becomes(&self, index: usize, is_up: bool) {
        let backend = &self.backends[index];
        let agrees = async || backend.is_up.load(Ordering::SeqCst) == is_up;
        eventually("the balancer has changed its mind", agrees).await;
    }
}

async fn serve(
    listener: TcpListener,
    backends: Arc<[Backend]>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let up: Vec<_> =
            backends.iter().filter(|backend| backend.is_up.load(Ordering::SeqCst)).collect();
        if up.is_empty() {
            continue;
        }
        let chosen = up[turn.fetch_add(1, Ordering::Relaxed) % up.len()].public;
        let stop = stop.clone();
        tasks.spawn(async move {
            let relay = async {
                let mut instance = TcpStream::connect(chosen).await?;
                instance.set_nodelay(true)?;
                client.set_nodelay(true)?;
                copy_bidirectional(&mut client, &mut instance).await
            };
            // However it ends, the client sees it.
            stop.run_until_cancelled(relay).await.and_then(Result::ok);
        });
    }
}

async fn check(backend: &Backend) {
    let mut contrary = 0;
    loop {
        let host = backend.admin.to_string();
        let answer = request(backend.admin, Method::GET, &host, "/readyz", &[], "");
        let answer = timeout(CHECK_WITHIN, answer).await;
        let is_ready = answer.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == 200));
        if is_ready == backend.is_up.load(Ordering::SeqCst) {
            contrary = 0;
        } else {
            contrary += 1;
            if contrary == CHECKS {
                backend.is_up.store(is_ready, Ordering::SeqCst);
                contrary = 0;
            }
        }
        sleep(CHECK_EVERY).await;
    }
}
