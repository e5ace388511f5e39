"""The engine: jobs to audio. `glmtts.engine.api` is its interface, `glmtts.engine.runtime` its implementations."""
