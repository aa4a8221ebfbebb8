//! Adding, changing and removing what operators manage, for every dialect of the API.

use std::sync::Arc;

use log::{error, info};
use serde_json::json;

use super::Desk;
use super::caller::Who;
use super::problem::Problem;
use super::record;
use crate::chain::Chain;
use crate::inventory::InForce;
use crate::model::{
    AdminState, Asset, AssetKey, Change, Inventory, Kind, Object, ObjectName, Origin,
};
use crate::store::SavedNode;

/// An object of the inventory.
pub(in crate::admin) fn find(inventory: &Inventory, name: &ObjectName) -> Result<Object, Problem> {
    inventory.get(name).ok_or_else(|| Problem::not_found(name))
}

/// Refuses a change of what stands in the file.
fn check_managed(inventory: &Inventory, name: &ObjectName) -> Result<(), Problem> {
    match inventory.origin(name) {
        Origin::Api => Ok(()),
        Origin::File => Err(Problem::conflict(format!(
            "{name} stands in the configuration file: change it there and send SIGHUP"
        ))),
    }
}

/// The people of a running meeting would be sent to another server, which does not have it.
fn check_address(desk: &Desk, object: &Object) -> Result<(), Problem> {
    let Object::Node(node) = object else { return Ok(()) };
    let snapshot = desk.fleet.peek();
    let moves = snapshot.node(node.name.as_str()).is_some_and(|known| known.spec.url != node.url);
    if moves && desk.fleet.reaches_on(&node.name) {
        return Err(Problem::conflict(format!(
            "meetings run on node {} at another URL: wait until it is empty, or give the new server another name",
            node.name
        )));
    }
    Ok(())
}

/// Whether there is such an object, and the API may change it.
pub(in crate::admin) fn is_managed(desk: &Desk, name: &ObjectName) -> bool {
    let in_force = desk.keeper.in_force();
    find(&in_force.inventory, name).is_ok() && check_managed(&in_force.inventory, name).is_ok()
}

/// The same for a node of which it is clear already what is wanted, so that it never takes a meeting before.
pub(in crate::admin) async fn add_as(
    desk: &Desk,
    who: &Who,
    object: &Object,
    state: AdminState,
) -> Result<Arc<InForce>, Problem> {
    let Object::Node(node) = object else { return add(desk, who, object).await };
    if state == AdminState::Ready || find(&desk.keeper.in_force().inventory, &object.name()).is_ok()
    {
        return add(desk, who, object).await;
    }
    let saved = SavedNode { name: node.name.clone(), state, spec: Some(node.clone()) };
    desk.store.put_node(&saved).await?;
    let added = add(desk, who, object).await;
    let known = desk.fleet.peek().node(node.name.as_str()).cloned();
    if added.is_ok() {
        if known.is_some_and(|known| known.live.admin() != state) {
            // What was saved could not be read back.
            desk.keeper.set_node_state(&node.name, state, || Ok::<_, Problem>(())).await?;
        }
        let told = json!({"state": state.as_str()}).to_string();
        write_down(desk, who, "state", &object.name(), None, Some(told)).await;
        return added;
    }
    match known {
        None => desk.store.remove_node(&node.name).await?,
        // One that is retired stays what it was.
        Some(known) => {
            let (state, spec) = (known.live.admin(), Some(known.spec.clone()));
            let saved = SavedNode { name: node.name.clone(), state, spec };
            desk.store.put_node(&saved).await?;
        }
    }
    added
}

/// Adds an object, unless there is one of its name.
pub(in crate::admin) async fn add(
    desk: &Desk,
    who: &Who,
    object: &Object,
) -> Result<Arc<InForce>, Problem> {
    let name = object.name();
    let edit = |inventory: &mut Inventory| {
        put_new(desk, inventory, object)?;
        Ok(((), record::of_objects(who, "create", &name, None, Some(object))))
    };
    let changed = desk.keeper.change(&who.signature(), edit, None).await;
    let ((), in_force) = changed.map_err(|why| Problem::unchanged(why, &name))?;
    Ok(in_force)
}

/// Changes an object of the API, with a file that it is to have. `edit` makes the next one of the one in force.
pub(in crate::admin) async fn change(
    desk: &Desk,
    who: &Who,
    name: &ObjectName,
    edit: impl Fn(&Object) -> Result<Object, Problem>,
    file: Option<&(AssetKey, Arc<Asset>)>,
) -> Result<(Object, Arc<InForce>), Problem> {
    let told = |before: &Object, after: &Object| {
        record::of_objects(who, "update", name, Some(before), Some(after))
    };
    change_told(desk, who, name, edit, told, file).await
}

