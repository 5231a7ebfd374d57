//! Documents, and pages without a visitor.

use maud::{DOCTYPE, Markup, html};

use crate::answer::Refusal;

/// An HTML document with this body.
pub(crate) fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · FlowFabric" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/assets/page.css";
                script type="module" src="/assets/page.js" {}
            }
            body { (body) }
        }
    }
}

/// A page without a visitor: the sign-in, and problems.
pub(crate) fn plain(title: &str, content: &Markup) -> Markup {
    let body = html! {
        main id="content" {
            p.brand { a href="/" { "FlowFabric" } }
            h1 { (title) }
            (content)
        }
    };
    document(title, &body)
}

/// The page of a refusal.
pub(crate) fn problem(refusal: &Refusal) -> Markup {
    let status = refusal.status();
    let title = status.canonical_reason().unwrap_or("Problem");
    plain(
        title,
        &html! {
            p.problem role="alert" { (refusal.message()) }
            p { a href="/" { "Go to the overview" } }
        },
    )
}
