//! `init`: makes a hub, once, by command.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hub_store::SealingKey;

use super::{
    AUTHORITY_KEY, Authority, Context, DIR_VERSION, Error, HubFile, Identity, MAC_KEY, Name, Role, damaged, file,
    hosts, mac, random, random_hex,
};
use crate::dir::{Dir, State, sync_dir, write_durably};

/// What `init` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// The first administrator's context file.
    pub context: PathBuf,
}

/// Makes the directory of a new hub: id, keys, CA, an empty log, and the first administrator's
/// context. Everything is durable on return; an interruption leaves a directory that says so.
///
/// # Errors
/// The directory holds something, an address is wrong, or a file cannot be written.
pub async fn init(dir: &Dir, advertise: &[String], context: Option<&Path>, now: SystemTime) -> Result<Init, Error> {
    let root = dir.root().to_path_buf();
    if advertise.is_empty() {
        return Err(Error::BadHost(String::new()));
    }
    let hosts = hosts(advertise)?;
    match dir.state().map_err(|source| file(&root, source))? {
        State::Empty => {}
        State::Ready => return Err(Error::AlreadyInitialised(root)),
        State::HalfMade => return Err(Error::HalfMade(root)),
        State::Foreign => return Err(Error::Foreign(root)),
    }
    dir.create().map_err(|source| file(&root, source))?;
    write(&dir.init_marker(), b"an init of drover-hub did not end here\n")?;

    let hub = HubFile { version: DIR_VERSION, hub_id: random_hex(16)?, advertise: advertise.to_vec() };
    let sealing = SealingKey::create(&dir.sealing_key())?;
    let (authority, key) = Authority::create(&hub.hub_id, now)?;
    // A wrong host is better told now than at the first start.
    authority.server(&hosts, now)?;
    write(&dir.authority_certificate(), authority.roots_pem().as_bytes())?;
    write(&dir.authority_key(), &sealing.seal(AUTHORITY_KEY, key.as_bytes())?)?;
    write(&dir.mac_key(), &sealing.seal(MAC_KEY, &random(mac::KEY_BYTES)?)?)?;
    crate::log::init(dir).await?;

    let context = context.map_or_else(|| dir.context(), Path::to_path_buf);
    let admin = Name::Operator { role: Role::Admin, name: "admin".into() };
    let addresses = addresses(dir, advertise)?;
    write_context(&authority, &hub, &admin, addresses, &context, now)?;

    let text = serde_json::to_vec_pretty(&hub).map_err(|error| damaged(dir.hub_file(), error.to_string()))?;
    write(&dir.hub_file(), &text)?;
    std::fs::remove_file(dir.init_marker()).map_err(|source| file(&dir.init_marker(), source))?;
    sync_dir(dir.root()).map_err(|source| file(&root, source))?;
    Ok(Init { hub_id: hub.hub_id, context })
}

/// Makes a certificate and context file for a further operator.
///
/// # Errors
/// The directory was not initialised, the name is no plain one, or the file cannot be written.
pub fn operator(dir: &Dir, name: &str, role: Role, context: &Path, now: SystemTime) -> Result<(), Error> {
    HubFile::load(dir)?;
    let sealing = SealingKey::load(&dir.sealing_key())?;
    let Identity { hub, authority, .. } = Identity::load(dir, &sealing)?;
    let name = Name::Operator { role, name: name.to_owned() };
    let addresses = addresses(dir, &hub.advertise)?;
    write_context(&authority, &hub, &name, addresses, context, now)
}

/// The advertised addresses. A port that was left open is the one of the last start; before the
/// first, one that is free now is set aside for it.
fn addresses(dir: &Dir, advertise: &[String]) -> Result<Vec<String>, Error> {
    if !advertise.iter().any(|address| address.ends_with(":0")) {
        return Ok(advertise.to_vec());
    }
    let port = match std::fs::read_to_string(dir.port()) {
        Ok(port) => port.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let free = std::net::TcpListener::bind(("127.0.0.1", 0))
                .and_then(|listener| listener.local_addr())
                .map_err(|source| file(&dir.port(), source))?;
            let port = free.port().to_string();
            write(&dir.port(), port.as_bytes())?;
            port
        }
        Err(source) => return Err(file(&dir.port(), source)),
    };
    let filled = advertise.iter().map(|address| match address.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => address.clone(),
    });
    Ok(filled.collect())
}

