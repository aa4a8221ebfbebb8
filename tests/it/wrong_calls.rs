//! Methods that a path of the operators' API has not.

use http::Method;

use crate::api::{Operator, config, json_of};
use crate::harness::Pool;

#[tokio::test]
async fn a_call_that_a_path_has_not_is_told_with_those_that_it_has() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    for (method, path, calls) in [
        (Method::PUT, "/nodes/node0", "GET, HEAD, PATCH, DELETE"),
        (Method::DELETE, "/capacity", "GET, HEAD"),
        (Method::POST, "/openapi.json", "GET, HEAD"),
        (Method::GET, "/nodes/node0/state", "PUT"),
    ] {
        let refused = admin.call(method, path, None).await;
        assert_eq!(refused.status, 405, "{}", refused.body);
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let sorted = |text: &str| {
            let mut calls: Vec<_> = text.split([',', ' ']).map(ToOwned::to_owned).collect();
            calls.retain(|call| !call.is_empty());
            calls.sort();
            calls
        };
        assert_eq!(sorted(refused.header("allow")), sorted(calls), "{path}");
        let told = json_of(&refused);
        let detail = told["detail"].as_str().expect("a text");
        let said = detail.strip_prefix("there is no such call of this path: it has ");
        assert_eq!(said.map(sorted), Some(sorted(calls)), "{path}: {detail}");
    }
    let ours = "portico_api_requests_total{api=\"portico\",method=\"DELETE\",status=\"405\"}";
    assert!(pool.metrics().await.get(ours) > 0.5, "they are counted as ever");
}
