"""What every reason of the contract means, what brings it about, and what to do; reasons_ko.py tells the same."""

from __future__ import annotations

ERRORS: dict[str, tuple[str, str, str]] = {
    "INVALID_FIELD": (
        "A field of the request is missing, out of its range, or does not fit another one.",
        "Most often a spec with a wrong value, or with a column that the data set does not have.",
        "The error names each field with its limit. `traind spec check FILE` tells the lines of a file.",
    ),
    "MALFORMED_BODY": (
        "The body is no JSON, or no JSON of the message that is asked for.",
        "A comma too many, a bare NaN or Infinity, a key that stands twice, or the body of another method.",
        'Mend the place that is named. NaN and Infinity are written in quotes: "NaN", "Infinity".',
    ),
    "INVALID_TABLE": (
        "The file is no table that can be read.",
        "A row of another length, a value that is not of its column's type, another encoding or delimiter.",
        (
            "Mend the line and column that are named, or say `--encoding CP949`, `--delimiter` or `--type COLUMN=TEXT` "
            "as the error proposes."
        ),
    ),
    "INVALID_MODEL_FILE": (
        "The file is no model that this server can take.",
        "It was cut or changed on its way, was not written by an export of traind, or by that of a newer version.",
        (
            "Export the model again with `traind export MODEL FILE` and send that file as it is; where the error says "
            "so, upgrade this server first. Weights of other programs come in by `learn.given` of a spec."
        ),
    ),
    "TOKEN_REQUIRED": (
        "No token came with the call.",
        "Nobody has signed in on this machine, or the profile's token belongs to another server's address.",
        "`traind login`, or set TRAIND_TOKEN_FILE to a file that holds your token. `traind whoami` tells what is used.",
    ),
    "TOKEN_REJECTED": (
        "The token is unknown, expired or revoked.",
        "It was revoked, is of another server, or was not copied whole.",
        "Ask whoever runs the server for another one (`python -m service user token NAME`), then `traind login`.",
    ),
    "SCOPE_MISSING": (
        "The token lacks the scope that the method needs.",
        "Tokens open only what they were made for: read, submit, predict, admin.",
        "Ask whoever runs the server for a token with the scope that is named; `traind whoami` tells those of yours.",
    ),
    "RESOURCE_NOT_FOUND": (
        "There is no such object, or it belongs to somebody else: the answer is the same.",
        "A wrong id, a version that does not exist, or an object that was removed.",
        "List yours with `traind data list`, `traind job list` or `traind models list`.",
    ),
    "METHOD_NOT_FOUND": (
        "There is no such method or path.",
        "The server is older than the client, the address is not traind's, or the path has a mistake.",
        "Compare with `traind version`; every path of REST stands in /openapi.json.",
    ),
    "VERB_NOT_ALLOWED": (
        "The path exists with another HTTP verb.",
        "A GET where POST is meant, say.",
        "Use a verb of the header `allow` in the answer.",
    ),
    "UNSUPPORTED_CONTENT": (
        "The content type or a compressed body is not accepted here.",
        "A form or gzip where JSON or plain bytes are expected.",
        "Send `content-type: application/json` (or the bytes of the file) without content-encoding.",
    ),
    "REQUEST_ID_REUSED": (
        "The request id was used before with another body.",
        "An id that makes one call safe to repeat was taken for another call.",
        "Make a new UUID for every new job; the Python client does so by itself.",
    ),
    "DATASET_IN_USE": (
        "A job that has not ended uses the data set.",
        "It waits, runs or is paused.",
        "Wait for it or cancel it (`traind job list`), then remove the data set.",
    ),
    "MODEL_IN_USE": (
        "An alias points to the version.",
        "Whoever uses the alias is answered by this version.",
        (
            "Point the alias to another version (`traind models alias MODEL ALIAS`) or delete it "
            "(`traind models unalias MODEL ALIAS`), then remove the version."
        ),
    ),
    "ALIAS_MOVED": (
        "The alias is not what the etag tells: somebody has set or deleted it since.",
        "Two people or programs have switched the same alias; only the first of them has.",
        (
            "Look where it points now (`traind models aliases MODEL`), and switch it with its new etag if that version "
            "shall still be replaced."
        ),
    ),
    "PREDICTIONS_CHANGED": (
        "The model answers its golden rows otherwise than when it was trained, so it answers nothing at all.",
        (
            "traind or a library that it computes with has changed since, or stored numbers were. The golden rows are "
            "rows of the data set that were kept with the model's own answers."
        ),
        (
            "The error names the row, the column and how far it is off. Train the model again, or run the version of "
            "traind that trained it: `engine` of `traind models show MODEL`."
        ),
    ),
    "WRONG_STATE": (
        "The job's state does not allow the move.",
        (
            "It has ended, so it can be neither paused nor cancelled; it neither FAILED nor was CANCELLED, so there is "
            "nothing to retry; it keeps no checkpoint to fork from; the model that is asked for is not made yet; or it "
            "cannot be exported so, for its weights are NaN or infinite, or the format cannot say what it does."
        ),
        (
            "Look at it with `traind job show ID`; learn on from a job that SUCCEEDED with `traind job fork ID`; where "
            "no checkpoint is kept, send a new job of the same spec. A model is there once its job has SUCCEEDED. "
            "What ONNX cannot say, `safetensors` and `script` can; a model of such weights is to be trained again."
        ),
    ),
    "OFFSET_MISMATCH": (
        "The chunk does not start where the upload stands.",
        "A chunk was lost or came twice.",
        "Go on at the offset that is named; the Python client and the commands do so by themselves.",
    ),
    "TOO_LARGE": (
        "The body, message, file or table is larger than the limit.",
        "The limit is the server's: `traind doctor` tells the largest file and message.",
        "Send less at once, or have TRAIND_MAX_UPLOAD_BYTES raised by whoever runs the server.",
    ),
    "TOO_MANY_PARAMETERS": (
        "The network has more parameters, or needs more memory, than the server allows.",
        "Wide layers, batches of all rows, or categories with many values that become one input each.",
        (
            "Use smaller layers, a smaller batch, fewer inputs or an embedding; the limits are TRAIND_MAX_PARAMETERS "
            "and TRAIND_MAX_JOB_BYTES of the server."
        ),
    ),
    "HEADERS_TOO_LARGE": (
        "The headers or the metadata are larger than the limit.",
        "Cookies or headers that something on the way has added.",
        "Send only what traind needs: `authorization` and `content-type`.",
    ),
    "RATE_LIMITED": (
        "Too many calls at once.",
        "Many programs, or one without pauses, call at the same time.",
        "Come again after the time that is told; the Python client does so by itself.",
    ),
    "DISK_FULL": (
        "The server's disk is full; nothing was stored.",
        "Data sets, checkpoints and models fill it.",
        "Remove data sets that nobody needs (`traind data rm`), or have whoever runs the server make room.",
    ),
    "DATABASE_UNAVAILABLE": (
        "The database did not answer in time.",
        "It is starting, overloaded or cut off.",
        "Send the call again in a moment; if it stays so, whoever runs the server asks `python -m service doctor`.",
    ),
    "OBJECTS_UNAVAILABLE": (
        "The store of the data sets did not answer in time.",
        "It is starting, overloaded or cut off.",
        "Send the call again in a moment; if it stays so, who runs the server looks at what TRAIND_OBJECT_STORE names.",
    ),
    "SHUTTING_DOWN": (
        "The server is stopping.",
        "It is being restarted or upgraded; jobs go on where they were.",
        "Send the call again in a moment; the Python client does so by itself.",
    ),
    "DATA_CORRUPT": (
        "Stored bytes do not match their hash; nothing is computed from them.",
        "A broken disk, or somebody changed files of the data folder.",
        "Send the data set again, and tell whoever runs the server: a backup may be needed.",
    ),
    "DEADLINE_PASSED": (
        "The call's deadline passed.",
        "The server is busy, or the work is large.",
        "Give more time with Client(timeout=...), or ask for less at once.",
    ),
    "INTERNAL_ERROR": (
        "A defect of the server.",
        "Something that nobody thought of; the message holds an error id.",
        "Tell whoever runs the server the error id: the whole story is in its log.",
    ),
    "QUEUE_FULL": (
        "As many of your jobs wait as may wait at once.",
        "A search or a loop has sent many jobs; those that are paused wait too.",
        (
            "Wait until some have run, or cancel some (`traind job list`), then send the job again; the limit is "
            "TRAIND_MAX_QUEUED_JOBS of the server."
        ),
    ),
}

