//! The first start: an administrator, their token, and what to try.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use auth::TokenSecret;
use database::{CreateError, DbError, TokenRole};

use crate::Node;
use crate::config::PublicUrl;

/// The user that the first start makes.
pub const ADMIN: &str = "admin";

#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    #[error(transparent)]
    Token(#[from] auth::IssueError),
    #[error(transparent)]
    TokenStored(#[from] auth::ImportError),
    #[error("cannot create the user {ADMIN}: {0}")]
    User(#[from] CreateError),
    #[error("cannot write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Where the new token is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialToken {
    /// On the terminal that started the server.
    Shown(TokenSecret),
    /// In a file only its owner may read.
    File(PathBuf),
}

/// What the server says of itself on stdout.
#[derive(Debug)]
pub struct Announcement<'a> {
    pub url: &'a str,
    pub data_dir: &'a Path,
    pub binary: &'a Path,
    /// Of a first start.
    pub token: Option<InitialToken>,
}

/// Names a row that says how far the first start got: the administrator and the token are two transactions.
const PROGRESS: &str = "first-start";
const BEGUN: &str = "begun";
const DONE: &str = "done";

/// Creates the administrator and a token unless there are users; goes on where a first start was interrupted.
/// `on_terminal` decides how the token is handed over.
pub async fn first_start(node: &Node, on_terminal: bool) -> Result<Option<InitialToken>, FirstStartError> {
    let database = &node.database;
    let begun = database.setting(PROGRESS)?.as_deref() == Some(BEGUN);
    let admin = match database.user(ADMIN)? {
        Some(admin) if begun => Some(admin),
        None if database.users()?.is_empty() => None,
        _ => return Ok(None),
    };
    let secret = TokenSecret::generate()?;
    let token = if on_terminal {
        InitialToken::Shown(secret.clone())
    } else {
        // Before the rows: a crash in between leaves a token that is of no use, not a user without one.
        let path = node.data_dir().initial_token_path();
        write_secret(&path, &secret)
            .map_err(|source| FirstStartError::File { path: path.clone(), source })?;
        InitialToken::File(path)
    };
    database.set_setting(PROGRESS, BEGUN).await?;
    let admin = match admin {
        Some(admin) => admin,
        None => {
            let name = ADMIN.parse().expect("because the name is well-formed and not reserved");
            database.create_user(name, true).await?
        }
    };
    auth::import(database, admin.id, "initial".to_owned(), TokenRole::Write, &secret).await?;
    database.set_setting(PROGRESS, DONE).await?;
    tracing::info!(user = ADMIN, "first start: created an administrator and a token");
    Ok(Some(token))
}

/// The address to print for clients on this machine.
pub fn url(public: Option<&PublicUrl>, listening: std::net::SocketAddr) -> String {
    if let Some(public) = public {
        return public.to_string();
    }
    let mut address = listening;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().expect("because it is an address"));
    }
    format!("http://{address}")
}