fn write_context(
    authority: &Authority,
    hub: &HubFile,
    name: &Name,
    addresses: Vec<String>,
    path: &Path,
    now: SystemTime,
) -> Result<(), Error> {
    let (certificate, key) = authority.issue(name, now)?;
    let context = Context {
        version: 1,
        hub_id: hub.hub_id.clone(),
        addresses,
        ca: authority.roots_pem().to_owned(),
        certificate,
        key: key.to_string(),
    };
    context.write(path).map_err(|source| file(path, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_durably(path, bytes).map_err(|source| file(path, source))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn advertise() -> Vec<String> {
        vec!["127.0.0.1:7443".into()]
    }

    #[tokio::test]
    async fn a_directory_is_made_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().join("hub"));
        assert!(matches!(HubFile::load(&dir), Err(Error::NotInitialised(_))));
        let now = SystemTime::now();
        let made = init(&dir, &advertise(), None, now).await.unwrap();
        assert_eq!(made.hub_id.len(), 32);

        let sealing = SealingKey::load(&dir.sealing_key()).unwrap();
        let identity = Identity::load(&dir, &sealing).unwrap();
        assert_eq!(identity.hub.hub_id, made.hub_id);
        assert_eq!(identity.hub.advertise, advertise());
        let context: Context = serde_json::from_slice(&std::fs::read(&made.context).unwrap()).unwrap();
        assert_eq!(context.ca, identity.authority.roots_pem());

        let again = init(&dir, &advertise(), None, now).await;
        assert!(matches!(again, Err(Error::AlreadyInitialised(_))));
    }

    #[tokio::test]
    async fn a_half_made_directory_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path());
        init(&dir, &advertise(), None, SystemTime::now()).await.unwrap();
        // As an init that lost its power before the last step would leave it.
        std::fs::remove_file(dir.hub_file()).unwrap();
        write_durably(&dir.init_marker(), b"").unwrap();
        assert!(matches!(HubFile::load(&dir), Err(Error::HalfMade(_))));
        let again = init(&dir, &advertise(), None, SystemTime::now()).await;
        assert!(matches!(again, Err(Error::HalfMade(_))));
    }

    #[tokio::test]
    async fn an_open_port_is_chosen_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path());
        let open = ["127.0.0.1:0".to_owned()];
        let made = init(&dir, &open, None, SystemTime::now()).await.unwrap();
        let port = std::fs::read_to_string(dir.port()).unwrap();
        let read = |path: &Path| -> Context { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
        assert_eq!(read(&made.context).addresses, [format!("127.0.0.1:{port}")]);
        let viewer = temp.path().join("viewer.json");
        operator(&dir, "ann", Role::Viewer, &viewer, SystemTime::now()).unwrap();
        assert_eq!(read(&viewer).addresses, [format!("127.0.0.1:{port}")]);
    }

    #[tokio::test]
    async fn wrong_addresses_leave_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().join("hub"));
        for wrong in ["hub", "hub:x", ":1", "hub:99999"] {
            let made = init(&dir, &[wrong.to_owned()], None, SystemTime::now()).await;
            assert!(matches!(made, Err(Error::BadHost(_))), "{wrong}");
            assert_eq!(dir.state().unwrap(), State::Empty);
        }
    }

    #[tokio::test]
    async fn a_directory_of_a_later_version_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path());
        init(&dir, &advertise(), None, SystemTime::now()).await.unwrap();
        std::fs::write(dir.hub_file(), br#"{"version": 2, "later": true}"#).unwrap();
        assert!(matches!(HubFile::load(&dir), Err(Error::TooNew { found: 2, .. })));
    }
}
