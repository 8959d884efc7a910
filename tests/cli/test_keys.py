"""`quickstudy keys` and `quickstudy store`, from the command line to the database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quickstudy.cli import main
from serve.learners import learner

pytest.importorskip("sqlalchemy", reason="sqlalchemy comes with the extra `serve`")

from quickstudy.serve.store import Store


def test_a_key_from_its_making_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = f"sqlite:///{tmp_path / 'learners.db'}"
    assert main(["keys", "add", "alice", "--learners", "5", "--db", db]) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert "cannot be shown again" in said.err
    store = Store.open(db)
    assert store.tenant_of(key) == "alice"
    store.create("alice", learner())
    assert main(["keys", "list", "--db", db, "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["tenant"], listed["learners"], listed["quota"], listed["revoked"]) == ("alice", 1, 5, None)
    assert listed["id"] in key
    assert main(["keys", "list", "--db", db]) == 0
    table = capsys.readouterr().out
    assert key[-64:] not in table
    assert "1 of 5" in table
    assert main(["keys", "revoke", listed["id"], "--db", db]) == 0
    assert "Revoked" in capsys.readouterr().out
    assert main(["keys", "revoke", key, "--db", db]) == 1
    said = capsys.readouterr()
    assert f"no valid key has the id '{listed['id']}'" in said.err
    assert key[-64:] not in said.err
    store._verified.forget(listed["id"])
    assert store.tenant_of(key) is None
    store.close()
    assert main(["keys", "list", "--db", db]) == 0
    assert "revoked" in capsys.readouterr().out


def test_mistakes_with_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = f"sqlite:///{tmp_path / 'learners.db'}"
    assert main(["keys", "list", "--db", db]) == 1
    assert "there is no database" in capsys.readouterr().err
    assert main(["keys", "add", "a b", "--db", db]) == 1
    assert "cannot name a tenant" in capsys.readouterr().err
    assert main(["keys", "add", "alice", "--learners", "-1", "--db", db]) == 1
    assert "--learners -1 is below zero" in capsys.readouterr().err
    assert main(["keys", "add", "alice", "--db", "mysql://localhost/x"]) == 1
    assert "got a database of kind 'mysql'" in capsys.readouterr().err


def test_the_database_may_come_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKSTUDY_DB", f"sqlite:///{tmp_path / 'named.db'}")
    assert main(["keys", "add", "alice"]) == 0
    assert (tmp_path / "named.db").exists()


def test_a_backup_and_its_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db, backup = tmp_path / "learners.db", tmp_path / "backup.db"
    store = Store.open(db)
    made = learner()
    store.create("alice", made)
    assert main(["store", "copy", str(db), str(backup)]) == 0
    assert "Copied: learners 1, keys 0, tenants 1." in capsys.readouterr().out
    assert main(["store", "check", "--db", str(backup)]) == 0
    store.close()
    other = Store.open(backup)
    assert other.get("alice", made.id) == made
    other.close()
    assert main(["store", "copy", str(db), str(backup)]) == 1
    assert "holds tenants already" in capsys.readouterr().err
    assert main(["store", "copy", str(tmp_path / "none.db"), str(tmp_path / "new.db")]) == 1
    assert "there is no database" in capsys.readouterr().err
