"""Splits of a request as it is typed."""

from unlearn_cli.data import splits
from unlearn_cli.data.folder import Folder
from unlearn_cli.data.requests import Request, resolve


def split(folder: Folder, request: Request, *more, **by_name) -> splits.Splits:
    return splits.split(folder, resolve(request, folder), *more, **by_name)
