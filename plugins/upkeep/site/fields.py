"""What the sections of a site file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Names become folders in the store and parts of DAG ids, so they are plain and short."""


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} must be absolute: workers start in folders of their own")
    return path


Name = Annotated[str, Field(pattern=NAME, description="lower-case letters, digits, - and _")]
ConnId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=250, description="id of an Airflow connection")]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class Strict(BaseModel):
    # Inputs stay out of pydantic's own text: somebody will paste a private key here one day.
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)
