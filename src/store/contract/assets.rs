//! What every store must do with files of tenants' looks.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Asset, AssetKey, AssetKind};
use crate::store::{SavedAsset, Store, WantedAsset};

fn key(tenant: &str, kind: AssetKind) -> AssetKey {
    AssetKey { tenant: tenant.parse().unwrap(), kind }
}

pub(in crate::store) async fn a_look_comes_back_as_it_was_put(store: &dyn Store) {
    assert_eq!(store.list_assets().await.unwrap(), []);
    let (logo, css) = (key("acme", AssetKind::Logo), key("acme", AssetKind::Css));
    let foreign = key("other", AssetKind::Logo);
    let find = async |key: &AssetKey, asset: &Asset| {
        let by_digest = store.find_asset(key, WantedAsset::Digest(asset.digest())).await.unwrap();
        let by_path = store.find_asset(key, WantedAsset::Path(asset.path())).await.unwrap();
        assert_eq!(by_digest, by_path);
        by_digest
    };
    let first = Arc::new(Asset::new("conf/first.png".into(), vec![0, 255, b'\'']));
    let second = Arc::new(Asset::new("conf/ü 2.svg".into(), vec![b'x'; 300_000]));
    store.put_asset(&logo, &first).await.unwrap();
    store.put_asset(&css, &first).await.unwrap();
    store.put_asset(&foreign, &first).await.unwrap();
    assert_eq!(find(&logo, &second).await, None);
    store.put_asset(&logo, &second).await.unwrap();
    let found = find(&logo, &second).await.unwrap();
    assert_eq!((&found, found.bytes()), (&second, second.bytes()));
    assert_eq!(find(&foreign, &first).await.unwrap(), first);
    assert_eq!(find(&foreign, &second).await, None);
    // What it takes the place of is there until it is forgotten.
    assert_eq!(find(&logo, &first).await.unwrap(), first);

    let mut listed = store.list_assets().await.unwrap();
    listed.sort_by_key(|saved| (saved.key.tenant.to_string(), saved.key.kind, saved.path.clone()));
    let saved = |key: &AssetKey, asset: &Asset| SavedAsset {
        key: key.clone(),
        path: asset.path().to_owned(),
        digest: asset.digest().to_owned(),
    };
    let [one, two] = [saved(&logo, &first), saved(&logo, &second)];
    let all = [one.clone(), two, saved(&css, &first), saved(&foreign, &first)];
    assert_eq!(listed, all);

    // Who has kept it just now is about to use it.
    store.remove_asset(&one, Duration::from_hours(1)).await.unwrap();
    assert_eq!(find(&logo, &first).await.unwrap(), first);
    store.remove_asset(&one, Duration::ZERO).await.unwrap();
    store.remove_asset(&one, Duration::ZERO).await.unwrap();
    assert_eq!(find(&logo, &first).await, None);
    assert_eq!(store.list_assets().await.unwrap().len(), 3);

    // The same content under another name takes the place of the one before.
    let renamed = Arc::new(Asset::new("logo.svg".into(), second.bytes().clone()));
    store.put_asset(&logo, &renamed).await.unwrap();
    assert_eq!(find(&logo, &renamed).await.unwrap(), renamed);
    assert_eq!(store.list_assets().await.unwrap().len(), 3);
}
