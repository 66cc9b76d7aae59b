//! What goes wrong, and is not noticed by any user.

use super::{IN_FORCE, LOOK, Story, after, answered, failures};
use crate::demo::{config, stats::thousands, users::Users};
use std::{io, time::Instant};
use tokio::time::sleep;

impl Story<'_> {
    pub(super) async fn broken_edit(&mut self, good: &str) -> io::Result<()> {
        const WRONG: &str = "v22";
        let broken = good.replace("upstream: v2,", &format!("upstream: {WRONG},"));
        let place = config::position(&broken, WRONG);
        let (generation, errors) = (self.generation().await, self.reload_errors().await);
        let start = Instant::now();
        config::save(self.stage.file(), &broken)?;
        let told = self.wait(|status| status.config.last_error.is_some()).await;
        let status = self.admin.status().await.ok();
        let rejected = status.and_then(|status| status.config.last_error);
        let error = rejected.as_ref().and_then(|rejected| rejected.errors().next());
        let placed = error.is_some_and(|error| place == Some((error.line, error.column)));
        let counted = self.reload_errors().await - errors;
        let stays = self.generation().await == generation;
        let shown = error.map_or("no error".to_owned(), |error| error.to_string());
        let observed = format!("{} it said: {shown}", after(told));
        let claim = "a broken edit is refused, and the error says where and what would be right";
        let ok = placed && stays && counted == 1.0 && told.is_some_and(|told| told <= IN_FORCE);
        self.report.claim(claim, ok, observed)?;

        sleep(LOOK / 2).await;
        let samples = self.record.since(start);
        let (failed, why) = failures(&samples);
        let (ok, observed) = (failed == 0 && samples.len() > 50, answered(&samples, failed, &why));
        self.report.claim("traffic goes on while the file is broken", ok, observed)?;
        config::save(self.stage.file(), good)?;
        let healed = self.wait(|status| status.config.last_error.is_none()).await;
        let observed = format!("{} the error was gone", after(healed));
        self.report.claim("the repaired file is accepted", healed.is_some(), observed)
    }

    pub(super) async fn canary_dies(&mut self) -> io::Result<()> {
        let before = self.saved().await;
        let users = Users::versions(&self.record.since(Instant::now() - LOOK)).on("v2");
        let start = Instant::now();
        self.stage.v2().set_up(false);
        sleep(LOOK).await;
        let samples = self.record.since(start);
        let saved = (self.saved().await - before) as u64;
        let (failed, why) = failures(&samples);
        let here = Users::versions(&samples).on("v1").intersection(&users).count();
        let ok = failed == 0 && saved > 0 && here > 0;
        let observed = format!(
            "v1 answered {} requests of v2's, {here} of its {} users among them; {}",
            thousands(saved),
            users.len(),
            answered(&samples, failed, &why)
        );
        let claim = "v2 is gone: its fallback answers, it is counted, and nobody sees an error";
        self.report.claim(claim, ok, observed)?;

        let start = Instant::now();
        self.stage.v2().set_up(true);
        let back = self.first_moved(start, &users).await;
        let observed = format!("{} the first of its users was with it again", after(back));
        self.report.claim("v2 is back: so are its users", back.is_some(), observed)
    }

    async fn reload_errors(&self) -> f64 {
        self.sum("tidegate_config_reloads_total", &[("result", "error")]).await
    }

    async fn saved(&self) -> f64 {
        self.sum("tidegate_fallbacks_total", &[("variant", "canary")]).await
    }
}
