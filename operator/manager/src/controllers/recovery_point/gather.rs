//! Brings a namespace's objects into the vault, with the rights of the namespace's own backup account: what that account
//! may not list is not in the point, and that is said.

use tripod_crds::recovery_point::Selection;
use tripod_domain::selection::Rules;

use crate::context::Ctx;
use crate::gather::{self, Broken, Gathered, Known, Reader};
use crate::vault::{Part, SystemVault, documents};

/// The namespace's own account that reads what is backed up.
const ACCOUNT: &str = "tripod-backup";

/// Archives what is chosen. Objects are read while they are archived: neither side holds all of them.
pub(super) async fn archive(
    ctx: &Ctx,
    vault: &SystemVault,
    point: &str,
    selection: &Selection,
) -> Result<(Part, Gathered), String> {
    let rules = Rules::new(selection)?;
    let objects = ctx.acting_as(&vault.system, ACCOUNT).map_err(|e| e.to_string())?;
    let from = Reader { objects, cluster: ctx.client.clone(), namespace: vault.system.clone() };
    let mut known = Known::default();
    loop {
        let (mut feed, stream) = documents();
        let gathering = async {
            let gathered = gather::objects(&from, &rules, &mut known, &mut feed).await?;
            feed.finish().await.map_err(|error| Broken::Failed(error.to_string()))?;
            Ok(gathered)
        };
        let (archived, gathered) = tokio::join!(vault.archive_documents(point, stream), gathering);
        match (archived, gathered) {
            (Ok(part), Ok(gathered)) => return Ok((part, gathered)),
            (_, Err(Broken::Again)) => {}
            // Where nobody reads any more, the archiver says why; where nothing comes any more, who gathers does.
            (Err(error), Ok(_)) => return Err(error.to_string()),
            (Err(error), Err(Broken::Failed(words))) if words == crate::vault::Unread.to_string() => {
                return Err(error.to_string());
            }
            (_, Err(Broken::Failed(words))) => return Err(words),
        }
    }
}
