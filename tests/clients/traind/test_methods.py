"""The table of calls agrees with the contract."""

from google.protobuf import descriptor_pool

from traind import methods


def test_every_call_is_one_of_the_contract():
    table = [value for value in vars(methods).values() if isinstance(value, methods.Method)]
    assert len(table) == len({method.path for method in table})
    for method in table:
        service, _, name = method.path[1:].partition("/")
        described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        assert method.request.DESCRIPTOR is described.input_type
        assert method.response.DESCRIPTOR is described.output_type


def test_what_changes_something_is_not_sent_twice():
    writes = {
        m.path.rpartition("/")[2] for m in vars(methods).values() if isinstance(m, methods.Method) and not m.repeatable
    }
    jobs = {"CancelJob", "PauseJob", "ResumeJob"}
    models = {"DeleteModel", "SetAlias", "DeleteAlias"}
    assert writes == {"WriteUpload", "CreateDataset", "DeleteDataset"} | jobs | models
