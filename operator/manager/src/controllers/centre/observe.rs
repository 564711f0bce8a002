//! Reads what the decision needs: the object says it all.

use tripod_crds::Centre;
use tripod_domain::centre::Observed;

use crate::context::Ctx;

pub(super) fn observe(ctx: &Ctx, object: &Centre) -> Observed {
    Observed { centre: object.clone(), own: ctx.centre.clone() }
}
