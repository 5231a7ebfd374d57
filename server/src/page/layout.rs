//! The frame of all pages, and the parts that they share.

use std::time::{Duration, UNIX_EPOCH};

use ff_sdk::{CountedState, DurationMs, ExecutionId, PublicState, TimestampMs};
use maud::{Markup, Render, html};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::frame::document;
use super::link::Link;
use super::visitor::Visitor;

/// The pages, in the order of the navigation: the path and the title.
const PAGES: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/executions", "Executions"),
    ("/waiting", "Waiting for people"),
    ("/workers", "Workers"),
    ("/lanes", "Lanes"),
    ("/limits", "Quotas and budgets"),
];

/// The last millisecond of the year 9999, the latest time that can be formatted.
const MAX_TIME_MS: u64 = 253_402_300_799_999;

/// A page with its content.
pub(crate) fn page(visitor: &Visitor, title: &str, content: &Markup) -> Markup {
    let body = html! {
        a.skip href="#content" { "Skip to the content" }
        header {
            p.brand { a href=(visitor.link("/")) { "FlowFabric" } }
            nav aria-label="Pages" {
                @for (path, title) in PAGES {
                    a href=(visitor.link(path))
                        aria-current=[is_within(&visitor.path, path).then_some("page")] { (title) }
                }
            }
            (namespaces(visitor))
            (caller(visitor))
        }
        main id="content" tabindex="-1" {
            h1 { (title) }
            @if let Some(done) = visitor.done.as_deref().and_then(message) {
                p.done role="status" { (done) }
            }
            (content)
        }
        footer {
            p {
                "All times are in UTC. "
                span #live { "This page shows one moment: reload it for newer data." }
            }
        }
    };
    document(title, &body)
}

/// Whether a path is that of a page, or of one below it.
fn is_within(path: &str, page: &str) -> bool {
    let rest = path.strip_prefix(page);
    rest.is_some_and(|rest| rest.is_empty() || (page != "/" && rest.starts_with('/')))
}

/// The switch of the namespace: a list of those that the caller sees, or a field for its name.
fn namespaces(visitor: &Visitor) -> Markup {
    let (now, seen) = (visitor.client.namespace(), visitor.caller.namespaces());
    let is_only = matches!(seen, Some([_]));
    let action =
        if visitor.path.starts_with("/executions/") { "/executions" } else { &*visitor.path };
    html! {
        @if is_only {
            p.namespace { "Namespace " strong { (now) } }
        } @else {
            form.namespace action=(action) method="get" {
                label for="namespace" { "Namespace" }
                @match seen {
                    Some(seen) => select #namespace name="namespace" {
                        @for one in seen { option selected[one == now] { (one) } }
                    },
                    None => input #namespace name="namespace" value=(now) size="12"
                        spellcheck="false" autocomplete="off";,
                }
                button { "Switch" }
            }
        }
    }
}

fn caller(visitor: &Visitor) -> Markup {
    html! {
        @if visitor.app.tokens().are_required() {
            form.caller action="/logout" method="post" {
                (csrf(visitor))
                span { (visitor.caller.name) " (" (visitor.caller.role.name()) ")" }
                button { "Sign out" }
            }
        }
    }
}

/// The message for what was done before, by the name in the address.
fn message(done: &str) -> Option<&'static str> {
    Some(match done {
        "cancelled" => "The execution was cancelled.",
        "replayed" => "The execution was replayed: it runs again.",
        "revoked" => "The lease was revoked: another worker can take the execution over.",
        "priority" => "The priority was changed.",
        "resumed" => "The execution was resumed.",
        "signalled" => "The signal was accepted.",
        "repeated" => "The waitpoint had this signal already.",
        "lane" => "The lane was changed. All programs follow within about a second.",
        "drained" => "The worker claims nothing more, and ends what it has.",
        _ => return None,
    })
}

/// The field that shows that a form is of this service.
pub(crate) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf.as_str()); }
}

/// The hidden fields of a form that changes something. The id makes a repeat of the form harmless.
pub(crate) fn hidden(visitor: &Visitor) -> Markup {
    html! {
        (csrf(visitor))
        input type="hidden" name="request_id" value=(Uuid::new_v4());
    }
}

/// A time with its age or its distance.
pub(crate) struct At(pub(crate) TimestampMs, pub(crate) TimestampMs);

impl Render for At {
    fn render(&self) -> Markup {
        let Self(at, now) = *self;
        let iso = iso(at);
        let relative = match at > now {
            true => format!("in {}", lasting(at.since(now))),
            false => format!("{} ago", lasting(now.since(at))),
        };
        html! { time datetime=(iso) { span.iso { (iso) } " " span.age { "(" (relative) ")" } } }
    }
}

/// A time in UTC.
pub(crate) fn iso(at: TimestampMs) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.get().min(MAX_TIME_MS));
    humantime::format_rfc3339_millis(at).to_string()
}

/// A duration in its two largest units.
pub(crate) fn lasting(lasted: DurationMs) -> String {
    let ms = lasted.get();
    let unit = match ms {
        0..1_000 => return format!("{ms} ms"),
        1_000..3_600_000 => 1_000,
        3_600_000..86_400_000 => 60_000,
        _ => 3_600_000,
    };
    humantime::format_duration(Duration::from_millis(ms / unit * unit)).to_string()
}

/// The string that a value is in JSON, as words.
pub(crate) fn words(value: impl Serialize) -> String {
    json!(value).as_str().unwrap_or_default().replace('_', " ")
}

/// A state with its colour, which only repeats the word.
pub(crate) fn state(state: PublicState) -> Markup {
    html! { span.state data-state=(state.as_str()) { (words(state)) } }
}

/// A counted state, in words.
pub(crate) fn counted_state(state: CountedState) -> String {
    words(state)
}

/// A link to the page of an execution, with the end of its id.
pub(crate) fn execution_link(visitor: &Visitor, id: &ExecutionId) -> Markup {
    html! {
        a.id href=(execution_path(visitor, id)) title=(id) { (id.url_safe()) }
    }
}

/// The page of an execution.
pub(crate) fn execution_path(visitor: &Visitor, id: &ExecutionId) -> Link {
    visitor.link(format!("/executions/{}", id.url_safe()))
}

/// The count and the name of what is counted.
pub(crate) fn counted(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}
