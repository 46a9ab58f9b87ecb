"""Probes of PartiQL: the INSERTs that every event is written by, and the EXISTS that guards them."""

from __future__ import annotations

from typing import Any

from chaos.conform.lab import Lab, code_of, outcome, reasons, refused
from chaos.conform.probe import API, DEVELOPER_GUIDE, Area, harmless, hidden, unsafe
from chaos.conform.promises import ACKNOWLEDGED, CLAIMS, FORK, PREFIX, WHOLE

AREA = Area("PartiQL")

_INSERT = f"{DEVELOPER_GUIDE}ql-reference.insert.html"
_BATCH = f"{DEVELOPER_GUIDE}ql-reference.multiplestatements.batching.html"
_TRANSACTION = f"{DEVELOPER_GUIDE}ql-reference.multiplestatements.transactions.html"
_EXISTS = f"{DEVELOPER_GUIDE}ql-functions.exists.html"
_BATCH_ERROR = f"{API}API_BatchStatementError.html"
_STATEMENT = f"{API}API_ExecuteStatement.html"
_EXECUTE = f"{API}API_ExecuteTransaction.html"

_ANY_REFUSAL = harmless("ValidationException", "refused all the same; Meridian reads the items after a refusal")
_REPLACED = unsafe("accepted", "an INSERT replaced a stored event")
_READ = "after a refusal Meridian reads the stored items, and they decide"


def insert(table: str, pk: str, sk: str = "1", value: str = "a") -> dict[str, Any]:
    """Return the statement that inserts an item, with its parameters."""
    text = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': ?, 'value': ?}}"
    return {"Statement": text, "Parameters": [{"S": pk}, {"S": sk}, {"S": value}]}


def exists(table: str, pk: str, value: str, sk: str = "1") -> dict[str, Any]:
    """Return the statement that checks the value of an item, as guards are checked."""
    text = f'EXISTS(SELECT * FROM "{table}" WHERE "pk" = ? AND "sk" = ? AND "value" = ?)'
    return {"Statement": text, "Parameters": [{"S": pk}, {"S": sk}, {"S": value}]}


def _batch(lab: Lab, *statements: dict[str, Any]) -> list[str]:
    """Return the code of each statement's error, empty where it was executed."""
    answer = lab.db.batch_execute_statement(Statements=list(statements))
    return [str(each.get("Error", {}).get("Code", "")) for each in answer["Responses"]]


def _transact(lab: Lab, *statements: dict[str, Any]) -> Any:
    return refused(lambda: lab.db.execute_transaction(TransactStatements=list(statements)))


def _values(lab: Lab, table: str, pk: str) -> str:
    return ", ".join(each["value"]["S"] for each in lab.held(table, pk)) or "nothing"


