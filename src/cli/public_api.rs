//! b3scale's REST API for the public listener: the routes of the admin listener, as the edge asks them.

use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use log::error;
use tower::Service;

use crate::admin::Peer;
use crate::config::Api;
use crate::edge::{PublicApi, Unread};

/// The API with these routes, if the operator wants it to be public.
pub(super) fn public_api(settings: &Api, routes: Router) -> Option<PublicApi> {
    if !settings.public {
        return None;
    }
    Some(PublicApi::new(move |client: IpAddr, request: Request<Unread>| {
        let mut routes = routes.clone();
        Box::pin(async move {
            let mut request = request.map(|unread| Body::from_stream(stream::once(unread)));
            request.extensions_mut().insert(Peer(client));
            let Ok(response) = routes.call(request).await;
            let (head, body) = response.into_parts();
            match body.collect().await {
                Ok(body) => Response::from_parts(head, body.to_bytes()),
                Err(trouble) => {
                    error!("an answer of the API broke off: {trouble}");
                    let mut response = Response::new(Bytes::new());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        })
    }))
}