/// As it can be pasted into a shell that stands in `working_directory`: relative if it lies below, quoted if needed.
pub fn pasteable(path: &Path, working_directory: Option<&Path>) -> String {
    let below = working_directory.and_then(|directory| path.strip_prefix(directory).ok());
    let text = match below {
        Some(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Some(below) => format!("./{}", below.display()),
        None => path.display().to_string(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-+=:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let working_directory = std::env::current_dir().ok();
        let paste = |path: &Path| pasteable(path, working_directory.as_deref());
        let (url, data_dir, granary) = (self.url, paste(self.data_dir), paste(self.binary));
        writeln!(f, "Granary is listening on {url} (data in {data_dir})")?;
        let Some(token) = &self.token else { return Ok(()) };
        let token = match token {
            InitialToken::Shown(secret) => format!("{}    (shown only now)", secret.expose()),
            InitialToken::File(path) => {
                format!("in {}    (delete the file once you have read it)", paste(path))
            }
        };
        write!(
            f,
            "\n\
             This is its first start. It has made an administrator:\n\
             \n\
             \x20 user:   {ADMIN}\n\
             \x20 token:  {token}\n\
             \n\
             Things to try in another terminal; git asks for a user name (any will do) and a password (the token):\n\
             \n\
             \x20 {granary} repo create {ADMIN}/hello --data-dir {data_dir}\n\
             \x20 git clone {url}/{ADMIN}/hello\n\
             \x20 cd hello\n\
             \x20 echo '# Hello' > README.md && git add README.md\n\
             \x20 git -c user.name={ADMIN} -c user.email={ADMIN}@localhost commit -m 'First commit'\n\
             \x20 git push origin HEAD\n"
        )
    }
}

fn write_secret(path: &Path, secret: &TokenSecret) -> io::Result<()> {
    // What an interrupted first start left would keep its mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::datadir::DataDir;

    #[tokio::test]
    async fn a_first_start_goes_on_where_it_was_interrupted() {
        for (progress, admin_there, gives_token) in [
            (None, false, true),
            (Some(BEGUN), false, true),
            (Some(BEGUN), true, true),
            (Some(DONE), true, false),
            // An operator's, from before.
            (None, true, false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let data_dir = DataDir::create(&directory.path().join("data")).unwrap();
            let node = Node::open(Config::default(), data_dir).await.unwrap();
            if let Some(progress) = progress {
                node.database.set_setting(PROGRESS, progress).await.unwrap();
            }
            if admin_there {
                node.database.create_user(ADMIN.parse().unwrap(), true).await.unwrap();
            }
            let token = first_start(&node, true).await.unwrap();
            assert_eq!(token.is_some(), gives_token, "{progress:?} {admin_there}");
            if let Some(InitialToken::Shown(secret)) = token {
                assert!(node.database.token_by_hash(&secret.sha256()).unwrap().is_some());
            }
            assert_eq!(first_start(&node, true).await.unwrap(), None, "done");
            node.close().await;
        }
    }

    #[test]
    fn addresses_to_print() {
        let url_of = |public: Option<&str>, listening: &str| {
            let public = public.map(|url| url.parse().unwrap());
            url(public.as_ref(), listening.parse().unwrap())
        };
        assert_eq!(url_of(None, "127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(url_of(None, "0.0.0.0:80"), "http://127.0.0.1:80");
        assert_eq!(url_of(None, "[::]:80"), "http://[::1]:80");
        assert_eq!(url_of(None, "10.0.0.7:80"), "http://10.0.0.7:80");
        assert_eq!(url_of(Some("https://hub/"), "0.0.0.0:80"), "https://hub");
    }

    #[test]
    fn paths_to_paste() {
        let here = Some(Path::new("/home/ann"));
        for (path, text) in [
            ("/home/ann/target/release/granary", "./target/release/granary"),
            ("/home/ann", "."),
            ("/srv/granary", "/srv/granary"),
            ("/home/ann/my data", "'./my data'"),
            ("/srv/it's", r"'/srv/it'\''s'"),
        ] {
            assert_eq!(pasteable(Path::new(path), here), text);
        }
    }

    #[test]
    fn the_first_start_prints_commands_and_later_ones_a_line() {
        let (data_dir, binary) = (Path::new("/srv/granary"), Path::new("/opt/granary"));
        let secret = TokenSecret::presented("hf_x".into());
        let first =
            Announcement { url: "http://h", data_dir, binary, token: Some(InitialToken::Shown(secret)) };
        let text = first.to_string();
        assert!(text.contains("\n  token:  hf_x    (shown only now)\n"), "{text}");
        assert!(
            text.contains("\n  /opt/granary repo create admin/hello --data-dir /srv/granary\n"),
            "{text}"
        );
        assert!(text.contains("\n  git clone http://h/admin/hello\n"), "{text}");

        let later = Announcement { token: None, ..first };
        assert_eq!(later.to_string(), "Granary is listening on http://h (data in /srv/granary)\n");
    }
}
