"""The base of every group of settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings: frozen, typed, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
