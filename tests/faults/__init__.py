"""The fault suite: the real system, a fault, and a ledger outside the store that says what may not have been lost.

conductor   plays a round: start, load, fault, healing, rest, checks
rig         the real processes: replicas of `queuey serve`, their store (embedded, or `store` behind `proxy`)
faults/     one class per fault, in one table; base.Fault says what a fault is
clients     the load, through calls; handlers: the App that the replicas run
ledger      what clients and handlers write down; history: the same, put in order by job
store_view  every key of the store; invariants: the ten, held against both
report      the figures; world: a ledger and a store made by hand, for the tests of the invariants

`make faults` runs it, `make faults FAULT=kill-store SEED=7.3 ROUNDS=1` repeats the round with the seed 7.3.
"""
