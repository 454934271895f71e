"""Texts as PostgreSQL keeps them."""

import re


def function(
    body: str, parameters: str = "owner uuid, account uuid", returns: str = "setof public.user_accounts"
) -> str:
    """The definition of a function; in PL/pgSQL if its body has a block, or needs one."""
    is_block = re.match(r"\s*(begin|declare|<<|#)", body)
    body = body if is_block or not body.startswith(("if ", "execute ")) else f"begin {body}; end"
    language = "plpgsql" if is_block or body.startswith("begin") else "sql"
    return f"create function public.f({parameters}) returns {returns} language {language} as $function${body}$function$"
