"""Without a fault the harness finds nothing: what it calls a violation is one."""

from tests.faults import invariants
from tests.faults import record as records


def test_nothing_is_violated(stack, record, client):
    first, second = client.submit(records.tiny()), client.submit(records.long())
    client.watch(first.name)
    client.watch(second.name)
    client.wait(second.name, lambda job: job.epoch >= 2)
    client.cancel(second.name)
    client.wait(first.name)
    client.wait(second.name)
    client.upload("calm", b"a,b\n1,2\n2,3\n3,5\n")
    client.join()
    stack.wait_quiet()
    assert invariants.violations(stack, record, stack.references) == []
