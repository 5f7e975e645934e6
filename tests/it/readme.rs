//! The README's commands do what the README says.

use std::process::Command;

use crate::support::{Db, TestApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_curl_examples_work() {
    let readme = include_str!("../../README.md");
    let app = TestApp::offline(Db::Sqlite).await;
    let shell = readme
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let examples: Vec<&str> = shell.filter(|block| block.contains("curl")).collect();
    assert_eq!(examples.len(), 4);
    let token = app.token("ann", "user").await;
    let mut outputs = Vec::new();
    for example in examples {
        let script = example
            .replace("http://127.0.0.1:8080", &app.url)
            .replace("$(cargo run --quiet -- token --sub ann)", &token);
        let run = tokio::task::spawn_blocking(move || {
            Command::new("bash")
                .args(["-ec", &script])
                .output()
                .unwrap()
        });
        let output = run.await.unwrap();
        assert!(output.status.success(), "{example}");
        outputs.push(String::from_utf8(output.stdout).unwrap());
    }
    assert!(
        outputs[0].starts_with("retry: 1000\nid: "),
        "{}",
        outputs[0]
    );
    assert!(
        outputs[0].contains("Anna") && outputs[0].contains(r#""is_final":true"#),
        "{}",
        outputs[0]
    );
    assert!(outputs[1].contains("John"), "{}", outputs[1]);
    assert!(
        outputs[2].contains(r#""active_agent":"scheduling""#),
        "{}",
        outputs[2]
    );
    assert_eq!(
        app.history("my-browser").await,
        Vec::<String>::new(),
        "it begins anew"
    );
    assert!(outputs[3].contains(r#""ai_message":{"#), "{}", outputs[3]);
}
