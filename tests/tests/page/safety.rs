//! The requests that the page and its cookie do not allow.

use ff_sdk::{LaneState, Submission};
use ff_server::Role;

use crate::browser::{Browser, with_browser};
use crate::service::{Service, add_token, submit};

async fn sign_in(page: &Browser, token: &str) {
    page.fill("#token", token).await;
    page.click("form.stack button").await;
}

/// Signs out, and waits until the service has ended the session.
async fn sign_out(page: &Browser) {
    page.click("form.caller button").await;
    page.find("#token").await;
    assert_eq!(page.path().await, "/login");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_decide_who_sees_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.toml");
    let operator = add_token(&path, 1, Role::Operate, "ff");
    let other = add_token(&path, 2, Role::Operate, "other");
    let submitter = add_token(&path, 3, Role::Submit, "ff");
    let service = Service::with_tokens(&path).await;
    let id = submit(&service.client("ff").await, Submission::new("secret-kind")).await;
    let execution = format!("/executions/{}", id.url_safe());

    with_browser(&service.url(), async |page| {
        page.open(&execution).await;
        assert_eq!(page.path().await, "/login");
        sign_in(page, "ff_wrong").await;
        page.sees("The token is not known").await;
        assert!(page.driver.cookies().await.is_empty());

        sign_in(page, &other).await;
        page.sees("not found").await;
        assert_eq!(page.path().await, execution, "the page that was asked for first");
        for path in ["/executions", "/", "/lanes", "/waiting"] {
            page.open(path).await;
            page.find("header nav").await;
            assert!(!page.text().await.contains("secret-kind"), "{path}");
        }
        for path in [&*execution, "/executions?namespace=ff", "/?namespace=ff"] {
            page.open(path).await;
            page.sees("not found").await;
            assert!(!page.text().await.contains("secret-kind"), "{path}");
        }
        page.open("/").await;
        sign_out(page).await;

        page.open(&execution).await;
        sign_in(page, &submitter).await;
        page.sees("secret-kind").await;
        assert!(!page.text().await.contains("Cancel"), "submit may not cancel");
        let cookies = page.driver.cookies().await;
        assert!(!cookies[0].contains(&submitter[3..]), "the cookie is not the token");
        assert_eq!(page.script("done(document.cookie)").await, "", "a script has no cookie");
        page.open("/").await;
        sign_out(page).await;

        page.open(&execution).await;
        sign_in(page, &operator).await;
        page.sees("Cancel").await;
        // The session ends with its token.
        std::fs::write(&path, "").expect("the file is written");
        while page.path().await != "/login" {
            page.open("/").await;
        }
    })
    .await;
}

/// A cookie permits reading; a change also needs the value that only pages of the service have.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_alone_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.toml");
    let token = add_token(&path, 1, Role::Admin, "*");
    let service = Service::with_tokens(&path).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (status, reply) = service.call("POST /login", &form, &format!("token={token}")).await;
    assert_eq!(status, 303);
    let (_, cookie) = reply.split_once("set-cookie: ").expect("a cookie");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"));
    let cookie = cookie.split(';').next().expect("a value");
    let with_cookie = [form[0], ("cookie", cookie)];

    let (status, page) = service.call("GET /lanes", &with_cookie, "").await;
    assert_eq!(status, 200);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src \
        'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors \
        'none'; base-uri 'none'\r\n";
    for header in [policy, "x-content-type-options: nosniff", "referrer-policy: no-referrer"] {
        assert!(page.contains(header), "{header}");
    }
    assert!(page.contains("cache-control: no-store"));
    let (_, csrf) = page.split_once("name=\"csrf\" value=\"").expect("a value");
    let (csrf, _) = csrf.split_once('"').expect("a value");
    let wrong = csrf.replace(|c: char| c.is_ascii_digit(), "a");
    let change = "lane=mail&state=paused";
    for (body, wanted) in [
        (change.to_owned(), 403),
        (format!("{change}&csrf="), 403),
        (format!("{change}&csrf={wrong}"), 403),
        (format!("{change}&csrf={csrf}"), 303),
    ] {
        assert_eq!(service.call("POST /lanes", &with_cookie, &body).await.0, wanted, "{body}");
    }
    let without_cookie = service.call("POST /lanes", &form, &format!("{change}&csrf={csrf}")).await;
    assert_eq!(without_cookie.0, 303);
    assert!(without_cookie.1.contains("location: /login"));

    // The routes for programs.
    let json = [("content-type", "application/json"), ("cookie", cookie)];
    let body = r#"{"kind":"x"}"#;
    assert_eq!(service.call("GET /v1/executions", &json, "").await.0, 200);
    assert_eq!(service.call("POST /v1/executions", &json, body).await.0, 403);
    let with_value = [json[0], json[1], ("x-csrf-token", csrf)];
    assert_eq!(service.call("POST /v1/executions", &with_value, body).await.0, 201);
    let bearer = format!("Bearer {token}");
    let with_token = [json[0], ("authorization", &*bearer)];
    assert_eq!(service.call("POST /v1/executions", &with_token, body).await.0, 201);
}

