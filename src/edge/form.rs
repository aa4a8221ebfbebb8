//! Forms in parts (`multipart/form-data`) as the query strings they stand for.

use std::convert::Infallible;

use bytes::Bytes;
use multer::{Multipart, parse_boundary};

use crate::bbb::Params;

/// The boundary that a content type names.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    parse_boundary(content_type).ok()
}

/// The text fields in their order; files, which no call takes this way, are left out. `None` if it is no
/// such form.
pub(super) async fn from_parts(body: Vec<u8>, boundary: &str) -> Option<Vec<u8>> {
    let whole = futures::stream::once(async { Ok::<_, Infallible>(Bytes::from(body)) });
    let mut parts = Multipart::new(whole, boundary);
    let mut params = Params::default();
    while let Some(field) = parts.next_field().await.ok()? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        if field.file_name().is_none() {
            params.push(&name, &field.text().await.ok()?);
        }
    }
    Some(params.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_become_parameters_in_their_order() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nA & B\r\n\
            --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.pdf\"\r\n\r\nPDF\r\n\
            --x\r\nContent-Disposition: form-data; name=\"meetingID\"\r\n\r\nm\r\n--x--\r\n";
        let boundary = boundary("multipart/form-data; boundary=x").expect("a boundary");
        let form = from_parts(body.into(), &boundary).await.expect("a form");
        assert_eq!(String::from_utf8_lossy(&form), "name=A+%26+B&meetingID=m");
        assert_eq!(from_parts(b"nothing of the kind".to_vec(), &boundary).await, None);
    }
}
