//! The description of the routes as an OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::routes;

/// The body of every error.
#[derive(Serialize, ToSchema)]
struct Problem {
    error: ProblemDetail,
}

/// The description of an error.
#[derive(Serialize, ToSchema)]
struct ProblemDetail {
    /// The kind of error, such as `not_found` or `stale_lease`.
    kind: String,
    /// A text for people.
    message: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The values of the error, by its kind.
    #[schema(value_type = Option<Object>)]
    details: Option<serde_json::Value>,
}

/// The statuses that any route may answer with, and their meaning.
const ERRORS: [(&str, &str); 12] = [
    ("400", "The request is not valid."),
    ("401", "The token is missing or not known."),
    ("403", "The role of the token does not allow this."),
    ("404", "It does not exist, or the token does not see it."),
    ("405", "The route has no such method."),
    ("408", "The body was not received in time."),
    ("409", "The call contradicts an earlier one or the state of its object."),
    ("413", "The body or a value is too large."),
    ("415", "The body is not sent as JSON."),
    ("429", "The token has sent too many requests."),
    ("503", "The store cannot be reached, or the service shuts down."),
    ("504", "The store did not answer in time; the call may have been applied."),
];

/// Returns the OpenAPI document.
pub fn document() -> OpenApi {
    let (_, mut document) = routes::all().split_for_parts();
    complete(&mut document);
    document
}

/// Adds what all routes have in common.
pub(crate) fn complete(document: &mut OpenApi) {
    document.info.title = "FlowFabric".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(
        "Durable executions over HTTP. A token, if the service requires one, is sent as \
         `Authorization: Bearer TOKEN`."
            .to_owned(),
    );
    let components = document.components.get_or_insert_default();
    for (name, schema) in [
        ("Problem".to_owned(), <Problem as utoipa::PartialSchema>::schema()),
        ("ProblemDetail".to_owned(), <ProblemDetail as utoipa::PartialSchema>::schema()),
    ] {
        components.schemas.insert(name, schema);
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert("token".to_owned(), RefOr::T(bearer));
    let required = SecurityRequirement::new("token", Vec::<String>::new());
    let optional = SecurityRequirement::default();
    document.security = Some(vec![required, optional]);
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            for (status, meaning) in ERRORS {
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(meaning)));
            }
        }
    }
}

fn problem(meaning: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(meaning).content("application/json", content).build()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The format `int64`, which utoipa gives to a `u64`, has half of its values.
    #[test]
    fn the_times_of_a_filter_have_no_sign() {
        let document = serde_json::to_value(document()).unwrap();
        let parameters = document["paths"]["/v1/executions"]["get"]["parameters"].as_array();
        let is_time = |one: &&Value| one["name"].as_str().unwrap().starts_with("created_");
        let formats = parameters.unwrap().iter().filter(is_time);
        let formats: Vec<_> = formats.map(|one| one["schema"]["format"].as_str()).collect();
        assert_eq!(formats, [Some("uint64"), Some("uint64")]);
    }
}
