"""Everything that a store holds."""

from __future__ import annotations

from typing import Any, Final

import msgspec

READ_ALL: Final = """
local READ = {string = {'GET'}, list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, hash = {'HGETALL'},
  set = {'SMEMBERS'}}
local found = {}
for i, name in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', name).ok
  local command, first, last, option = unpack(READ[kind])
  local arguments = {command, name}
  for _, more in ipairs({first, last, option}) do arguments[#arguments + 1] = more end
  found[i] = {name, kind, redis.call('PTTL', name), redis.call(unpack(arguments))}
end
return cmsgpack.pack(found)
"""
"""For EVAL: name, kind, TTL in ms and value of each key, as MessagePack."""
TTL_STEP_MS: Final = 600_000
"""TTLs are compared in these steps, since they run by the store's clock."""


async def contents(client: Any) -> dict[str, Any]:
    """Each key's kind, value and TTL in steps. The order of a list counts, that of other values has no meaning."""
    found = msgspec.msgpack.decode(await client.eval(READ_ALL, 0))
    return {name: (kind, _comparable(kind, value), _steps(ttl)) for name, kind, ttl, value in found}


def _comparable(kind: str, value: Any) -> Any:
    if kind in ("zset", "hash"):
        return dict(zip(value[::2], value[1::2], strict=True))
    return sorted(value) if kind == "set" else value


def _steps(ttl: int) -> int:
    return ttl if ttl < 0 else round(ttl / TTL_STEP_MS)
