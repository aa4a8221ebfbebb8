//! What a client writes, and how: all of it reaches the node as it was written, by `create` and by the link that a `join`
//! leads to. Only what is ours to change differs: the meeting's id, our own callbacks, the checksum.
//! And what must not stand on a request line, which some clients leave there all the same, comes encoded: nobody on the
//! way may stumble over it.

use std::fmt::Write as _;

use portico::bbb::{Algorithm, checksum};

use crate::harness::{Config, Pool, Raw, Reply, Tenant};

/// What stands before the meeting's id, and what behind it.
const ROWS: [(&str, &str, &str); 13] = [
    ("spaces", "name=A+b%20c%2Bd&", "&welcome=+a++b%20%20c+"),
    ("UTF-8 as it is", "name=Café+日本&", "&welcome=ü😀"),
    ("UTF-8 encoded", "name=Caf%C3%A9&", "&welcome=%e6%97%a5%E6%9c%ac&meta_Course-Title=%c3%BC"),
    ("no UTF-8", "name=Algebra&", "&welcome=%E9%ff&%fe=%00"),
    ("empty values", "name=Algebra&a=&flag&", "&b=&=x&=&end"),
    ("empty items", "&&name=Algebra&&", "&&a=b&&&c=d&&"),
    ("repeated", "name=First&zz=1&", "&zz=2&name=Second&zz=1"),
    ("unknown", "name=Algebra&unknown=1&", "&Unknown=2&userdata-x_y=z&plugin_a%2Fb=c&mychecksum=d"),
    ("names encoded", "%6e%61me=Algebra&", "&%75nknown=1&un+known=2"),
    ("signs", "name=A~*'()!$,;:@/?b&", "&welcome=%3Cb%3E/~*'()&x=a=b==c"),
    ("signs out of place", "name=Algebra&", r"&welcome={b}|\^`&x=[]"),
    ("broken escapes", "name=Algebra&", "&welcome=100%&x=%zz&y=%4"),
    ("numbers and case", "NAME=1&name=Algebra&", "&Record=maybe&maxParticipants=007&duration=+5"),
];

/// Where the checksum stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    First,
    Middle,
    Last,
}

/// Sends everything, signed with each hash, and compares what comes to the node.
pub(crate) async fn whatever_a_client_writes_reaches_the_node() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let long = format!("&welcome={}%20+&end", "a%C3%BC+".repeat(1_024));
    assert!(long.len() > 8 * 1_024);
    let rows = ROWS.into_iter().chain([("8 KiB", "name=Algebra&", long.as_str())]);
    let places = [Place::First, Place::Middle, Place::Last];
    let cells = rows.flat_map(|row| places.map(|place| (row, place)));
    for (number, ((what, before, after), place)) in cells.enumerate() {
        let algorithm = Algorithm::ALL[number % Algorithm::ALL.len()];
        let id = format!("room-{number}");
        let told = format!("{what}, {place:?}, {algorithm}");

        let created = send(&pool, "create", algorithm, (before, &id, after), place).await;
        assert!(created.is_success(), "{told}: {}", created.body);
        let seen = pool.node(0).requests();
        let seen = seen.iter().rfind(|seen| seen.path.ends_with("/create")).expect("a create");
        let expected =
            |before: &str| format!("{}meetingID={id}%40acme{}", sendable(before), sendable(after));
        let sum = seen.query.rsplit("checksum=").next().unwrap_or_default();
        assert_eq!(sum.len(), 64, "sha256 is the default towards nodes");
        let received = match seen.query.rsplit_once("&checksum=") {
            Some((query, _sum)) => query,
            // What is too long for a URL comes as a form.
            None => std::str::from_utf8(&seen.body_start).expect("UTF-8"),
        };
        let (received, _ours) = received.rsplit_once("&meetingEndedURL=").expect("our callback");
        assert_eq!(received, expected(before), "{told}");
        assert_eq!(seen.method == http::Method::POST, what == "8 KiB", "{told}");

        let before = format!("fullName=Ada+L.&role=VIEWER&{before}");
        let joined = send(&pool, "join", algorithm, (&before, &id, after), place).await;
        assert_eq!(joined.status, 302, "{told}: {}", joined.body);
        let location = std::str::from_utf8(joined.headers["location"].as_bytes()).expect("UTF-8");
        let (link, _sum) = location.rsplit_once("&checksum=").expect("a checksum at the end");
        let expected = expected(&before);
        assert_eq!(link, format!("{}/join?{expected}", pool.node(0).url()), "{told}");
    }
    let metadata = |meeting: portico::sim::MeetingState| meeting.metadata;
    let read: Vec<_> = pool.node(0).meetings().into_iter().flat_map(metadata).collect();
    assert_eq!(read, vec![("course-title".to_owned(), "ü".to_owned()); 3]);
}

/// With what is no ASCII encoded, and some signs that libraries refuse.
fn sendable(text: &str) -> String {
    let mut sendable = String::new();
    for byte in text.bytes() {
        if byte.is_ascii() && !b"\"<>`{}|\\^".contains(&byte) {
            sendable.push(char::from(byte));
        } else {
            write!(sendable, "%{byte:02X}").expect("text");
        }
    }
    sendable
}

/// Sends these very bytes, which no library would let through.
async fn send(
    pool: &Pool,
    call: &str,
    algorithm: Algorithm,
    (before, id, after): (&str, &str, &str),
    place: Place,
) -> Reply {
    let client = pool.tenant("acme");
    let meeting = format!("meetingID={id}{after}");
    let sum = checksum(algorithm, call, format!("{before}{meeting}").as_bytes(), &client.secret);
    let query = match place {
        Place::First => format!("checksum={sum}&{before}{meeting}"),
        Place::Middle => format!("{before}checksum={sum}&{meeting}"),
        Place::Last => format!("{before}{meeting}&checksum={sum}"),
    };
    let target = format!("{}/{call}?{query}", client.base);
    let mut raw = Raw::connect(pool.address()).await;
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", client.host)).await;
    raw.reply().await.expect("an answer")
}
