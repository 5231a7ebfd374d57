//! Letters are sent once, whatever goes wrong.

use ff_sdk::{BoxError, Payload, State, Submission, TaskContext};
use ff_sim::{Service, Sim};

/// The outside world: a service that sends letters, and remembers which.
#[derive(Default)]
struct Post {
    sent: Vec<String>,
}

/// The handler that is tested, as it would run in production.
async fn send_letter(
    task: TaskContext,
    Payload(name): Payload<String>,
    post: State<Service<Post>>,
) -> Result<String, BoxError> {
    let letter = format!("{}: hello {name}", task.execution_id());
    let send = move |post: &mut Post| {
        if !post.sent.contains(&letter) {
            post.sent.push(letter);
        }
    };
    post.call("send a letter", send).await?;
    Ok(format!("wrote to {name}"))
}

#[ff_sim::test(seeds = 200)]
async fn each_letter_is_sent_once(sim: Sim) {
    let post = sim.service("post", Post::default());
    let given = post.clone();
    sim.workers(2, move |runtime| runtime.handle("letter", send_letter).state(given.clone()));

    let client = sim.client().await;
    let letter = Submission::new("letter").json(&"Ada").unwrap();
    let id = client.submit(letter.idempotency_key("letter-to-ada")).await.unwrap().id();
    let result = client.result(&id).await.unwrap();
    sim.settle().await;

    let sent = post.look(|post| post.sent.len());
    assert!(sent <= 1, "{sent} letters were sent");
    assert!(!result.is_success() || sent == 1, "no letter was sent");
}
