//! Several instances of Portico as one: over one database, one Redis and the same simulated nodes.

use std::sync::Arc;

use futures::future::join_all;
use portico::sim::Node;

use super::config::Config;
use super::pool::{Pool, start_nodes};
use super::postgres::Postgres;
use super::redis::Redis;

/// Instances to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    config: Config,
    instances: usize,
    with_redis: bool,
    own_postgres: bool,
}

/// Running instances; each is a [`Pool`] with a data directory and ports of its own, in front of the same nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Dropped in this order: nobody outlives what it needs.
    instances: Vec<Pool>,
    nodes: Arc<Vec<Node>>,
    redis: Option<Redis>,
    postgres: Server,
    database: String,
    /// Holds files that the configuration names.
    _config: Config,
}

#[derive(Debug)]
enum Server {
    Shared(&'static Postgres),
    Own(Box<Postgres>),
}

impl Plan {
    /// So many instances with one configuration. The database is a new one on the server that the tests
    /// share; Redis is one of their own.
    pub(crate) fn new(config: Config, instances: usize) -> Self {
        Self { config, instances, with_redis: true, own_postgres: false }
    }

    /// Instances that only share a database.
    pub(crate) fn without_redis(self) -> Self {
        Self { with_redis: false, ..self }
    }

    /// On a PostgreSQL of their own, which the test may stop.
    pub(crate) fn own_postgres(self) -> Self {
        Self { own_postgres: true, ..self }
    }

    /// Starts nodes and instances, all at once, and waits until each instance is ready.
    pub(crate) async fn start(self) -> Cluster {
        let postgres = if self.own_postgres {
            Server::Own(Box::new(Postgres::start_new()))
        } else {
            Server::Shared(Postgres::shared())
        };
        let database = postgres.get().create_database();
        let redis = self.with_redis.then(Redis::start_new);
        let mut config = self.config.set("store.kind", "postgres");
        config = config.set("store.url", postgres.get().url(&database));
        if let Some(redis) = &redis {
            config = config.set("redis.url", redis.url());
        }
        let nodes = Arc::new(start_nodes(&config).await);
        let start = |_| Pool::start_sharing(config.another(), nodes.clone());
        let instances = join_all((0..self.instances).map(start)).await;
        Cluster { instances, nodes, redis, postgres, database, _config: config }
    }
}

impl Server {
    fn get(&self) -> &Postgres {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

impl Cluster {
    /// One of the instances; 0 is the first.
    pub(crate) fn instance(&self, index: usize) -> &Pool {
        &self.instances[index]
    }

    /// The same, to be killed and started again.
    pub(crate) fn instance_mut(&mut self, index: usize) -> &mut Pool {
        &mut self.instances[index]
    }

    /// All instances.
    pub(crate) fn instances(&self) -> &[Pool] {
        &self.instances
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The same, for tasks.
    pub(crate) fn shared_nodes(&self) -> Arc<Vec<Node>> {
        self.nodes.clone()
    }

    /// How often a call was made to all nodes together.
    pub(crate) fn node_calls(&self, call: &str) -> usize {
        self.nodes.iter().map(|node| node.calls(call)).sum()
    }

    /// Their database server. Only one that was started with [`Plan::own_postgres`] may be stopped.
    pub(crate) fn postgres(&self) -> &Postgres {
        self.postgres.get()
    }

    /// The name of their database.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Their Redis.
    ///
    /// # Panics
    /// When they were started without.
    pub(crate) fn redis(&self) -> &Redis {
        self.redis.as_ref().expect("they have one")
    }
}
