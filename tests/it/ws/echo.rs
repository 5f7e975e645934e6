//! The echo endpoint, for WebSocket protocol test suites; `scripts/autobahn` runs one.

use super::*;

both! {
    everything_is_said_once_more_where_it_is_wanted
}

async fn everything_is_said_once_more_where_it_is_wanted(db: Db) {
    let app = TestApp::start(db).await;
    let url = |app: &TestApp| format!("{}/ws/echo", app.url.replace("http", "ws"));
    assert_eq!(refused(url(&app)).await, 404);
    let app = TestApp::with(db, |settings| settings.server.ws_echo = true).await;
    let mut socket = connect_async(url(&app)).await.unwrap().0;
    let most = vec![7; 64 * 1024];
    for said in [Message::text("Hi"), Message::binary(most)] {
        socket.send(said.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), said);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    // The server closes the connection.
    assert!(timeout(PATIENCE, socket.next()).await.unwrap().is_none());
}
