"""/v1/keys: who may ask. For admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from deployments.api.access import Admin, Door
from deployments.api.answers import Key, KeyList, NewKey
from deployments.api.bodies import read_model
from deployments.api.documenting import body, ok
from deployments.api.routes import examples
from deployments.api.schema import KeyCreate
from deployments.errors import Fault, InvalidError, MissingError
from farm import keys
from farm.errors import UsageError

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.get("", summary="List keys", responses={200: ok("All keys, revoked ones too.", examples.KEY_LIST)})
async def list_keys(door: Door, _: Admin) -> KeyList:
    """The keys, without their texts, which nobody has."""
    found = await run_in_threadpool(door.keys.list)
    return KeyList(data=[Key.model_validate(_shown(key)) for key in found])


@router.post(
    "",
    summary="Make a key",
    responses={200: ok("The key's text is told this once.", examples.NEW_KEY)},
    openapi_extra=body(KeyCreate, examples.KEY_CREATE),
)
async def create_key(request: Request, door: Door, _: Admin) -> NewKey:
    """A key for a project, with scopes and limits."""
    asked = await read_model(request, KeyCreate)
    limits = {} if asked.limits is None else asked.limits.model_dump(exclude_none=True)
    try:
        key, secret = await run_in_threadpool(
            door.keys.create,
            name=asked.name,
            project=asked.project,
            scopes=asked.scopes,
            limits=limits,
            expires_at=asked.expires_at,
        )
    except UsageError as error:
        raise InvalidError([Fault(message=str(error))]) from error
    return NewKey.model_validate({**_shown(key), "key": secret})


@router.delete("/{key_id}", summary="Revoke a key", responses={200: ok("It opens nothing any more.", examples.KEY)})
async def revoke_key(key_id: Annotated[str, Path(max_length=100)], door: Door, _: Admin) -> Key:
    """For good. Other replicas hear of it within half a minute; what was asked for with it goes on."""
    try:
        key = await run_in_threadpool(door.keys.revoke, key_id)
    except UsageError as error:
        raise MissingError(f"there is no key {key_id[:60]!r}", code="key_not_found") from error
    door.forget()
    return Key.model_validate(_shown(key))


def _shown(key: keys.Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "project": key.project,
        "scopes": list(key.scopes),
        "created_at": int(key.created_at),
        "expires_at": None if key.expires_at is None else int(key.expires_at),
        "revoked_at": None if key.revoked_at is None else int(key.revoked_at),
        "limits": key.limits.model_dump(exclude_none=True),
    }
