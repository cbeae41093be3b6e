"""The verbs as plain functions: paths and options in, files and a Report out, nothing printed."""

from unlearn_cli.cases.loading import Plain
from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Options
from unlearn_cli.jobs.compare import compare
from unlearn_cli.jobs.evaluate import evaluate
from unlearn_cli.jobs.forget import forget
from unlearn_cli.jobs.importing import import_weights
from unlearn_cli.jobs.relearn import relearn
from unlearn_cli.jobs.train import train
from unlearn_cli.jobs.verify_record import verify_record

__all__ = ["Options", "Plain", "Request", "compare", "evaluate", "forget", "import_weights", "relearn", "train", "verify_record"]
