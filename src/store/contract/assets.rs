//! What every store must do with files of tenants' looks.

use std::sync::Arc;

use crate::model::{Asset, AssetKey, AssetKind};
use crate::store::{SavedAsset, Store};

fn key(tenant: &str, kind: AssetKind) -> AssetKey {
    AssetKey { tenant: tenant.parse().unwrap(), kind }
}

pub(in crate::store) async fn a_look_comes_back_as_it_was_put(store: &dyn Store) {
    assert_eq!(store.list_assets().await.unwrap(), []);
    let (logo, css) = (key("acme", AssetKind::Logo), key("acme", AssetKind::Css));
    let foreign = key("other", AssetKind::Logo);
    assert_eq!(store.find_asset(&logo).await.unwrap(), None);

    let first = Arc::new(Asset::new("conf/first.png".into(), vec![0, 255, b'\'']));
    let second = Arc::new(Asset::new("conf/ü 2.svg".into(), vec![b'x'; 300_000]));
    store.put_asset(&logo, &first).await.unwrap();
    store.put_asset(&css, &first).await.unwrap();
    store.put_asset(&foreign, &first).await.unwrap();
    store.put_asset(&logo, &second).await.unwrap();
    let found = store.find_asset(&logo).await.unwrap().unwrap();
    assert_eq!((&found, found.bytes()), (&second, second.bytes()));
    assert_eq!(store.find_asset(&foreign).await.unwrap().unwrap(), first);

    let mut listed = store.list_assets().await.unwrap();
    listed.sort_by_key(|saved| (saved.key.tenant.to_string(), saved.key.kind));
    let saved = |key: &AssetKey, asset: &Asset| SavedAsset {
        key: key.clone(),
        path: asset.path().to_owned(),
        digest: asset.digest().to_owned(),
    };
    assert_eq!(listed, [saved(&logo, &second), saved(&css, &first), saved(&foreign, &first)]);

    store.remove_asset(&logo).await.unwrap();
    store.remove_asset(&logo).await.unwrap();
    assert_eq!(store.find_asset(&logo).await.unwrap(), None);
    assert_eq!(store.list_assets().await.unwrap().len(), 2);
}