/// Without tokens, every program on the host may do everything, but pages of other sites may not.
#[tokio::test(flavor = "multi_thread")]
async fn another_site_changes_nothing_at_a_service_without_tokens() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    let id = submit(&client, Submission::new("send").lane("mail")).await;
    let cancel = format!("POST /v1/executions/{}/cancel", id.url_safe());
    let (_, page) = service.call("GET /lanes", &[], "").await;
    let (_, csrf) = page.split_once("name=\"csrf\" value=\"").expect("a value");
    let (csrf, _) = csrf.split_once('"').expect("a value");
    let change = format!("lane=mail&state=paused&csrf={csrf}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    for other in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
    ] {
        assert_eq!(service.call(&cancel, &[other], "").await.0, 403, "{other:?}");
        let answer = service.call("POST /lanes", &[form, other], &change).await;
        assert_eq!(answer.0, 403, "{other:?}");
    }
    // A name that a site resolves to a loopback address.
    let rebound = ("host", "evil.example:80");
    for call in ["GET /", "GET /v1/executions", "GET /lanes", &cancel] {
        assert_eq!(service.call(call, &[rebound], "").await.0, 403, "{call}");
    }
    with_browser(&service.url(), async |page| {
        let post = format!(
            "data:text/html,<form method=post action={}/lanes><input name=lane value=mail>\
             <input name=state value=paused><input name=csrf value={csrf}>\
             <button>x</button></form>",
            service.url()
        );
        page.driver.goto(&post).await;
        page.click("button").await;
        page.sees("a page of another site may not change anything here").await;

        page.open("/lanes").await;
        let status = page
            .script(
                "fetch('/lanes', {method: 'POST', \
                 body: new URLSearchParams({lane: 'mail', state: 'paused'})})\
                 .then((answer) => done(answer.status))",
            )
            .await;
        assert_eq!(status, 403, "without the value of the page");
    })
    .await;
    let lanes = client.lanes().await.expect("the lanes are read");
    assert!(lanes.iter().all(|lane| lane.setting.state == LaneState::Active));
    assert_eq!(service.call(&cancel, &[], "").await.0, 204, "a program may");
}

/// The browser keeps the files of the page, and asks whether they have changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_page_have_a_tag_of_their_content() {
    let service = Service::start().await;
    for file in ["GET /assets/page.css", "GET /assets/page.js"] {
        let (status, reply) = service.call(file, &[], "").await;
        assert_eq!(status, 200);
        let (_, tag) = reply.split_once("etag: ").expect("a tag");
        let tag = tag.split("\r\n").next().expect("a value");
        assert_eq!(tag.len(), 66, "a strong tag: {tag}");
        assert_eq!(service.call(file, &[("if-none-match", tag)], "").await.0, 304);
        assert_eq!(service.call(file, &[("if-none-match", "\"x\"")], "").await.0, 200);
    }
}
