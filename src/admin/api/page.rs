//! The description of the API as a page: made from the same routes, without scripts.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    code,pre{font-family:ui-monospace,monospace}h3 b{display:inline-block;min-width:4.5rem}\
    table{border-collapse:collapse;width:100%}td,th{border:1px solid #8886;padding:.25rem .5rem;text-align:left;\
    vertical-align:top}section{border-top:1px solid #8886;margin-top:1.5rem}:root{color-scheme:light dark}";

/// The page of a description as it is served.
pub(super) fn page(description: &Value) -> Markup {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&description["info"]["title"])) " API" }
                style { (STYLE) }
            }
            body {
                h1 { (text(&description["info"]["title"])) " API" }
                p { (text(&description["info"]["description"])) }
                p {
                    "Every call needs " code { "Authorization: Bearer …" } " with a token of "
                    code { "portico token create" } ". What is refused is told as "
                    code { "application/problem+json" } " (RFC 9457). For programs: "
                    a href="openapi.json" { "openapi.json" } "."
                }
                @for (path, item) in fields(&description["paths"]) {
                    @for (method, operation) in fields(item) { (call(method, path, operation)) }
                }
                h2 { "Objects" }
                @for (name, schema) in fields(&description["components"]["schemas"]) {
                    section id=(name) {
                        h3 { (name) }
                        p { (text(&schema["description"])) }
                        (properties(schema))
                    }
                }
            }
        }
    }
}

fn call(method: &str, path: &str, operation: &Value) -> Markup {
    html! {
        section {
            h3 { b { (method.to_uppercase()) } " " code { (path) } }
            p {
                (operation["summary"].as_str().unwrap_or_default())
                @if let Some(more) = operation["description"].as_str() { br; (more) }
            }
            @if let Some(parameters) = operation["parameters"].as_array() {
                table {
                    @for parameter in parameters {
                        tr {
                            td { code { (parameter["name"].as_str().unwrap_or_default()) } }
                            td { (parameter["in"].as_str().unwrap_or_default()) }
                            td { (kind(&parameter["schema"])) }
                            td { (parameter["description"].as_str().unwrap_or_default()) }
                        }
                    }
                }
            }
            @if operation["requestBody"].is_object() { p { "Takes: " (content(&operation["requestBody"])) } }
            p {
                @for (status, answer) in fields(&operation["responses"]) {
                    @if status.starts_with('2') {
                        b { (status) } " " (answer["description"].as_str().unwrap_or_default()) ": "
                        (content(answer)) " "
                    } @else { code { (status) } " " }
                }
            }
        }
    }
}

fn content(body: &Value) -> Markup {
    html! {
        @for (_, content) in fields(&body["content"]) { (kind(&content["schema"])) }
    }
}

fn properties(schema: &Value) -> Markup {
    let required = schema["required"].as_array();
    let is_required = |name: &str| {
        required.is_some_and(|required| required.iter().any(|one| one.as_str() == Some(name)))
    };
    html! {
        table {
            @for (name, property) in fields(&schema["properties"]) {
                tr {
                    td { code { (name) } @if is_required(name) { " *" } }
                    td { (kind(property)) }
                    td { (property["description"].as_str().unwrap_or_default()) }
                }
            }
        }
    }
}

/// What a value may be, with links to objects.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return html! { a href={ "#" (name) } { (name) } };
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return html! {
            @for (number, choice) in choices.iter().enumerate() {
                @if number > 0 { " or " }
                (kind(choice))
            }
        };
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => html! { "list of " (kind(&schema["items"])) },
        Value::String(word) => html! { (word) },
        Value::Array(words) => html! {
            @for word in words.iter().filter_map(Value::as_str).filter(|word| *word != "null") {
                (word)
            }
        },
        _ => html! {},
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
