#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! The table holds together: every pair has a row, every row is reached, every refusal can be said.

use meshgate_mcp::REVISIONS;

use super::{Carriage, Feature, Link, ROWS, cannot, carriage, markdown};

#[test]
fn every_pair_of_revisions_has_a_row_for_every_feature_and_every_row_decides_some_pair() {
    let mut used = vec![false; ROWS.len()];
    for feature in Feature::ALL {
        for client in &REVISIONS {
            for server in &REVISIONS {
                for link in [Link::Stdio, Link::Http] {
                    let fits = ROWS.iter().position(|row| {
                        row.feature == feature
                            && (row.client.has)(client)
                            && (row.server.has)(server)
                            && row.link.is_none_or(|only| only == link)
                    });
                    used[fits.unwrap_or_else(|| panic!("{feature:?} {} {}", client.name, server.name))] = true;
                }
            }
        }
    }
    for (row, used) in ROWS.iter().zip(used) {
        assert!(used, "{row:?} is never reached");
    }
}

#[test]
fn questions_are_refused_exactly_where_a_revision_lacks_them() {
    for client in &REVISIONS {
        for server in &REVISIONS {
            let refused = |feature| matches!(carriage(feature, client, server, Link::Http), Carriage::Refused(_));
            let form = client.elicitation_form && server.elicitation_form;
            let url = client.elicitation_url && server.elicitation_url;
            assert_eq!(
                refused(Feature::ElicitationForm),
                !form,
                "{} {}",
                client.name,
                server.name
            );
            assert_eq!(
                refused(Feature::ElicitationUrl),
                !url,
                "{} {}",
                client.name,
                server.name
            );
            assert!(!refused(Feature::Sampling) && !refused(Feature::Roots) && !refused(Feature::Tools));
        }
    }
}

#[test]
fn words_are_filled_in_order_and_kept_where_nothing_is_given() {
    assert_eq!(
        cannot::NO_CAPABILITY.say(&["prompts/get", "prompts"]),
        "method `prompts/get` needs the capability `prompts`, which this server does not offer"
    );
    assert_eq!(cannot::UNPLACED.say(&[]), cannot::UNPLACED.words);
    // A name that looks like a place is not one.
    assert_eq!(cannot::QUESTION.say(&["{}"]).matches("{}").count(), 1);
}

#[test]
fn a_row_that_somebody_is_told_has_words_and_the_page_names_them_all() {
    let page = markdown();
    for one in cannot::ALL {
        assert_eq!(one.told == cannot::Told::Nobody, one.words.is_empty(), "{}", one.what);
        assert!(!one.why.is_empty() && !one.remedy.is_empty(), "{}", one.what);
        assert!(page.contains(one.what), "{}", one.what);
    }
    for feature in Feature::ALL {
        assert!(page.contains(&format!("\n| {} |", feature.name())), "{feature:?}");
    }
}
