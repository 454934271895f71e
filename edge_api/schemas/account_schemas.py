"""Accounts as they enter and leave the API."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

# Mirrors, to fail early, the constraints user_accounts_account_name_*, which decide.
_NAME: Final = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
_RULE: Final = "no control characters, no white space at either end"


def _check_characters(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise PydanticCustomError("string_characters", f"String should have {_RULE}")
    return name


AccountName = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=255, json_schema_extra={"pattern": _NAME}),
    AfterValidator(_check_characters),
    Field(description=f"1 to 255 characters, {_RULE}.", examples=["My Alpaca Account"]),
]


def _from_iso_8601(value: object) -> object:
    """Parse a timestamptz of PostgREST (`T…+00:00`) or of the embedded stack (`…+00`, which Pydantic refuses)."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


# strict: else Pydantic would take a number for seconds
Timestamp = Annotated[AwareDatetime, Field(strict=True), BeforeValidator(_from_iso_8601)]


class UserAccountResponse(BaseModel):
    """An account: what a user's broker credentials belong to."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    user_id: Annotated[UUID, Field(description="The owner: the user whose token created the account.")]
    account_name: Annotated[str, Field(min_length=1)]
    is_active: Annotated[StrictBool, Field(description="Whether the account may be used. Not the user's to change.")]
    created_at: Timestamp
    updated_at: Timestamp


class ListAccountsResponse(BaseModel):
    """All accounts of the caller, newest first."""

    status: Literal["success"] = "success"
    accounts: list[UserAccountResponse]
    count: Annotated[int, Field(ge=0, description="The number of accounts in the list.")]


class GetOrCreateAccountResponse(BaseModel):
    """The caller's account, and whether this request created it."""

    account: UserAccountResponse
    created: Annotated[StrictBool, Field(description="True for exactly one of any number of requests.")]


class GetOrCreateAccountRow(UserAccountResponse):
    """A row of the SQL function `get_or_create_account`."""

    created: StrictBool


class CreateAccountRequest(BaseModel):
    """The account to create."""

    model_config = ConfigDict(extra="forbid")

    account_name: AccountName


class RenameAccountRequest(CreateAccountRequest):
    """The account's new name."""
