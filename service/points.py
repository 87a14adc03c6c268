"""Places at which a process may die, named, so that a test can let it die just there."""


def point(name: str) -> None:
    """Do nothing. No setting and no variable changes that: only a test that replaces this function makes it act.

    Submission: C1 the row is inserted and not committed, C2 committed and not answered, C3 answered and no ticket sent.
    Claim: C4 a waiting job is seen and not claimed, C5 claimed and no trainer begun. Training: C6 within a batch, C7 an
    epoch (a slice of predictions) is done and nothing of it stored. Checkpoint: C8 before its transaction, C9 in it,
    between the weights and the metrics, C10 after it. Result: C11 before its transaction, C12 in it, C13 after it, C14
    the trainer has ended and what it left behind was not cleaned up. C15 a stop was asked for and not passed on, C16 a
    chunk of an upload is written and not noted, C17 a data set's files are stored and its row is not, C18 its row is
    deleted and its files are not, C19 a step of a migration is done and not committed, C20 the weights of an imported
    model are staged and nothing of it is stored.
    """