FAILURES: dict[str, tuple[str, str, str]] = {
    "DIVERGED": (
        "The loss became Inf or NaN, or larger than 32 bits hold, so there is no model. The whole history is kept.",
        "Nearly always a learning rate that is too large for inputs of this size: each step overshoots further.",
        "Take the rate that the job's finding proposes (`traind job show ID`); scale the inputs (preprocess.scale).",
    ),
    "INVALID_DATA": (
        "The rows cannot be learned from as the spec asks.",
        "Missing values that nothing fills, one class only, no row left after the split, values that overflow.",
        (
            "Do what the message says. `traind data profile NAME` shows the columns, and "
            "`traind init NAME --target COLUMN` proposes a spec that fits them."
        ),
    ),
    "OUT_OF_MEMORY": (
        "The job needed more memory than it may have, or the system killed it again and again when memory ran out.",
        "A wide network, large batches, or categories with many values.",
        "Use smaller batches or layers, an embedding for large categories, or fewer inputs.",
    ),
    "TIME_LIMIT": (
        "The job ran longer than it may: not one epoch was done, or it never came to a place to stop.",
        "`max_seconds` is too short for an epoch of this table.",
        "Raise `learn.gradient.max_seconds`, use fewer rows, or the batch_size that the message asks for.",
    ),
    "WORKER_LOST": (
        "Three workers in a row ended under the job without a finished epoch between.",
        "The machine kills them (memory), restarts, or one epoch never ends.",
        "Look at the workers' log; use smaller batches or layers, or go on where it stood: `traind job retry ID`.",
    ),
    "STORAGE_FULL": (
        "The server's disk is full, or a file of the job needed more room than it may have.",
        "Data sets, checkpoints and models fill it.",
        "Have whoever runs the server make room, then `traind job retry ID`, which goes on where it stood.",
    ),
    "CORRUPT": (
        "Stored bytes do not match their hash, so the job was ended rather than learn from them.",
        "A broken disk, or somebody changed files of the data folder.",
        "Send the data set again, and tell whoever runs the server.",
    ),
    "INTERNAL": (
        "A defect of the server.",
        "Something that nobody thought of; the message holds an error id.",
        "Tell whoever runs the server the error id: the whole story is in the worker's log.",
    ),
}

