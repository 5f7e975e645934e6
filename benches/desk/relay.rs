//! The bare relay: what actix and reqwest cost alone, and so the best that frontdesk could reach
//! on them.

use actix_web::{App, HttpResponse, HttpServer, web};

pub fn run(upstream: &str) {
    let url = format!("{upstream}/v1/chat/completions");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = HttpServer::new(move || {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            App::new()
                .app_data(web::Data::new((client, url.clone())))
                .default_service(web::post().to(pass))
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        println!("{}", listener.local_addr().unwrap());
        server
            .tcp_nodelay(true)
            .listen(listener)
            .unwrap()
            .run()
            .await
            .unwrap();
    });
}

async fn pass(to: web::Data<(reqwest::Client, String)>, body: web::Bytes) -> HttpResponse {
    let call =
        to.0.post(&to.1)
            .header("content-type", "application/json")
            .body(body);
    let response = call.send().await.unwrap();
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(response.bytes_stream())
}
