//! Questions of people to a server, outside of any pipeline.

use bytes::Bytes;

use crate::client::server::Server;
use crate::config::Config;

/// Where to ask, and as whom.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The server's HTTP address, `http://…` or `https://…`.
    pub endpoint: &'a str,
    /// The database of tables without one.
    pub database: &'a str,
    /// The user.
    pub username: &'a str,
    /// The user's password.
    pub password: &'a str,
}

/// The answer to a statement that only reads, in one of ClickHouse's formats.
///
/// # Errors
/// What is wrong with the address, or what the server says.
pub async fn ask(asked: &Asked<'_>, sql: &str, format: &str) -> Result<Bytes, String> {
    let config = Config {
        endpoint: asked.endpoint.to_owned(),
        database: asked.database.to_owned(),
        username: asked.username.to_owned(),
        password: asked.password.into(),
        ..Config::default()
    };
    let faults = config.problems();
    if !faults.is_empty() {
        let told: Vec<String> = faults.into_iter().map(|(key, why)| format!("{key}: {why}")).collect();
        return Err(told.join("; "));
    }
    let connection = config.connection().map_err(|faults| format!("{faults:?}"))?;
    Server::new(&config, &connection).ask_in(sql, format).await.map_err(|failure| failure.to_string())
}
