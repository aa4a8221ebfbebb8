//! A Go program with one connection.

use portico::bbb::jwt;
use serde_json::{Value, json};

use super::decoded::{DATABASE, MIGRATION, STATUS, decodes};
use crate::b3scale_api::{KEY, json_of};
use crate::harness::{Pool, Raw, Reply};

/// A program of b3scale's with its connection.
pub(super) struct Go {
    pub(super) raw: Raw,
    pub(super) host: String,
    pub(super) agent: &'static str,
    token: String,
}

/// How the body of a request is framed.
#[derive(Clone, Copy)]
pub(super) enum Framing {
    Length,
    Chunks,
}

impl Go {
    pub(super) async fn start(pool: &Pool, agent: &'static str, scope: &str, sub: &str) -> Self {
        let address = pool.admin_address();
        // As the programs make them: without an end.
        let claims = json!({
            "scope": scope, "sub": sub, "iat": 1_763_700_000, "jti": "ZGVmYXVsdC1pZC1vZi0yNCEh",
        });
        let raw = Raw::connect(address).await;
        Self { raw, host: address.to_string(), agent, token: jwt::hs384(&claims, KEY) }
    }

    pub(super) async fn ctl(pool: &Pool) -> Self {
        Self::start(pool, "b3scalectl/1.4.0", "b3scale:admin", "b3scalectl").await
    }

    /// Go writes Host, User-Agent and the framing first, then the others in their order, its own encoding last.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        framing: Framing,
    ) -> Reply {
        let Self { host, agent, token, .. } = self;
        let has_body = matches!(method, "POST" | "PATCH");
        let length = body.len();
        let (framing, body) = match framing {
            Framing::Length if has_body => {
                (format!("Content-Length: {length}\r\n"), body.to_owned())
            }
            Framing::Length => (String::new(), String::new()),
            Framing::Chunks => (
                "Transfer-Encoding: chunked\r\n".to_owned(),
                format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            ),
        };
        let kind = if has_body { "Content-Type: application/json\r\n" } else { "" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{framing}\
             Authorization: Bearer {token}\r\n{kind}Accept-Encoding: gzip\r\n\r\n{body}"
        );
        self.raw.send(request).await;
        let reply = self.raw.reply().await.expect("an answer");
        assert_eq!(reply.header("content-type"), "application/json", "{}", reply.body);
        assert!(reply.body.ends_with('\n'), "{}", reply.body);
        reply
    }

    pub(super) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let reply = self.send(method, path, &body, Framing::Length).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
        json_of(&reply)
    }

    pub(super) async fn get(&mut self, path: &str) -> Value {
        self.call("GET", path, None, 200).await
    }

    /// With this every command begins; without `is_admin` it ends there.
    pub(super) async fn status(&mut self) {
        let status = self.get("/api/v1").await;
        decodes(&status, STATUS);
        decodes(&status["database"], DATABASE);
        decodes(&status["database"]["migration"], MIGRATION);
        assert_eq!((&status["api"], &status["is_admin"]), (&json!("v1"), &json!(true)));
    }

    pub(super) async fn one(&mut self, path: &str) -> Value {
        let list = self.get(path).await;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{path}: {list}");
        list[0].clone()
    }
}
