//! Whether answers are as openapi.json says.

use std::collections::BTreeMap;

use http::Method;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::harness::Reply;

/// What openapi.json says.
pub(super) struct Description {
    document: Value,
    /// By route, status and kind of content.
    schemas: BTreeMap<(String, String, String), Validator>,
}

/// A word of a query.
pub(super) struct Word {
    pub(super) name: String,
    /// Whether any text is a value.
    pub(super) is_text: bool,
}

impl Description {
    pub(super) fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.body);
        let mut document: Value = serde_json::from_str(&reply.body).expect("JSON");
        let mut schemas = BTreeMap::new();
        // A key of an answer that is not described is a mistake here, whatever clients may think of it.
        let mut components = document["components"].clone();
        close(&mut components);
        for (path, item) in object(&document["paths"]) {
            for (method, operation) in object(item) {
                for (status, response) in object(&operation["responses"]) {
                    for (kind, content) in object(&response["content"]) {
                        let mut schema = content["schema"].clone();
                        close(&mut schema);
                        let Value::Object(mut schema) = schema else { continue };
                        schema.insert("components".to_owned(), components.clone());
                        let validator = jsonschema::draft202012::options()
                            .should_validate_formats(true)
                            .build(&Value::Object(schema))
                            .unwrap_or_else(|error| panic!("{method} {path} {status}: {error}"));
                        let route = format!("{} {path}", method.to_uppercase());
                        schemas.insert((route, status.clone(), kind.clone()), validator);
                    }
                }
            }
        }
        document["components"] = components;
        Self { document, schemas }
    }

    /// Every route, with its method.
    pub(super) fn routes(&self) -> impl Iterator<Item = (String, &str)> {
        object(&self.document["paths"]).flat_map(|(path, item)| {
            object(item).map(move |(method, _)| (method.to_uppercase(), path.as_str()))
        })
    }

    /// Panics where an answer is none of those that its route may give.
    #[track_caller]
    pub(super) fn check(&self, method: &Method, path: &str, reply: &Reply, what: &str) {
        let (route, status) = (format!("{method} {path}"), reply.status.as_u16().to_string());
        let response = &self.operation(method, path)["responses"][&status];
        assert!(response.is_object(), "{what}: {status} is not described: {}", reply.body);
        for (name, _) in object(&response["headers"]) {
            // Only where there is something to keep from caches.
            if name != "Cache-Control" {
                assert!(reply.headers.contains_key(name), "{what}: no {name}");
            }
        }
        let kind = reply.header("content-type").split(';').next().unwrap_or_default().to_owned();
        let kinds: Vec<_> = object(&response["content"]).map(|(kind, _)| kind.as_str()).collect();
        if kinds.is_empty() {
            assert_eq!(reply.body, "", "{what}: an answer without content");
            return;
        }
        if kinds == ["*/*"] {
            return;
        }
        assert!(kinds.contains(&kind.as_str()), "{what}: {kind} is not one of {kinds:?}");
        let body: Value = serde_json::from_str(&reply.body).expect("JSON");
        let validator = &self.schemas[&(route, status, kind)];
        let wrong: Vec<_> = validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{body:#}");
    }

    /// The words of a route's query.
    pub(super) fn query(&self, method: &Method, path: &str) -> Vec<Word> {
        let parameters = self.operation(method, path)["parameters"].as_array();
        let words = parameters.into_iter().flatten().filter(|one| one["in"] == "query");
        words
            .map(|word| Word {
                name: word["name"].as_str().expect("a name").to_owned(),
                is_text: {
                    let kind = &word["schema"]["type"];
                    *kind == "string" || *kind == json!(["string", "null"])
                },
            })
            .collect()
    }

    /// Whether a route takes `If-Match`.
    pub(super) fn takes_tag(&self, method: &Method, path: &str) -> bool {
        let parameters = self.operation(method, path)["parameters"].as_array();
        parameters.into_iter().flatten().any(|one| one["name"] == "If-Match")
    }

    fn operation(&self, method: &Method, path: &str) -> &Value {
        &self.document["paths"][path][method.as_str().to_lowercase()]
    }
}

/// Lets no object have a key that it is not said to have.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields
                .get("properties")
                .is_some_and(|all| all.get("type").is_none_or(Value::is_object))
                && !fields.contains_key("additionalProperties")
            {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
