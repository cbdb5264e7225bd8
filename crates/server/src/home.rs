//! `GET /`: for people who open the address in a browser.

use http::{HeaderValue, Response, header};

use crate::address;
use crate::http::{Body, Request};
use crate::serve::Server;

/// Nothing is loaded or run; the style is in the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What this is and what to paste.
pub(crate) fn page(server: &Server, request: &Request) -> Response<Body> {
    let url = address::base_url(&server.node.config, request.headers());
    let mut response = Response::new(Body::from(html(&url)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}

fn html(url: &str) -> String {
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Granary</title>\n\
         <style>\n\
         body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}\n\
         pre {{ background: #8882; padding: .8rem 1rem; overflow-x: auto }}\n\
         :root {{ color-scheme: light dark }}\n\
         </style>\n\
         <h1>Granary</h1>\n\
         <p>A self-hosted hub for models, datasets and Spaces. This one speaks git and Git LFS.</p>\n\
         <h2>Clone</h2>\n\
         <pre>git clone {url}/NAMESPACE/NAME\n\
         git clone {url}/datasets/NAMESPACE/NAME\n\
         git clone {url}/spaces/NAMESPACE/NAME</pre>\n\
         <h2>Push</h2>\n\
         <pre>git remote add origin {url}/NAMESPACE/NAME\n\
         git lfs track '*.safetensors' && git add .gitattributes\n\
         git push -u origin main</pre>\n\
         <p>When git asks for a user name, give yours; when it asks for a password, give an access token.\n\
         Whoever runs this server makes both, and repositories:</p>\n\
         <pre>granary user create NAME\n\
         granary token create NAME --role write\n\
         granary repo create NAMESPACE/NAME</pre>\n\
         </html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_to_paste() {
        let page = html("https://hub.example.org");
        assert!(page.contains("git clone https://hub.example.org/NAMESPACE/NAME\n"), "{page}");
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">\n<meta"));
    }
}
