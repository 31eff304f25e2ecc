//! `walk`: steps along edges, by their labels.

use crate::file::Named;
use crate::file::read::{Reader, Value};
use crate::{HopLabel, View, ViewKind, nearest};

/// A walk of more steps touches most of any graph.
const HOPS_MAX: usize = 8;
const WALK_REMEDY: &str = "write \"LABEL>\" along the edges, \"<LABEL\" against them";

pub(super) fn hops(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    views: &[Named<View>],
) -> Option<Vec<HopLabel>> {
    let said = reader.strings(value, "walk")?;
    if said.len() > HOPS_MAX {
        reader.wrong(
            value.span(),
            format!("a walk of {} steps", said.len()),
            format!("take up to {HOPS_MAX}: each step multiplies what is read"),
        );
        return None;
    }
    let labels: Vec<&str> = views.iter().filter_map(|(_, view)| label_of(view.as_ref()?)).collect();
    let hops: Vec<Option<HopLabel>> =
        said.into_iter().map(|(text, item)| hop(reader, text, item, &labels, views)).collect();
    hops.into_iter().collect()
}

fn hop(
    reader: &mut Reader<'_>,
    text: &str,
    item: &Value<'_>,
    labels: &[&str],
    views: &[Named<View>],
) -> Option<HopLabel> {
    let (label, against) = match (text.strip_prefix('<'), text.strip_suffix('>')) {
        (Some(label), None) => (label, true),
        (None, Some(label)) => (label, false),
        _ => {
            reader.wrong(item.span(), format!("`{text}` does not say in which direction to go"), WALK_REMEDY);
            return None;
        }
    };
    if labels.contains(&label) {
        return Some(HopLabel { label: label.into(), against });
    }
    // A view that could not be read may have it.
    if views.iter().all(|(_, view)| view.is_some()) {
        let remedy = match nearest(label, labels.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if labels.is_empty() => "no view has edges: add one, [views.NAME] with from = \"table\" and \
                                          edge = { source = \"column\", label = \"LABEL\", target = \"column\" }"
                .to_owned(),
            None => format!("the labels are {}", labels.join(", ")),
        };
        reader.missing(item.span(), format!("no view has edges with the label `{label}`"), remedy);
    }
    None
}

fn label_of(view: &View) -> Option<&str> {
    match &view.kind {
        ViewKind::Edge(edge) => Some(&edge.label),
        _ => None,
    }
}