@AREA.ask("Does an INSERT write the item?", "a", _INSERT, ACKNOWLEDGED)
def insert_writes(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.execute_statement(**insert(table, pk))
    return _values(lab, table, pk)


@AREA.ask(
    "What refuses an INSERT of a taken key?",
    "DuplicateItemException",
    _INSERT,
    FORK,
    harmless("DuplicateItem", "Meridian takes both names for a failed condition"),
    _ANY_REFUSAL,
    _REPLACED,
)
def insert_taken(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="first")
    return outcome(lambda: lab.db.execute_statement(**insert(table, pk)))


@AREA.ask("Does a stored item survive an INSERT of its key?", "first", _INSERT, FORK)
def insert_taken_keeps(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="first")
    outcome(lambda: lab.db.execute_statement(**insert(table, pk)))
    return _values(lab, table, pk)


@AREA.ask("Does an INSERT return anything?", "no items", _INSERT, ACKNOWLEDGED)
def insert_returns_nothing(lab: Lab) -> str:
    answer = lab.db.execute_statement(**insert(lab.plain(), lab.key()))
    return f"{len(answer['Items'])} items" if answer.get("Items") else "no items"


@AREA.ask(
    "Is an INSERT refused when a parameter is missing?",
    "ValidationException",
    _STATEMENT,
    ACKNOWLEDGED,
    harmless("*Exception", "refused all the same; Meridian always sends every parameter"),
    harmless("InternalFailure", "refused all the same; Meridian always sends every parameter"),
)
def insert_without_parameter(lab: Lab) -> str:
    statement = insert(lab.plain(), lab.key())
    return outcome(lambda: lab.db.execute_statement(**{**statement, "Parameters": statement["Parameters"][:2]}))


@AREA.ask(
    "Is an INSERT without the sort key refused?",
    "ValidationException",
    _INSERT,
    PREFIX,
    harmless("*Exception", "refused all the same; Meridian always names both keys"),
    hidden("accepted", "what AWS refuses passes here; Meridian always names both keys"),
)
def insert_without_key(lab: Lab) -> str:
    text = f"INSERT INTO \"{lab.plain()}\" VALUE {{'pk': ?}}"
    return outcome(lambda: lab.db.execute_statement(Statement=text, Parameters=[{"S": lab.key()}]))


@AREA.ask("What refuses an INSERT into a table that is not there?", "ResourceNotFoundException", _STATEMENT, ACKNOWLEDGED)
def insert_without_table(lab: Lab) -> str:
    return outcome(lambda: lab.db.execute_statement(**insert(f"{lab.prefix}-absent", lab.key())))


@AREA.ask("Are numbers, bytes and maps stored as the parameters give them?", "as sent", _STATEMENT, ACKNOWLEDGED)
def insert_types(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    sent = {"n": {"N": "12.5"}, "b": {"B": b"\x00\xff"}, "m": {"M": {"a": {"L": [{"NULL": True}, {"BOOL": False}]}}}}
    text = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': ?, 'n': ?, 'b': ?, 'm': ?}}"
    lab.db.execute_statement(Statement=text, Parameters=[{"S": pk}, {"S": "1"}, *sent.values()])
    (found,) = lab.held(table, pk)
    return "as sent" if {name: found.get(name) for name in sent} == sent else "changed"


@AREA.ask("Does a SELECT by the whole key find an inserted item?", "found", _STATEMENT, ACKNOWLEDGED)
def select_inserted(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.execute_statement(**insert(table, pk))
    text = f'SELECT * FROM "{table}" WHERE "pk" = ? AND "sk" = ?'
    found = lab.db.execute_statement(Statement=text, Parameters=[{"S": pk}, {"S": "1"}], ConsistentRead=True)
    return "found" if len(found["Items"]) == 1 else "not found"


# -- batches ------------------------------------------------------------------------------------------------------


@AREA.ask(
    "Which code has the error of an INSERT of a taken key in a batch?",
    "DuplicateItem",
    _BATCH_ERROR,
    FORK,
    harmless("DuplicateItemException", "Meridian takes both names for a failed condition"),
    harmless("ConditionalCheckFailed*", "Meridian takes this name for a failed condition, too"),
    harmless("ValidationError", _READ),
    harmless("ValidationException", _READ),
    unsafe("", "an INSERT replaced a stored event"),
)
def batch_taken(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="first")
    return _batch(lab, insert(table, pk))[0]


@AREA.ask("Does a stored item survive an INSERT of its key in a batch?", "first", _INSERT, FORK)
def batch_taken_keeps(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, value="first")
    outcome(lambda: _batch(lab, insert(table, pk)))
    return _values(lab, table, pk)


@AREA.ask("Are a batch's other statements executed when one fails?", "written, refused, written", _BATCH_ERROR, ACKNOWLEDGED)
def batch_others_written(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "2", value="first")
    codes = _batch(lab, *(insert(table, pk, sk, "new") for sk in "123"))
    held = {each["sk"]["S"] for each in lab.held(table, pk)}
    return ", ".join(
        "refused" if code else "written" if sk in held else "lost" for sk, code in zip("123", codes, strict=True)
    )


@AREA.ask("Are the responses of a batch in the order of its statements?", "taken keys refused, in order", _BATCH_ERROR, FORK)
def batch_order(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    taken = [sk for sk in "abcdefghij" if sk in "bdeij"]
    for sk in taken:
        lab.put(table, pk, sk, value="first")
    codes = _batch(lab, *(insert(table, pk, sk) for sk in "abcdefghij"))
    fits = [sk for sk, code in zip("abcdefghij", codes, strict=True) if code] == taken
    return "taken keys refused, in order" if fits else "other keys refused"


@AREA.ask(
    "How are two INSERTs of one key in a batch answered?",
    "not documented",
    _BATCH,
    FORK,
    unsafe("*; the last is stored", "the second INSERT replaced the first"),
    harmless("*", "the page does not say; Meridian never sends one key twice in a batch"),
)
def batch_same_key(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    try:
        codes = _batch(lab, insert(table, pk, value="one"), insert(table, pk, value="two"))
        said = "executed, " + (codes[1] or "executed")
    except lab.db.exceptions.ClientError as error:
        said = code_of(error)
    stored = {"nothing": "nothing is stored", "one": "the first is stored"}.get(
        _values(lab, table, pk), "the last is stored"
    )
    return f"{said}; {stored}"


@AREA.ask("Does a batch take 25 statements?", "25 written", _BATCH, ACKNOWLEDGED)
def batch_full(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    codes = _batch(lab, *(insert(table, pk, f"{n:02d}") for n in range(25)))
    return f"{codes.count('')} written"


@AREA.ask(
    "Is a batch of 26 statements refused?",
    "ValidationException",
    _BATCH,
    ACKNOWLEDGED,
    hidden("accepted", "a batch that AWS refuses passes here; Meridian sends 25 at most"),
)
def batch_too_many(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    return outcome(lambda: _batch(lab, *(insert(table, pk, f"{n:02d}") for n in range(26))))


@AREA.ask(
    "Which code has a batch's statement for a table that is not there?",
    "ResourceNotFound",
    _BATCH_ERROR,
    ACKNOWLEDGED,
    harmless("ResourceNotFoundException", "Meridian takes both names for a missing table"),
    harmless("refused: ResourceNotFoundException", "the whole batch is refused; Meridian raises the same error"),
)
def batch_without_table(lab: Lab) -> str:
    try:
        return _batch(lab, insert(f"{lab.prefix}-absent", lab.key()))[0]
    except lab.db.exceptions.ClientError as error:
        return f"refused: {code_of(error)}"


@AREA.ask(
    "Are reads and writes in one batch refused?",
    "ValidationException",
    _BATCH,
    ACKNOWLEDGED,
    hidden("accepted", "a batch that AWS refuses passes here; Meridian sends none"),
)
def batch_mixed(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    read = {"Statement": f'SELECT * FROM "{table}" WHERE "pk" = ? AND "sk" = ?', "Parameters": [{"S": pk}, {"S": "9"}]}
    return outcome(lambda: lab.db.batch_execute_statement(Statements=[insert(table, pk), read]))


# -- transactions -------------------------------------------------------------------------------------------------


@AREA.ask("Are all INSERTs of a transaction written?", "a, a, a", _TRANSACTION, WHOLE)
def transaction_writes(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.execute_transaction(TransactStatements=[insert(table, pk, sk) for sk in "123"])
    return _values(lab, table, pk)


@AREA.ask(
    "What refuses a transaction with an INSERT of a taken key?",
    "TransactionCanceledException",
    _TRANSACTION,
    FORK,
    harmless("DuplicateItem*", "Meridian takes this name for a failed condition"),
    _ANY_REFUSAL,
)
def transaction_taken(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "2", value="first")
    error = _transact(lab, *(insert(table, pk, sk) for sk in "123"))
    return code_of(error) if error else "accepted"


@AREA.ask("Is nothing of a cancelled transaction written?", "first", _TRANSACTION, WHOLE)
def transaction_atomic(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "2", value="first")
    _transact(lab, *(insert(table, pk, sk) for sk in "123"))
    return _values(lab, table, pk)


@AREA.ask(
    "Which reasons has a transaction of a free and a taken key and an unmet EXISTS?",
    "None, DuplicateItem, ConditionalCheckFailed",
    _TRANSACTION,
    CLAIMS,
    harmless("None, *, *Failed*", _READ),
    harmless("None, *, ValidationError", _READ),
    harmless("None, DuplicateItem*, None", "the first failure alone is given; " + _READ),
    unsafe("accepted", "conditions of a transaction do not hold"),
)
def transaction_reasons(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "2", value="first")
    lab.put(table, pk, "9", value="guard")
    return reasons(_transact(lab, insert(table, pk, "1"), insert(table, pk, "2"), exists(table, pk, "other", "9")))


@AREA.ask("Does a transaction take 100 statements?", "100 written", _TRANSACTION, WHOLE)
def transaction_full(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.db.execute_transaction(TransactStatements=[insert(table, pk, f"{n:03d}") for n in range(100)])
    return f"{len(lab.held(table, pk))} written"


@AREA.ask(
    "Is a transaction of 101 statements refused?",
    "ValidationException",
    _TRANSACTION,
    WHOLE,
    hidden("accepted", "a transaction that AWS refuses passes here; Meridian sends 100 statements at most"),
)
def transaction_too_many(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    return outcome(
        lambda: lab.db.execute_transaction(TransactStatements=[insert(table, pk, f"{n:03d}") for n in range(101)])
    )


@AREA.ask("Does a met EXISTS let a transaction pass?", "a", _EXISTS, CLAIMS)
def exists_met(lab: Lab) -> str:
    table, pk, guard = lab.plain(), lab.key(), lab.key()
    lab.put(table, guard, value="open")
    _transact(lab, insert(table, pk), exists(table, guard, "open"))
    return _values(lab, table, pk)


@AREA.ask("Does an unmet EXISTS cancel a transaction?", "nothing", _EXISTS, CLAIMS)
def exists_unmet(lab: Lab) -> str:
    table, pk, guard = lab.plain(), lab.key(), lab.key()
    lab.put(table, guard, value="closed")
    _transact(lab, insert(table, pk), exists(table, guard, "open"))
    return _values(lab, table, pk)


@AREA.ask("Does an EXISTS of an absent item cancel a transaction?", "nothing", _EXISTS, CLAIMS)
def exists_absent(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    _transact(lab, insert(table, pk), exists(table, lab.key(), "open"))
    return _values(lab, table, pk)


@AREA.ask(
    "Which reason has an unmet EXISTS?",
    "None, ConditionalCheckFailed",
    f"{API}API_TransactWriteItems.html",
    CLAIMS,
    harmless("None, *", _READ),
)
def exists_reason(lab: Lab) -> str:
    table, pk, guard = lab.plain(), lab.key(), lab.key()
    lab.put(table, guard, value="closed")
    return reasons(_transact(lab, insert(table, pk), exists(table, guard, "open")))


@AREA.ask(
    "Are a SELECT and an INSERT in one transaction refused?",
    "ValidationException",
    _TRANSACTION,
    WHOLE,
    hidden("accepted", "a transaction that AWS refuses passes here; Meridian sends none"),
    harmless("*Exception", "refused all the same; Meridian sends none"),
)
def transaction_mixed(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    lab.put(table, pk, "9", value="a")
    read = {"Statement": f'SELECT * FROM "{table}" WHERE "pk" = ? AND "sk" = ?', "Parameters": [{"S": pk}, {"S": "9"}]}
    return outcome(lambda: lab.db.execute_transaction(TransactStatements=[insert(table, pk), read]))


@AREA.ask(
    "Are two INSERTs of one key in a transaction refused?",
    "ValidationException",
    f"{DEVELOPER_GUIDE}transaction-apis.html",
    FORK,
    harmless("TransactionCanceledException", "refused all the same; Meridian never sends one key twice"),
    harmless("DuplicateItem*", "refused all the same; Meridian never sends one key twice"),
)
def transaction_same_key(lab: Lab) -> str:
    table, pk = lab.plain(), lab.key()
    error = _transact(lab, insert(table, pk, value="one"), insert(table, pk, value="two"))
    return code_of(error) if error else "accepted"


@AREA.ask(
    "Is a token with another transaction refused?",
    "IdempotentParameterMismatchException",
    _EXECUTE,
    WHOLE,
    harmless("accepted", "Meridian sends no token with its INSERTs: a repeated one is refused by its key"),
    harmless("*", "Meridian sends no token with its INSERTs"),
)
def transaction_token(lab: Lab) -> str:
    table, pk, token = lab.plain(), lab.key(), lab.key()[-36:]
    lab.db.execute_transaction(TransactStatements=[insert(table, pk)], ClientRequestToken=token)
    other = [insert(table, pk, "2")]
    return outcome(lambda: lab.db.execute_transaction(TransactStatements=other, ClientRequestToken=token))
