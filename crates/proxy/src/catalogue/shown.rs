//! What views have made of a server's list.
//!
//! A view is built again whenever one of its servers changes or comes up. Without this memory the lists of all its other
//! servers would be rewritten each time, and a mesh with three hundred servers would begin with ninety thousand of them.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Views that are remembered for one list; a list that is in more of them is rewritten as before.
const VIEWS_MAX: usize = 16;

/// The forms of one list. A copy of the list begins without them.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Vec<Form>>);

/// The list as one view shows it, and all that this depends on beside the list itself.
#[derive(Debug)]
struct Form {
    view: Arc<str>,
    alias: Arc<str>,
    wrap: bool,
    names: Vec<(Arc<str>, Arc<str>)>,
    items: Vec<Bytes>,
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Shown {
    /// The items under these names (own and shown), rewritten by `make` unless this view has done so before.
    pub(super) fn get(
        &self,
        (view, alias, wrap): (&Arc<str>, &Arc<str>, bool),
        names: Vec<(Arc<str>, Arc<str>)>,
        make: impl FnOnce() -> Vec<Bytes>,
    ) -> Vec<Bytes> {
        let mut forms = self.0.lock();
        let known = forms.iter().position(|form| form.view == *view);
        if let Some(form) = known.and_then(|at| forms.get(at))
            && form.alias == *alias
            && form.wrap == wrap
            && form.names == names
        {
            return form.items.clone();
        }
        let items = make();
        let form = Form {
            view: Arc::clone(view),
            alias: Arc::clone(alias),
            wrap,
            names,
            items: items.clone(),
        };
        if let Some(place) = known.and_then(|at| forms.get_mut(at)) {
            *place = form;
        } else if forms.len() < VIEWS_MAX {
            forms.push(form);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn names(shown: &str) -> Vec<(Arc<str>, Arc<str>)> {
        vec![("own".into(), shown.into())]
    }

    #[test]
    fn a_list_is_rewritten_once_for_each_view_and_again_when_its_names_change() {
        let shown = Shown::default();
        let mut made = 0;
        let mut get = |view: &str, name: &str| {
            let items = shown.get((&view.into(), &"a".into(), true), names(name), || {
                made += 1;
                vec![Bytes::from(name.to_owned())]
            });
            (items[0].to_vec(), made)
        };
        assert_eq!(get("/one", "x"), (b"x".to_vec(), 1));
        assert_eq!(get("/one", "x"), (b"x".to_vec(), 1));
        assert_eq!(get("/two", "y"), (b"y".to_vec(), 2));
        assert_eq!(get("/one", "x"), (b"x".to_vec(), 2));
        assert_eq!(get("/one", "z"), (b"z".to_vec(), 3));
        assert_eq!(get("/one", "x"), (b"x".to_vec(), 4));
    }

    #[test]
    fn only_so_many_views_are_remembered() {
        let shown = Shown::default();
        for round in 1..=2 {
            for view in 0..=VIEWS_MAX {
                shown.get((&view.to_string().into(), &"a".into(), true), names("x"), Vec::new);
            }
            assert_eq!(shown.0.lock().len(), VIEWS_MAX, "{round}");
        }
    }
}
