//! The commands to a node that runs alone.

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_node_alone_is_steered_over_http() {
    let node = Node::start(Settings { control: true, ..Settings::default() }).await.unwrap();
    call(&node, "create", "name=Room&meetingID=room-1").await;
    let command = async |path: &str, form: &str| {
        post(node.address(), path, FORM, form.to_owned()).await.unwrap().status
    };
    assert_eq!(command("/sim/fault", "kind=status&status=503&call=create").await, 200);
    assert_eq!(command("/sim/fault?kind=delay&ms=1", "").await, 200);
    assert_eq!(command("/sim/attendees", "meetingID=room-1&count=3").await, 200);
    assert_eq!(command("/sim/load", "value=42").await, 200);
    assert_eq!(command("/sim/recording", "meetingID=room-1").await, 200);
    for nonsense in ["kind=delay", "kind=odd", "", "kind=status&status=7"] {
        assert_eq!(command("/sim/fault", nonsense).await, 400, "{nonsense}");
    }
    assert_eq!(command("/sim/attendees", "meetingID=nowhere&count=3").await, 400);
    assert_eq!(call(&node, "create", "name=Room&meetingID=room-2").await.status, 503);
    assert_eq!(get(node.address(), "/b3lb/load", "").await.unwrap().body, "42\n");

    let state: serde_json::Value =
        serde_json::from_str(&get(node.address(), "/sim/state", "").await.unwrap().body).unwrap();
    assert_eq!(state["fault"], "delay");
    assert_eq!(state["callFaults"]["create"], "status");
    assert_eq!(state["calls"]["create"], 2);
    assert_eq!(state["meetings"][0]["participants"], 3);

    assert_eq!(command("/sim/end", "meetingID=room-1").await, 200);
    assert!(node.meetings()[0].ended);
    assert_eq!(command("/sim/fault", "kind=refuse&ms=300").await, 200);
    let closed = async || get(node.address(), "/", "").await.is_err();
    let wait = async {
        while !closed().await {}
        while closed().await {}
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it goes down and comes back");
    node.stop().await;
}