FINDINGS: dict[str, tuple[str, str, str]] = {
    "DIVERGED": (
        "The loss became Inf or NaN, or larger than 32 bits hold.",
        "The learning rate is above what is stable for these inputs.",
        "Take `proposed_lr`: `traind run SPEC --set learn.gradient.optimizer.adam.lr=...` (or your optimizer's name).",
    ),
    "RATE_TOO_SMALL": (
        "The learning rate is far below what would be stable, so the descent crawls.",
        "Gradient descent moves by the rate at each step; a hundredth of the rate needs a hundred times the epochs.",
        "Take `proposed_lr`.",
    ),
    "NOT_SEPARABLE": (
        "No line was found that separates the classes.",
        "The perceptron rule ends by itself only where a line separates them; XOR has none, for instance.",
        'Use a hidden layer: "network": {"mlp": {"hidden": [8]}}.',
    ),
    "RANK_DEFICIENT": (
        "Columns depend on each other, so many solutions fit equally well; that of minimum norm was taken.",
        "A column is the sum or a multiple of others, or there are more columns than rows.",
        "Predictions are good; single weights mean nothing. Leave out one of the columns to read them.",
    ),
    "NO_HOLD_OUT": (
        "Too few rows to hold some out: every figure is in sample and says nothing about new rows.",
        "Under 20 rows `auto` splits nothing off.",
        "Bring more rows, or name the split: split.hold_out, split.column or split.time.",
    ),
    "NO_DEGREES_OF_FREEDOM": (
        "`residual_mse` is NaN: rows less parameters leave nothing to divide by.",
        "As many parameters as rows, or more.",
        "Bring more rows or fewer inputs, or give the degrees of freedom (`--dof`).",
    ),
    "CONSTANT_COLUMN": (
        "A column holds one value only and cannot teach anything.",
        "A filter before, or a field that nobody fills.",
        "Leave it out of `inputs`.",
    ),
    "STOPPED_EARLY": (
        "Early stopping ended the loop; the model is that of the best epoch.",
        "The loss of the held-out rows had not fallen for `patience` epochs.",
        "Nothing needs to be done; a larger `patience` waits longer.",
    ),
    "TIME_LIMIT": (
        "`max_seconds` ended the loop; the epochs that were done make the model.",
        "The time was shorter than the epochs needed.",
        "Raise `learn.gradient.max_seconds` if the loss was still falling.",
    ),
    "ROWS_DROPPED": (
        "Rows with missing values were left out.",
        "DROP_ROW is asked for: of a column (impute.how) or of the target (preprocess.target.missing).",
        "Fill values instead (preprocess.groups[].impute) if too few rows are left.",
    ),
    "UNSEEN_CATEGORIES": (
        "Held-out rows have categories that no training row had.",
        "Rare categories fell to the held-out side.",
        "Put rare categories together before, or bring more rows; `preprocess.unseen` says what becomes of them.",
    ),
    "SUSPECTED_LEAK": (
        "A column tells the target almost exactly, so it may be made of it.",
        "Something known only afterwards, like a payment date beside “paid”.",
        "Leave it out of `inputs` unless it is known when the prediction is needed.",
    ),
    "IDENTIFIER": (
        "A column tells every row apart, like a number of a customer, and cannot teach anything.",
        "An id or a running number.",
        "Leave it out of `inputs`.",
    ),
    "IMBALANCED": (
        "A class is rare, so accuracy says little: always answering the frequent class scores high.",
        "Fraud, defects and illnesses are rare.",
        "Look at balanced_accuracy and roc_auc; weigh the classes: loss.cross_entropy.class_weights.balanced.",
    ),
    "SKEWED": (
        "A column of numbers leans far to one side.",
        "Prices, incomes and counts have a few very large values.",
        "Transform it: preprocess.groups[].transform LOG1P or YEO_JOHNSON; `traind init` proposes it.",
    ),
    "MANY_MISSING": (
        "A column has many missing values.",
        "It is not always measured, or marks missing values in a way of its own.",
        "Fill it and keep the mark (impute with `indicator`), or leave it out of `inputs`.",
    ),
    "DUPLICATE_ROWS": (
        "Rows stand twice or more.",
        "An export that was joined twice, or cases that are really alike.",
        "Remove copies: the same row on both sides of the split makes figures look better than they are.",
    ),
    "ROWS_REJECTED": (
        "Rows could not be predicted and went into a data set of their own, with the reason of each.",
        "A value is missing where the model takes none, a category that training did not see, a number out of range.",
        "Look at `rejected_dataset`; train with `impute` or `preprocess.unseen`, or mend the rows and predict again.",
    ),
}