/// The same, with what the trail says of it.
pub(super) async fn change_told(
    desk: &Desk,
    who: &Who,
    name: &ObjectName,
    edit: impl Fn(&Object) -> Result<Object, Problem>,
    told: impl Fn(&Object, &Object) -> Change,
    file: Option<&(AssetKey, Arc<Asset>)>,
) -> Result<(Object, Arc<InForce>), Problem> {
    let edit = |inventory: &mut Inventory| {
        let (before, object) = put_changed(desk, inventory, name, &edit)?;
        let change = told(&before, &object);
        Ok((object, change))
    };
    let changed = desk.keeper.change(&who.signature(), edit, file).await;
    changed.map_err(|why| Problem::unchanged(why, name))
}

fn put_new(desk: &Desk, inventory: &mut Inventory, object: &Object) -> Result<(), Problem> {
    let name = object.name();
    if inventory.get(&name).is_some() {
        return Err(Problem::conflict(format!("there is a {name} already")));
    }
    check_address(desk, object)?;
    inventory.put(object.clone());
    Ok(())
}

/// What it was, and what it is now.
fn put_changed(
    desk: &Desk,
    inventory: &mut Inventory,
    name: &ObjectName,
    edit: impl Fn(&Object) -> Result<Object, Problem>,
) -> Result<(Object, Object), Problem> {
    let before = find(inventory, name)?;
    check_managed(inventory, name)?;
    let object = edit(&before)?;
    if object.name() != *name {
        let field = if name.kind == Kind::Tenant { "slug" } else { "name" };
        let detail = "cannot be changed: add another one and remove this one".to_owned();
        return Err(Problem::fields([(field.to_owned(), detail)]));
    }
    check_address(desk, &object)?;
    inventory.put(object.clone());
    Ok((before, object))
}

/// Refuses an object that [`add`] would refuse; nothing is added.
pub(super) fn check_new(desk: &Desk, object: &Object) -> Result<(), Problem> {
    let tried = desk.keeper.try_out(|inventory| put_new(desk, inventory, object));
    tried.map_err(|why| Problem::unchanged(why, &object.name()))
}

/// Refuses a change that [`change`] would refuse; else tells what the object is, and what it would be.
pub(super) fn check_changed(
    desk: &Desk,
    name: &ObjectName,
    edit: impl Fn(&Object) -> Result<Object, Problem>,
) -> Result<(Object, Object), Problem> {
    let tried = desk.keeper.try_out(|inventory| put_changed(desk, inventory, name, edit));
    tried.map_err(|why| Problem::unchanged(why, name))
}

/// Removes an object of the API that nothing uses.
pub(in crate::admin) async fn remove(
    desk: &Desk,
    who: &Who,
    name: &ObjectName,
    check: impl Fn(&Object) -> Result<(), Problem>,
) -> Result<Object, Problem> {
    let edit = |inventory: &mut Inventory| {
        let before = find(inventory, name)?;
        check_managed(inventory, name)?;
        check(&before)?;
        let users = users_of(inventory, name);
        if !users.is_empty() {
            return Err(Problem::conflict(format!(
                "{name} is used by {}: change these first",
                users.join(", ")
            )));
        }
        inventory.remove(name);
        let change = record::of_objects(who, "delete", name, Some(&before), None);
        Ok((before, change))
    };
    let changed = desk.keeper.change(&who.signature(), edit, None).await;
    let (before, _) = changed.map_err(|why| Problem::unchanged(why, name))?;
    Ok(before)
}

/// Who would be without something if this went.
fn users_of(inventory: &Inventory, name: &ObjectName) -> Vec<String> {
    let users: Vec<ObjectName> = match name.kind {
        Kind::Cluster => {
            let groups =
                inventory.groups.iter().filter(|group| group.clusters.contains(&name.name));
            let groups = groups.map(|group| ObjectName::new(Kind::ClusterGroup, &group.name));
            let nodes = inventory.nodes.iter().filter(|node| node.cluster == name.name);
            let nodes = nodes.map(|node| ObjectName::new(Kind::Node, node.name.as_str()));
            groups.chain(nodes).collect()
        }
        Kind::ClusterGroup => {
            let users = inventory.tenants.iter().filter(|tenant| tenant.cluster_group == name.name);
            users.map(|tenant| ObjectName::new(Kind::Tenant, tenant.slug.as_str())).collect()
        }
        Kind::Node | Kind::Tenant => Vec::new(),
    };
    users.iter().map(ToString::to_string).collect()
}

/// Writes down who has changed what.
pub(in crate::admin) async fn write_down(
    desk: &Desk,
    who: &Who,
    action: &str,
    name: &ObjectName,
    before: Option<String>,
    after: Option<String>,
) {
    let change = record::of_texts(who, action, name, before, after);
    keep(desk, who, change).await;
}

/// Keeps a change in the trail. It is made already, so a store that fails now does not undo it.
pub(in crate::admin) async fn keep(desk: &Desk, who: &Who, change: Change) {
    let Change { action, object, .. } = &change;
    info!("API: {action} of {object} by token {}", who.token);
    if let Err(trouble) = desk.store.add_change(&change).await {
        error!("API: a change is not in the trail: {}", Chain(&trouble));
    }
}
