//! Which connections are kept, for whom, and for how long.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Wake, Waker};

use tokio::runtime::{self, Runtime};
use tokio::sync::{Barrier, Notify, mpsc};

use super::super::pool::{IDLE_PER_NODE, IDLE_TIMEOUT, SWEEP_EVERY};
use super::*;

/// Says the same after each request on a connection, for as long as there are requests.
async fn keeps_saying(answer: &'static str) -> Raw {
    Raw::start(move |_, mut stream| async move {
        while request(&mut stream).await.is_some() {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn idle(client: &Client) -> usize {
    client.shared.pool.count().0
}

fn origin(node: &Raw) -> &str {
    node.url.as_str().strip_suffix("/bigbluebutton/api").unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_after_an_answer_that_was_read_to_its_end() {
    for answer in [
        OK,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 404 Gone\r\nContent-Length: 4\r\n\r\nhtml",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    ] {
        let (node, client) = (keeps_saying(answer).await, client());
        node.get(&client).await.unwrap();
        assert_eq!(idle(&client), 1, "{answer}");
        node.get(&client).await.unwrap();
        assert_eq!((idle(&client), node.accepted()), (1, 1), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_when_it_cannot_be_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    ] {
        let (node, client) = (keeps_saying(answer).await, client());
        assert_eq!(node.get(&client).await.unwrap().body, "ok");
        assert_eq!(idle(&client), 0, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_while_its_request_is_going_out() {
    let (node, client) = (keeps_saying(OK).await, client());
    let mut body = super::upload::body([], Some(9));
    body.body = http_body_util::StreamBody::new(futures::stream::pending()).boxed();
    let call = client.call(&node.url, "create", QUERY, Some(body), PLENTY, 9).await;
    assert_eq!((call.unwrap().body, idle(&client)), ("ok".into(), 0));
}

#[tokio::test]
async fn an_answer_that_was_not_read_takes_its_connection_with_it() {
    let (node, client) = (keeps_saying(OK).await, client());
    let url = &node.url;
    let too_large = client.call(url, "getMeetings", QUERY, None, PLENTY, 1).await;
    assert_eq!((kind(&too_large.unwrap_err()), idle(&client)), ("too_large", 0));

    let enough = &mut |_: &[u8]| ControlFlow::Break(());
    let status = client.stream(url, "getMeetings", QUERY, PLENTY, 1000, enough).await;
    assert_eq!((status.unwrap(), idle(&client)), (200, 0));

    let node = keeps_saying("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nhtml").await;
    let status = client.stream(&node.url, "getMeetings", QUERY, PLENTY, 1000, enough).await;
    assert_eq!((status.unwrap(), idle(&client)), (502, 0));
    let load = client.fetch_load(&node.url, PLENTY).await;
    assert_eq!((kind(&load.unwrap_err()), idle(&client)), ("load", 0));

    let node = keeps_saying("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nht").await;
    let late = client.call(&node.url, "getMeetings", QUERY, None, SHORT, 1000).await;
    assert_eq!((kind(&late.unwrap_err()), idle(&client)), ("timeout", 0));
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let (sender, mut ends) = mpsc::unbounded_channel();
    let node = Raw::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            request(&mut stream).await;
            sender.send("asked").unwrap();
            request(&mut stream).await;
            sender.send("closed").unwrap();
        }
    })
    .await;
    let client = client();
    tokio::select! {
        _ = node.get(&client) => unreachable!("there is no answer"),
        asked = ends.recv() => assert_eq!(asked, Some("asked")),
    }
    assert_eq!(ends.recv().await, Some("closed"));
    assert_eq!(idle(&client), 0);
}

#[tokio::test]
async fn a_connection_that_the_node_closed_while_idle_is_not_sent_on() {
    let (sender, mut closed) = mpsc::unbounded_channel();
    let close = Arc::new(Notify::new());
    let now = close.clone();
    let node = Raw::start(move |_, mut stream| {
        let (sender, now) = (sender.clone(), now.clone());
        async move {
            request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            now.notified().await;
            drop(stream);
            sender.send(()).unwrap();
        }
    })
    .await;
    let client = client();
    // A POST is never repeated, so each has to find a connection that works.
    for calls in 1..9 {
        let body = super::upload::body([], Some(0));
        let call = client.call(&node.url, "create", QUERY, Some(body), PLENTY, 9).await;
        assert_eq!(call.unwrap().body, "ok");
        assert_eq!((idle(&client), node.accepted()), (1, calls));
        close.notify_one();
        closed.recv().await.unwrap();
        // The runtime looks for news of its sockets between two turns.
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_runtime_has_connections_of_its_own() {
    let nodes = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let nodes = nodes.unwrap();
    let node = nodes.block_on(keeps_saying(OK));
    let client = client();
    let one = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = |runtime: &Runtime| {
        assert_eq!(runtime.block_on(node.get(&client)).unwrap().body, "ok");
        node.accepted()
    };
    let (first, second) = (one(), one());
    assert_eq!([call(&first), call(&second)], [1, 2]);
    assert_eq!([call(&first), call(&second)], [2, 2]);
    drop(first);
    assert_eq!((call(&one()), idle(&client)), (3, 3));
}

#[tokio::test]
async fn no_more_connections_are_kept_than_needed() {
    let callers = IDLE_PER_NODE + 3;
    let all_here = Arc::new(Barrier::new(callers));
    let node = Raw::start(move |_, mut stream| {
        let all_here = all_here.clone();
        async move {
            request(&mut stream).await;
            all_here.wait().await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            request(&mut stream).await;
        }
    })
    .await;
    let client = client();
    futures::future::join_all((0..callers).map(|_| node.get(&client))).await;
    assert_eq!((idle(&client), node.accepted()), (IDLE_PER_NODE, callers));
}

#[tokio::test]
async fn an_idle_connection_is_given_up_in_time() {
    let (node, client) = (keeps_saying(OK).await, client());
    let pool = &client.shared.pool;
    node.get(&client).await.unwrap();
    let now = Instant::now();
    let almost = now + IDLE_TIMEOUT - Duration::from_secs(1);
    let connection = pool.take(origin(&node), almost).unwrap();
    assert_eq!(idle(&client), 0);
    pool.put_back(origin(&node), connection, now);
    assert!(pool.take(origin(&node), now + IDLE_TIMEOUT).is_none());
    assert_eq!(idle(&client), 0);
}

#[tokio::test]
async fn connections_of_nodes_that_nobody_asks_any_more_are_given_up() {
    let (gone, busy, client) = (keeps_saying(OK).await, keeps_saying(OK).await, client());
    let pool = &client.shared.pool;
    gone.get(&client).await.unwrap();
    busy.get(&client).await.unwrap();
    assert_eq!(pool.count(), (2, 2));
    let now = Instant::now();
    let use_busy = |now| {
        let connection = pool.take(origin(&busy), now).unwrap();
        pool.put_back(origin(&busy), connection, now);
        pool.count()
    };
    let almost = now + IDLE_TIMEOUT - Duration::from_secs(1);
    assert_eq!(use_busy(almost), (2, 2));
    // Not looked for each time.
    assert_eq!(use_busy(now + IDLE_TIMEOUT), (2, 2));
    assert_eq!(use_busy(almost + SWEEP_EVERY), (1, 1));
}

/// Wakes another, and counts.
struct Counting {
    wakes: AtomicUsize,
    task: Mutex<Option<Waker>>,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        if let Some(task) = &*self.task.lock().unwrap() {
            task.wake_by_ref();
        }
    }
}

#[tokio::test]
async fn a_call_does_not_wake_its_own_task() {
    let (node, client) = (keeps_saying(OK).await, client());
    node.get(&client).await.unwrap();
    let counting = Arc::new(Counting { wakes: AtomicUsize::new(0), task: Mutex::new(None) });
    let counted = Waker::from(counting.clone());
    let mut call = pin!(node.get(&client));
    let answer = std::future::poll_fn(|cx| {
        *counting.task.lock().unwrap() = Some(cx.waker().clone());
        call.as_mut().poll(&mut Context::from_waker(&counted))
    })
    .await;
    assert_eq!(answer.unwrap().body, "ok");
    let wakes = || counting.wakes.load(Ordering::SeqCst);
    // By the socket, when the answer was there.
    assert_eq!(wakes(), 1);
    // Nor does an idle connection wake anybody when the node closes it.
    node.task.abort();
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    assert_eq!((wakes(), idle(&client)), (1, 1));
}
